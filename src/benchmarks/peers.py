"""Networks to compare with, rebuilt from their publications with random weights: only their cost counts."""

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.segmentation import lraspp_mobilenet_v3_large
from torchvision.ops import Conv2dNormActivation

from src.network.blocks import SeparableConv

conv_relu = partial(Conv2dNormActivation, activation_layer=nn.ReLU6)  # (in, out, kernel, stride=1)


class FastDepth(nn.Module):
    """MobileNet encoder, five depthwise-separable 5x5 decoder layers with nearest upsampling and additive skips.

    **Shape**: (B, 3, 224, 224) -> (B, 1, 224, 224).
    **Source**: Wofk et al. 2019, arXiv 1903.03273, section III, before pruning.
    """

    WIDTHS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    HALVED = (0, 2, 4, 6, 12)  # the layers with stride 2
    SKIPPED = (5, 3, 1)  # the layers whose output is added in the decoder

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_relu(3, 32, 3, stride=2)]
        for index, (before, after) in enumerate(pairwise(self.WIDTHS), 1):
            stride = 2 if index in self.HALVED else 1
            layers.append(
                nn.Sequential(conv_relu(before, before, 3, stride, groups=before), conv_relu(before, after, 1))
            )
        self.encoder = nn.ModuleList(layers)
        self.decoder = nn.ModuleList(
            nn.Sequential(conv_relu(before, before, 5, groups=before), conv_relu(before, after, 1))
            for before, after in pairwise((1024, 512, 256, 128, 64, 32))
        )
        self.output = conv_relu(32, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        kept = {}
        for index, layer in enumerate(self.encoder):
            image = kept[index] = layer(image)
        skips = [None, *(kept[index] for index in self.SKIPPED), None]
        for layer, skip in zip(self.decoder, skips, strict=True):
            image = F.interpolate(layer(image), scale_factor=2.0)
            image = image if skip is None else image + skip
        return self.output(image)


class OriginalBiFPN(nn.Module):
    """One of the original project's three decoders: five levels, 3x3 lateral convolutions, depthwise fusion nodes."""

    WIDTH = 64

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, self.WIDTH, 3, padding=1) for c in channels)
        nodes = 2 * (len(channels) - 1)
        self.nodes = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(self.WIDTH, self.WIDTH, 3, padding=1, groups=self.WIDTH),
                nn.BatchNorm2d(self.WIDTH),
                nn.GELU(),
            )
            for _ in range(nodes)
        )
        self.weights = nn.Parameter(torch.ones(nodes, 3))
        self.norm = nn.BatchNorm2d(20)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        inputs = [lateral(feature) for lateral, feature in zip(self.lateral, features, strict=True)]
        nodes = iter(range(len(self.nodes)))
        down = [inputs[-1]]
        for feature in reversed(inputs[:-1]):
            down.insert(0, self._fuse(next(nodes), [feature, F.interpolate(down[0], feature.shape[-2:])]))
        up = [down[0]]
        for feature, middle in zip(inputs[1:], down[1:], strict=True):
            finer = up[-1] if up[-1].shape == feature.shape else F.max_pool2d(up[-1], 2)
            up.append(self._fuse(next(nodes), [feature, middle, finer]))
        unfolded = torch.cat([F.pixel_shuffle(up[0], 2), F.pixel_shuffle(up[1], 4)], dim=1)
        return F.gelu(self.norm(unfolded))

    def _fuse(self, index: int, maps: Sequence[Tensor]) -> Tensor:
        shares = F.relu(self.weights[index, : len(maps)])
        fused = sum(share * feature for share, feature in zip(shares / (shares.sum() + 1e-4), maps, strict=True))
        return self.nodes[index](fused)


class OriginalNetwork(nn.Module):
    """The original project's network: EfficientNet-B0 with five taps, three decoders, a linear inception module.

    **Shape**: (B, 3, 224, 224) -> (B, 1, 56, 56).
    **Differs**: the kernels of the inception module are chosen so that the whole has 765 M MACs, the original 763.
    """

    BRANCHES = ((48, (1, 3)), (48, (1, 1)), (32, (3, 1)), (32, (1, 1)), (16, (1, 1)))

    def __init__(self) -> None:
        super().__init__()
        self.encoder = timm.create_model("efficientnet_b0")
        self.decoders = nn.ModuleList(OriginalBiFPN((40, 112, 192, 320, 1280)) for _ in range(3))
        self.residual = nn.Conv2d(3, 60, 1)
        self.branches = nn.ModuleList(
            nn.Conv2d(60, width, kernel, padding=(kernel[0] // 2, kernel[1] // 2)) for width, kernel in self.BRANCHES
        )
        self.shortcut = nn.Conv2d(60, 176, 1)
        self.head = nn.Sequential(SeparableConv(176, 40), SeparableConv(40, 1, plain=True), nn.ReLU6())

    def forward(self, image: Tensor) -> Tensor:
        encoder: Any = self.encoder
        feature, taps = encoder.bn1(encoder.conv_stem(image)), []
        for index, stage in enumerate(encoder.blocks):
            feature = stage(feature)
            taps += [feature] if index in (2, 4, 5, 6) else []
        taps.append(encoder.bn2(encoder.conv_head(feature)))
        joined = torch.cat([decoder(taps) for decoder in self.decoders], dim=1)
        joined = joined + F.max_pool2d(self.residual(image), 4)
        return self.head(torch.cat([branch(joined) for branch in self.branches], dim=1) + self.shortcut(joined))


def segmenter() -> nn.Module:
    """Make LRASPP with MobileNetV3-Large (Howard et al. 2019, arXiv 1905.02244): (B, 3, H, W) -> (B, 1, H, W)."""
    network = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=1)
    return _First(network, lambda output: output["out"])


def depth_anything_small() -> nn.Module:
    """Make Depth Anything V2 Small by `transformers`, where that is installed."""
    transformers = importlib.import_module("transformers")
    backbone = transformers.Dinov2Config(
        hidden_size=384,
        num_attention_heads=6,
        out_features=["stage3", "stage6", "stage9", "stage12"],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    network = transformers.DepthAnythingForDepthEstimation(transformers.DepthAnythingConfig(backbone_config=backbone))
    return _First(network, lambda output: output.predicted_depth)


def yolo_depth() -> nn.Module:
    """Make YOLO26n-depth by `ultralytics` (AGPL), where that is installed."""
    network = importlib.import_module("ultralytics").YOLO("yolo26n-depth.yaml").model
    return _First(network, lambda output: output[0] if isinstance(output, tuple | list) else output)


class _First(nn.Module):
    def __init__(self, network: nn.Module, select: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.network, self.select = network, select

    def forward(self, image: Tensor) -> Tensor:
        return self.select(self.network(image))


PEERS: dict[str, Callable[[], nn.Module]] = {
    "FastDepth": FastDepth,
    "original network": OriginalNetwork,
    "LRASPP, MobileNetV3": segmenter,
    "Depth Anything V2 Small": depth_anything_small,
    "YOLO26n-depth": yolo_depth,
}
"""By name; the last two raise ImportError without their packages."""
