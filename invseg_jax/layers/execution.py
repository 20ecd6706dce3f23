"""How a network is evaluated: what is kept for its gradient, in which arithmetic, in which pieces.

None of this changes the parameters. A run can be trained one way and go on another way.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from invseg_jax.reversible import (
    Arithmetic,
    FixedPoint,
    Float,
    Memory,
    StraightThrough,
    check_memory,
)

Precision = Literal["float32", "bfloat16"]
StreamFormat = Literal["float32", "fixed"]
Loop = Literal["scan", "unrolled"]


@dataclass(frozen=True)
class Execution:
    """The settings of `config.model` and `config.precision` that are no part of an architecture.

    Attributes:
        memory: how the gradient of invertible layers is had; see `reversible.run`.
        stream: what passes from layer to layer: float32, or fixed-point int32, in which the
            inversion is exact bit for bit. As plain or remat, where nothing is inverted, the same
            steps are rounded to in float32, whose range has no end and which keeps them up to
            2^(24 - fraction_bits).
        fraction_bits: of the fixed-point stream: its step is 2^-fraction_bits and its range
            +-2^(31 - fraction_bits).
        precision: of the 3x3x3 convolutions' factors. Statistics, parameters and the stream are
            float32 (or fixed) in either case, and sums but for GPUs, whose bfloat16 convolutions
            give bfloat16. What float32 factors are is the compiler's choice: TF32 on recent GPUs,
            bfloat16 on TPUs.
        slabs: pieces along the depth in which GPUs evaluate a branch, as many as divide the depth,
            at most this; more take less memory. CPUs and TPUs go plane by plane in any case.
        loop: whether couplings of equal shape are one loop in the compiled program ("scan") or
            written out ("unrolled"), which compiles longer and holds their parameters' gradients
            twice.

    Raises:
        ValueError: a value that is none of these.
    """

    memory: Memory = "reversible"
    stream: StreamFormat = "float32"
    fraction_bits: int = 16
    precision: Precision = "float32"
    slabs: int = 1
    loop: Loop = "scan"

    def __post_init__(self):
        """Checks the values."""
        check_memory(self.memory)
        choices = {"stream": StreamFormat, "precision": Precision, "loop": Loop}
        for name, kind in choices.items():
            value = getattr(self, name)
            if value not in get_args(kind):
                raise ValueError(f"{name} is {value!r}; it can be {', '.join(get_args(kind))}")
        if not 0 <= self.fraction_bits <= 30:
            raise ValueError(f"fraction_bits is {self.fraction_bits}; it must be from 0 to 30")
        if self.slabs < 1:
            raise ValueError(f"slabs is {self.slabs}; it must be at least 1")

    @property
    def arithmetic(self) -> Arithmetic:
        """Of the stream. Where JAX differentiates it, fixed point is rounded straight through."""
        if self.stream == "float32":
            return Float()
        kind = FixedPoint if self.memory == "reversible" else StraightThrough
        return kind(self.fraction_bits)
