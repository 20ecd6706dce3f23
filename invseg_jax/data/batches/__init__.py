"""From cases to batches: split, crops, regions, flips."""
