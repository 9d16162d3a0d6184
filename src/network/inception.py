"""The inception module: the same features seen through kernels of several shapes and sizes."""

import torch
from torch import Tensor, nn

from src.network.separable import ConvNorm

BRANCHES = ((1, 1),), ((3, 3),), ((1, 3), (3, 1)), ((1, 5), (5, 1))
"""The kernels of each branch: a point, a square, and two crosses of one stroke each way, small and large."""

REDUCED = 24  # channels of each branch after the 1x1 that opens it


class Inception(nn.Module):
    """Look at features through four branches, add a 1x1 shortcut, activate.

    **Shape**: (B, in_channels, H, W) -> (B, out_channels, H, W); out_channels is divisible by 4.
    **Source**: Szegedy et al. 2016, arXiv 1512.00567 (factorised kernels) and 1602.07261 (shortcut).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        # The 1x1 that opens each branch reads the same input: one convolution computes all four.
        self.open = ConvNorm(in_channels, REDUCED * len(BRANCHES))
        self.branches = nn.ModuleList(
            nn.Sequential(
                *(ConvNorm(REDUCED, REDUCED, kernel) for kernel in kernels[:-1]),
                ConvNorm(REDUCED, out_channels // len(BRANCHES), kernels[-1], activate=False),
            )
            for kernels in BRANCHES
        )
        self.shortcut = ConvNorm(in_channels, out_channels, activate=False)
        self.activate = nn.GELU()

    def forward(self, features: Tensor) -> Tensor:
        opened = self.open(features).split(REDUCED, dim=1)
        seen = torch.cat([branch(part) for branch, part in zip(self.branches, opened, strict=True)], dim=1)
        return self.activate(seen + self.shortcut(features))
