"""Configurations trained side by side, over folds and seeds, and one table of what came of it."""
