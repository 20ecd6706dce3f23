"""The networks of `models` in PyTorch, built from iunets and memcnn as their users build them.

Same architecture as ours: additive couplings whose branch is GroupNorm, leaky ReLU and a 3x3x3
convolution without bias; arrays are channels-first, (n, c, d, h, w), as PyTorch has them.
"""

# pyright: reportMissingImports=false

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from invseg_jax.files.json_values import JsonObject

with warnings.catch_warnings():
    # Both were written for an older PyTorch; what they use still works.
    warnings.simplefilter("ignore")
    import iunets
    import memcnn
    from iunets.layers import (
        ConcatenateChannels,
        InvertibleChannelMixing3D,
        SplitChannels,
        StandardAdditiveCoupling,
    )

# Calls that PyTorch has renamed since, at each layer.
warnings.filterwarnings("ignore", module=r"(iunets|memcnn|torch)\.", category=UserWarning)


class Design(NamedTuple):
    """What a network is made of.

    Attributes:
        modalities: channels of the input.
        classes: of the output.
        channels: of each level.
        couplings: a level and side.
        groups: of the normalisations.
        reversible: whether it has the library's own gradient, or PyTorch's.
    """

    modalities: int
    classes: int
    channels: Sequence[int]
    couplings: int
    groups: int
    reversible: bool


def build(settings: JsonObject) -> nn.Module:
    """A network.

    Args:
        settings: library ("iunets", "memcnn" or "memcnn-partial"), and the fields of `Design`.
    """
    networks = {"iunets": IUNet, "memcnn": MemcnnUNet, "memcnn-partial": PartialUNet}
    design = Design(**{name: settings[name] for name in Design._fields})
    return networks[settings["library"]](design)


class Branch(nn.Sequential):
    """GroupNorm, leaky ReLU, 3x3x3 convolution."""

    def __init__(self, features_in: int, features_out: int, groups: int):
        """Takes as many groups as divide both `groups` and the features."""
        super().__init__(
            nn.GroupNorm(math.gcd(features_in, groups), features_in),
            nn.LeakyReLU(0.01, inplace=True),
            nn.Conv3d(features_in, features_out, 3, padding=1, bias=False),
        )


def head(features: int, classes: int, groups: int) -> nn.Module:
    """GroupNorm, leaky ReLU, 1x1x1 convolution with bias."""
    return nn.Sequential(
        nn.GroupNorm(math.gcd(features, groups), features),
        nn.LeakyReLU(0.01, inplace=True),
        nn.Conv3d(features, classes, 1),
    )


class IUNet(nn.Module):
    """iunets.iUNet with our branch, a stem and a head: `FullInvRes`.

    iunets has `couplings` on both sides of the coarsest level; `FullInvRes` has the coarsest once,
    and is given twice as many there. It derives the channels of the coarser levels from the first,
    doubling them.
    """

    def __init__(self, design: Design):
        """Builds the network."""
        super().__init__()
        channels, groups = design.channels, design.groups

        def coupling(features: int, **_) -> nn.Module:
            half = features // 2
            return StandardAdditiveCoupling(Branch(half, half, groups), channel_split_pos=half)

        self.stem = nn.Conv3d(design.modalities, channels[0], 3, padding=1, bias=False)
        self.trunk = iunets.iUNet(
            channels[0],
            (design.couplings,) * len(channels),
            3,
            create_module_fn=coupling,
            disable_custom_gradient=not design.reversible,
            verbose=0,
        )
        if list(self.trunk.channels) != list(channels):
            raise ValueError(f"iunets makes channels {self.trunk.channels}, not {list(channels)}")
        self.head = head(channels[0], design.classes, groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, modalities, d, h, w) -> (n, classes, d, h, w)."""
        return self.head(self.trunk(self.stem(x)))


class Squeeze(nn.Module):
    """Space to depth by 2 in each direction, without parameters."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, c, d, h, w) -> (n, 8c, d/2, h/2, w/2)."""
        n, c, d, h, w = x.shape
        x = x.view(n, c, d // 2, 2, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 7, 2, 4, 6)
        return x.reshape(n, 8 * c, d // 2, h // 2, w // 2)

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        """(n, 8c, d/2, h/2, w/2) -> (n, c, d, h, w)."""
        n, c, d, h, w = y.shape
        y = y.view(n, c // 8, 2, 2, 2, d, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
        return y.reshape(n, c // 8, 2 * d, 2 * h, 2 * w)


class Unsqueeze(nn.Module):
    """Depth to space."""

    forward, inverse = Squeeze.inverse, Squeeze.forward


def _wrap(layer: nn.Module, reversible: bool) -> nn.Module:
    return memcnn.InvertibleModuleWrapper(layer, disable=not reversible)


def _sequence(features: int, couplings: int, groups: int, reversible: bool) -> nn.Sequential:
    """Additive couplings two by two, as memcnn has them."""
    if couplings % 2 or features % 2:
        raise ValueError(f"memcnn: {couplings} couplings of {features} channels; both must be even")
    half = features // 2
    pairs = [
        memcnn.AdditiveCoupling(Branch(half, half, groups), Branch(half, half, groups))
        for _ in range(couplings // 2)
    ]
    return nn.Sequential(*(_wrap(pair, reversible) for pair in pairs))


class MemcnnUNet(nn.Module):
    """The invertible U shape from memcnn's wrapper: `FullInvRes` with a fixed squeeze.

    Every layer is wrapped, the changes of resolution too, so that nothing inside is kept.
    """

    def __init__(self, design: Design):
        """Builds the network."""
        super().__init__()
        channels, groups = design.channels, design.groups
        levels = len(channels)

        def mixing(features: int) -> nn.Module:
            return _wrap(InvertibleChannelMixing3D(features, learnable=True), design.reversible)

        def block(level: int) -> nn.Sequential:
            count = design.couplings if level < levels - 1 else 2 * design.couplings
            return _sequence(channels[level], count, groups, design.reversible)

        skips = [
            fine - coarse // 8 for fine, coarse in zip(channels[:-1], channels[1:], strict=True)
        ]
        self.stem = nn.Conv3d(design.modalities, channels[0], 3, padding=1, bias=False)
        self.encode = nn.ModuleList(
            [nn.Sequential(block(i), mixing(channels[i])) for i in range(levels - 1)]
        )
        self.split = nn.ModuleList(
            [_wrap(SplitChannels(skip), design.reversible) for skip in skips]
        )
        self.down = nn.ModuleList([_wrap(Squeeze(), design.reversible) for _ in skips])
        self.bottom = block(levels - 1)
        self.up = nn.ModuleList([_wrap(Unsqueeze(), design.reversible) for _ in skips])
        self.join = nn.ModuleList(
            [_wrap(ConcatenateChannels(skip), design.reversible) for skip in skips]
        )
        self.decode = nn.ModuleList(
            [nn.Sequential(mixing(channels[i]), block(i)) for i in range(levels - 1)]
        )
        self.head = head(channels[0], design.classes, groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, modalities, d, h, w) -> (n, classes, d, h, w), each size a multiple of 2^levels-1."""
        x = self.stem(x)
        waiting = []
        for encode, split, down in zip(self.encode, self.split, self.down, strict=True):
            skip, x = split(encode(x))
            waiting.append(skip)
            x = down(x)
        x = self.bottom(x)
        for i in reversed(range(len(self.encode))):
            x = self.decode[i](self.join[i](waiting.pop(), self.up[i](x)))
        return self.head(x)


class PartialUNet(nn.Module):
    """The partially reversible U-Net of Brügger et al. 2019 from memcnn: `PartialInvRes`."""

    def __init__(self, design: Design):
        """Builds the network."""
        super().__init__()
        channels, groups = design.channels, design.groups
        steps = list(zip(channels[:-1], channels[1:], strict=True))

        def sequences() -> nn.ModuleList:
            return nn.ModuleList(
                [
                    _sequence(features, design.couplings, groups, design.reversible)
                    for features in channels
                ]
            )

        self.stem = nn.Conv3d(design.modalities, channels[0], 3, padding=1, bias=False)
        self.encoder, self.decoder = sequences(), sequences()
        self.downs = nn.ModuleList([nn.Conv3d(fine, coarse, 1) for fine, coarse in steps])
        self.ups = nn.ModuleList([nn.Conv3d(coarse, fine, 1) for fine, coarse in steps])
        self.head = nn.Conv3d(channels[0], design.classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, modalities, d, h, w) -> (n, classes, d, h, w); padded inside as ours."""
        shape = x.shape[2:]
        multiple = 2 ** len(self.downs)
        behind = [-size % multiple for size in reversed(shape)]
        x = self.stem(F.pad(x, [amount for size in behind for amount in (0, size)]))
        skips: list[torch.Tensor] = []
        for i, sequence in enumerate(self.encoder):
            if i > 0:
                x = self.downs[i - 1](F.max_pool3d(x, 2))
            # memcnn empties the memory of what it is given; what goes in must not be needed again.
            x = sequence(x)
            skips.append(x)
        x = skips.pop().clone()
        for i in reversed(range(len(self.decoder))):
            x = self.decoder[i](x)
            if i > 0:
                up = F.interpolate(self.ups[i - 1](x), scale_factor=2, mode="trilinear")
                x = up + skips.pop()
        return self.head(x[..., : shape[0], : shape[1], : shape[2]])
