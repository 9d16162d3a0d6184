"""The convolution blocks that everything after the encoder is made of."""

import torch
from torch import Tensor, nn

BRANCHES = ((1, 1),), ((3, 3),), ((1, 3), (3, 1)), ((1, 5), (5, 1))
"""The kernels of an inception module's branches: 1x1, 3x3, and two crosses of one stroke each way."""


class ConvNorm(nn.Sequential):
    """Convolve at constant size, normalise, activate: (B, in_channels, H, W) -> (B, out_channels, H, W)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: tuple[int, int] = (1, 1), *, activate: bool = True
    ) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, padding=(kernel[0] // 2, kernel[1] // 2), bias=False),
            nn.BatchNorm2d(out_channels),
            nn.GELU() if activate else nn.Identity(),
        )


class SeparableConv(nn.Sequential):
    """Convolve each channel with its own 3x3 kernel, mix channels with a 1x1, normalise, activate.

    `groups` keeps parallel decoders apart: the 1x1 mixes only within each of them.
    A `plain` block ends with the 1x1 and its bias, without norm and activation.

    **Shape**: (B, in_channels, H, W) -> (B, out_channels, H, W).
    **Source**: Chollet 2017, arXiv 1610.02357.
    """

    def __init__(self, in_channels: int, out_channels: int, *, groups: int = 1, plain: bool = False) -> None:
        super().__init__(
            nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
            nn.Conv2d(in_channels, out_channels, 1, groups=groups, bias=plain),
        )
        if not plain:
            self.extend([nn.BatchNorm2d(out_channels), nn.GELU()])


class Inception(nn.Module):
    """Filter features by four branches of different kernels, concatenate, add a shortcut, activate.

    The branches read the same `reduced` channels, which one 1x1 convolution makes.

    **Shape**: (B, channels, H, W) -> (B, channels, H, W); channels is divisible by 4.
    **Source**: Szegedy et al. 2016, arXiv 1512.00567 (factorised kernels) and 1602.07261 (shortcut).
    """

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        share = channels // len(BRANCHES)
        self.reduce = ConvNorm(channels, reduced)
        self.branches = nn.ModuleList(
            nn.Sequential(
                *(ConvNorm(reduced, share, kernel) for kernel in kernels[:-1]),
                ConvNorm(share if len(kernels) > 1 else reduced, share, kernels[-1], activate=False),
            )
            for kernels in BRANCHES
        )
        self.activate = nn.GELU()

    def forward(self, features: Tensor) -> Tensor:
        reduced = self.reduce(features)
        return self.activate(features + torch.cat([branch(reduced) for branch in self.branches], dim=1))
