"""The supervised task: networks learn to segment volumes from label maps."""
