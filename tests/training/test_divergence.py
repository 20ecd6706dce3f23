import numpy as np
import pytest

from invseg_jax.errors import UserError
from invseg_jax.training.divergence import refuse_divergence


def test_a_gradient_that_is_no_number_is_refused_with_a_finite_loss():
    metrics = {"loss": np.float32(0.5), "gradient_norm": np.float32(np.nan)}
    with pytest.raises(
        UserError, match="norm of the gradient is nan at step 7; pray; .* of step 6$"
    ):
        refuse_divergence(metrics, 7, 6, "pray")
    refuse_divergence(metrics | {"gradient_norm": np.float32(1)}, 7, None, "pray")
