"""The embedded cohort: simulated infant brain MRI, written in the iSeg-2019 layout.

It lets every command run, and every claim about training be checked, where no medical images may be
downloaded. The anatomy is real: the ICBM 152 2009a symmetric T1 template and its grey- and
white-matter probability maps (Fonov et al., NeuroImage 54:313-327, 2011), which ship inside the
nilearn wheel. Each subject is that anatomy under a random affine and a free-form deformation
(Rueckert et al., IEEE TMI 18:712-721, 1999), imaged by a simulated T1 and T2 scan in the isointense
phase of myelination (six to eight months), where grey and white matter hardly differ in
intensity and a voxel's own values do not tell them apart (Wang et al., IEEE TMI 38:2219, 2019).
"""

from invseg_jax.data.phantom.cohort import embedded_cohort

__all__ = ["embedded_cohort"]
