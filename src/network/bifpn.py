"""Parallel BiFPN decoder blocks: encoder features are fused across scales and unfolded to the output size."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.network.blocks import ConvNorm, SeparableConv


class Node(NamedTuple):
    """One place of the graph where features meet."""

    name: str
    stride: int
    inputs: tuple[str, ...]


LEVELS = {"encoder_8": 8, "encoder_16": 16, "encoder_32": 32}  # the encoder's levels and their strides

GRAPH = (
    Node("down_16", 16, ("encoder_16", "encoder_32")),
    Node("out_8", 8, ("encoder_8", "down_16")),
    Node("out_16", 16, ("encoder_16", "down_16", "out_8")),
)
"""The edges of one BiFPN layer, in order of evaluation; nothing would read its own output at stride 32."""


class FusionNode(nn.Module):
    """Fuse several feature maps with learned weights, then convolve.

    Weights stay non-negative by ReLU and are divided by their sum (fast normalised fusion), so equal
    inputs come out unchanged but for the convolution. Each of the parallel decoders has weights of its own.

    **Shape**: len(strides) maps (B, D * C, H_i, W_i) -> (B, D * C, H, W) at the node's own stride.
    **Source**: Tan, Pang, Le 2020, arXiv 1911.09070, section 3.3.
    **Differs**: GELU follows the norm instead of preceding the convolution.
    """

    def __init__(self, stride: int, strides: Sequence[int], width: int, decoders: int) -> None:
        super().__init__()
        self.strides, self.factors = tuple(strides), [other / stride for other in strides]
        self.channels = decoders * width
        self.weights = nn.Parameter(torch.ones(decoders, len(strides)))
        self.convolve = SeparableConv(self.channels, self.channels, groups=decoders)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.convolve(self.fuse(features))

    def fuse(self, features: Sequence[Tensor]) -> Tensor:
        """Bring the maps to this node's size and take their weighted mean."""
        shares = self.shares()[:, None, :, None, None]
        resized = [resize(feature, factor) for feature, factor in zip(features, self.factors, strict=True)]
        fused = shares[0] * resized[0]
        for share, feature in zip(shares[1:], resized[1:], strict=True):
            fused = torch.addcmul(fused, share.to(fused.dtype), feature)
        return fused

    def shares(self) -> Tensor:
        """Return the weight of each map in each channel: (len(strides), D * C)."""
        shares = F.relu(self.weights)
        shares = shares / (shares.sum(dim=1, keepdim=True) + 1e-4)
        return shares.repeat_interleave(self.channels // len(shares), dim=0).T


def resize(feature: Tensor, factor: float) -> Tensor:
    """Double (nearest) or halve (3x3 maximum) the sides of a map, or leave them."""
    if factor == 1:
        return feature
    return F.interpolate(feature, scale_factor=2.0) if factor == 2 else F.max_pool2d(feature, 3, stride=2, padding=1)


class BiFPN(nn.Module):
    """Decode encoder features with several BiFPN blocks in parallel, each with its own weights.

    All blocks see the same features. They are computed as one network of `decoders` groups: the same arithmetic in 0.6
    of the time. Their outputs at strides 8 and 16 are joined by 1x1 convolutions at their own size, then doubled.

    **Shape**: [(B, C8, H/8, W/8), (B, C16, H/16, W/16), (B, C32, H/32, W/32)] -> (B, out_channels, H/4, W/4).
    **Source**: Tan, Pang, Le 2020, arXiv 1911.09070.
    **Differs**: three levels instead of five, and one lateral convolution per level where the paper's code has a second
    one for the bottom-up path.
    """

    def __init__(self, channels: Sequence[int], out_channels: int, *, width: int = 32, decoders: int = 3) -> None:
        super().__init__()
        strides = LEVELS | {node.name: node.stride for node in GRAPH}
        self.lateral = nn.ModuleList(ConvNorm(c, decoders * width, activate=False) for c in channels)
        self.nodes = nn.ModuleDict()
        for node in GRAPH:
            self.nodes[node.name] = FusionNode(node.stride, [strides[name] for name in node.inputs], width, decoders)
        self.join_8 = ConvNorm(decoders * width, out_channels, activate=False)
        self.join_16 = ConvNorm(decoders * width, out_channels, activate=False)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        out_8, out_16 = self.decode(features)
        return resize(self.join_8(out_8) + resize(self.join_16(out_16), 2), 2)

    def decode(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Compute the decoders' outputs at strides 8 and 16, `decoders * width` channels each."""
        maps = {name: lateral(x) for name, lateral, x in zip(LEVELS, self.lateral, features, strict=True)}
        for node in GRAPH:
            maps[node.name] = self.nodes[node.name]([maps[name] for name in node.inputs])
        return maps["out_8"], maps["out_16"]
