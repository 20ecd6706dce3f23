"""The page of the interactive segmentation: a server on this machine alone, and what it serves."""
