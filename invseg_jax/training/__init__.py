"""Training: the state and its step, losses, the device mesh, checkpoints, and the run's folder."""
