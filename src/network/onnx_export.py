"""A network as an ONNX file in float32: bytes of RGB in, metres out."""

import copy
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import ModelProto, helper
from torch import Tensor, nn

from src.conventions import IMAGE_SIZE_PX, NYU_INTRINSICS
from src.files import whole_file
from src.network.bifpn import BiFPN, FusionNode, resize
from src.network.depthnet import DepthNet

OPSET = 17
LEAST_SHARE = 0.05  # below, the kernels of parallel decoders would differ by too much in size for int8


def to_onnx(network: DepthNet, *, unit: float, dynamic: bool = False) -> ModelProto:
    """Convert a network in float32; its output is multiplied by `unit`.

    **Shape**: `image` (1, 3, 224, 224) uint8 -> `depth` (1, 1, 56, 56) float32; if `dynamic`, (B, 3, H, W) of any
    multiples of 32 -> (B, 1, H/4, W/4).
    """
    image = torch.zeros(2 if dynamic else 1, 3, IMAGE_SIZE_PX, IMAGE_SIZE_PX, dtype=torch.uint8)
    return to_graph(OnBytes(network, unit), image, dynamic=dynamic)


def to_graph(module: nn.Module, image: Tensor, *, dynamic: bool = False) -> ModelProto:
    """Convert any module in evaluation mode as it is, for inputs like `image`; if `dynamic`, of any number and size."""
    file = io.BytesIO()
    axes = {name: {0: "batch", 2: f"{name}_height", 3: f"{name}_width"} for name in ("image", "depth")}
    with warnings.catch_warnings():
        # The exporter by tracing is deprecated, but takes 2 s where the other one takes 20 s and one more package.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (image,),
            file,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["depth"],
            dynamic_axes=axes if dynamic else None,
        )
    return onnx.load_from_string(file.getvalue())


def write_model(model: ModelProto, path: Path, about: Mapping[str, Any]) -> None:
    """Write a model with its description, whole or not at all; UserError when the disk refuses."""
    camera = NYU_INTRINSICS.resized(IMAGE_SIZE_PX, IMAGE_SIZE_PX)
    model.doc_string = (
        "image: RGB. depth, of a metric network: metres along the optical axis, of a camera whose focal lengths in the "
        f"image are {camera.fx_px:.1f} px across and {camera.fy_px:.1f} px down, as of a 4:3 photo of 63 degrees "
        "resized to 224x224; of focal lengths k times as long, k times as many metres."
    )
    helper.set_model_props(model, {"about": json.dumps(about, sort_keys=True)})
    with whole_file(path) as unfinished:
        unfinished.write_bytes(model.SerializeToString())


class OnBytes(nn.Module):
    """The network on bytes, its normalisation folded into the kernels that see the photo."""

    mean: Tensor

    def __init__(self, network: DepthNet, unit: float) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).cpu().float().eval().requires_grad_(False)
        self.body, self.residual = self.network.encoder.body, self.network.residual
        self.register_buffer("mean", 255 * self.network.encoder.mean)
        self.unit = unit
        self.body.conv_stem.weight.div_(255 * self.network.encoder.std)  # type: ignore[operator, union-attr]
        self.residual.weight.div_(255)
        _fold_shares(self.network.decoder)

    def forward(self, image: Tensor) -> Tensor:
        image = image.float()
        return self.unit * self.network.decode(self.body(image - self.mean), image)


def _fold_shares(decoder: BiFPN) -> None:
    """Move the shares of the decoder's sums into the kernels before and after them, but for one.

    Each sum is divided by one of its shares, by which the kernel after it is multiplied; the laterals take what is left
    of theirs. The map of `out_8` has a GELU before and two readers: its share in `out_16` remains.
    """
    nodes: dict[str, FusionNode] = dict(decoder.nodes.items())  # type: ignore[arg-type]
    if min(node.shares().min() for node in nodes.values()) < LEAST_SHARE:
        return
    (down_16, down_32), (fine_8, fine_down), (out_16, out_down, out_8) = (node.shares() for node in nodes.values())
    factor = out_16 / out_down  # of the lateral at stride 16, which two nodes read
    factors = fine_8 / fine_down, factor, factor * down_32 / down_16
    for lateral, share in zip(decoder.lateral, factors, strict=True):
        lateral[1].weight.mul_(share)  # type: ignore[index]
        lateral[1].bias.mul_(share)  # type: ignore[index]
    for (name, node), share in zip(nodes.items(), (down_16 / factor, fine_down, out_down), strict=True):
        node.convolve[0].weight.mul_(share[:, None, None, None])  # type: ignore[operator]
        decoder.nodes[name] = _SumNode(node, out_8 / out_down if name == "out_16" else None)


class _SumNode(nn.Module):
    """A fusion node that adds its maps, the last perhaps with a factor for each channel."""

    share: Tensor | None

    def __init__(self, node: FusionNode, share: Tensor | None) -> None:
        super().__init__()
        self.convolve, self.factors = node.convolve, node.factors
        self.register_buffer("share", None if share is None else share[:, None, None])

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        first, *others = (resize(feature, factor) for feature, factor in zip(features, self.factors, strict=True))
        if self.share is not None:
            others[-1] = others[-1] * self.share
        return self.convolve(sum(others, first))
