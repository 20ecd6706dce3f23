"""Interactive segmentation: prompts on a slice, carried through the volume."""
