"""What all rooms do with files: atomic writing, locks, digests, JSON that shows damage."""
