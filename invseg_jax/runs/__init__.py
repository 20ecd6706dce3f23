"""The folder of a run: description, checkpoints, history."""
