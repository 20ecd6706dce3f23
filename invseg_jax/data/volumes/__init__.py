"""Bytes to arrays and back: NIfTI and Analyze."""
