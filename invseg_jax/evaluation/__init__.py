"""What a segmentation is worth: metrics, pictures and the report."""
