"""From a trained network to the label map of a whole volume."""
