"""The parts of the first architecture, for checkpoints that were trained before the second."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.network.bifpn import BiFPN
from src.network.blocks import BRANCHES, ConvNorm, SeparableConv

WIDTH, REDUCED = 64, 24  # channels of a decoder, and of a branch of the inception module


def first_parts(channels: Sequence[int], decoders: int) -> dict[str, nn.Module]:
    """Make all that follows the encoder, by the names that a network's state dict has."""
    joined = decoders * (WIDTH // 4 + WIDTH // 16)
    return {
        "decoder": UnfoldedBiFPN(channels, joined, decoders),
        "residual": PooledConv(3, joined, 1),
        "inception": SplitInception(joined, 176),
        "refine": SeparableConv(176, 40),
        "output": SeparableConv(40, 1, plain=True),
    }


class UnfoldedBiFPN(BiFPN):
    """Wider decoders whose outputs are unfolded to stride 4 by pixel shuffle (Shi et al. 2016, arXiv 1609.05158)."""

    def __init__(self, channels: Sequence[int], joined: int, decoders: int) -> None:
        super().__init__(channels, joined, width=WIDTH, decoders=decoders)
        del self.join_8, self.join_16
        self.norm = nn.BatchNorm2d(joined)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        out_8, out_16 = self.decode(features)
        unfolded = [F.pixel_shuffle(out_8, 2), F.pixel_shuffle(out_16, 4)]
        return F.gelu(self.norm(torch.cat(unfolded, dim=1)))


class PooledConv(nn.Conv2d):
    """The image residual at full size, then its 4x4 maximum."""

    def forward(self, image: Tensor) -> Tensor:
        return F.max_pool2d(super().forward(image), 4)


class SplitInception(nn.Module):
    """Four branches that read a quarter each of what one 1x1 convolution makes, and a 1x1 shortcut."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
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
