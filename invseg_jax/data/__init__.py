"""From files on disk to batches on the device: readers, layouts, normalisation, cache, pipeline.

Nothing is imported here, so that reading a NIfTI file does not load JAX or Grain.
"""
