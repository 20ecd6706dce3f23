"""Data augmentation of a batch, in pure JAX, inside the compiled training step.

The transforms and their default ranges follow nnU-Net (Isensee et al., Nature Methods 2021,
supplementary note 4); elastic deformation follows Çiçek et al. 2016. Mirroring, rotation, scale and
deformation are joined into one map, so that image and label are resampled once.

Background stays background. `z_score_nonzero` leaves voxels outside of the skull-stripped head, and
cropping leaves the padding, at exactly 0; at prediction the network meets exact zeros there again.
What changes intensities therefore changes only voxels that are not 0, and takes its statistics
from these alone (nnU-Net reaches the same by masking after its transforms). Images without a
background of exact zeros are changed everywhere.

    transform       a batch: keys, one resampling, then the intensities
    affine, elastic, resample                       where each voxel comes from, and fetching it
    intensity, coarsening, bias_field               what is changed of its value
    draws, separable                                what these are made of
"""

from invseg_jax.data.augment.transform import augment

__all__ = ["augment"]
