"""What a training step takes of a device's memory, known before anything is run."""
