"""A network as an ONNX file in int8, for ONNX Runtime: bytes of RGB in, metres out."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.shape_inference import infer_shapes
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import Tensor, nn

from src.network.depthnet import DepthNet
from src.network.onnx_export import OnBytes, to_graph

SIGMOID_FACTOR = 1.702
FIRST_IN_FLOAT = "/refine/refine.1/Conv"  # of the int8 file
CENTRE = 128  # the byte that int8 kernels see as 0
MOST_CHANGE = 0.1  # of the last kernel: images of which a network makes nothing would change it at random


def to_int8(network: DepthNet, *, unit: float, images: Sequence[NDArray[np.uint8]]) -> ModelProto:
    """Quantise a network to int8: static, weights per channel, the ranges of the activations those of `images`.

    The last three convolutions and the GELU between them stay in float32: their rounding would be half of the whole
    error. The very last is fitted to the network's depth, the biases of those in int8 are corrected. Other GELUs become
    x * sigmoid(1.702 x), whose operators exist in int8.

    **Shape**: `images` (224, 224, 3) each; input and output are those of `to_onnx`.
    **Source**: Hendrycks and Gimpel 2016, arXiv 1606.08415, section 2 (this approximation of GELU).
    """
    with tempfile.TemporaryDirectory() as folder:
        single, prepared, quantised = (Path(folder) / f"{name}.onnx" for name in ("single", "prepared", "quantised"))
        onnx.save(to_graph(_OnCentredBytes(network, unit), _centre(images[0])), single)
        _fold(single, prepared)
        quantize_static(
            prepared,
            quantised,
            _Calibration(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_nodes_from(onnx.load(prepared).graph, FIRST_IN_FLOAT),
        )
        model = onnx.load(quantised)
        _correct_biases(model.graph, onnx.load(prepared), images)
    _take_bytes(model.graph)
    _fold_sigmoids(model.graph)
    _double_by_copies(model)
    _drop_unused(model.graph)
    if network.activation is not torch.sigmoid:
        _fit_output(model, OnBytes(network, unit), images)
    return model


def _fold(single: Path, folded: Path) -> None:
    """Fold norms and constants, as `quant_pre_process` does, but not in ONNX Runtime 1.24 to 1.30."""
    settings = SessionOptions()
    settings.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_BASIC
    settings.optimized_model_filepath = str(folded)
    InferenceSession(single, settings, providers=["CPUExecutionProvider"])
    onnx.save(infer_shapes(onnx.load(folded)), folded)


class _OnCentredBytes(OnBytes):
    """The same on bytes less `CENTRE`, with a fourth channel of zeros: int8 kernels read channels by fours."""

    def __init__(self, network: DepthNet, unit: float) -> None:
        super().__init__(network, unit)
        _shift(self.body.conv_stem, CENTRE - self.mean)  # type: ignore[arg-type]
        _shift(self.residual, torch.full_like(self.mean, CENTRE))
        for module in list(self.network.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.GELU) and module is not self.network.refine:
                    setattr(module, name, _SigmoidGELU())

    def forward(self, image: Tensor) -> Tensor:
        return self.unit * self.network.decode(self.body(image), image)


def _shift(conv: nn.Conv2d, offset: Tensor) -> None:
    """Make a convolution of an input compute that of the input plus an offset per channel."""
    shift = (conv.weight * offset).sum(dim=(1, 2, 3))
    conv.bias = nn.Parameter(shift if conv.bias is None else conv.bias + shift, requires_grad=False)
    conv.weight = nn.Parameter(F.pad(conv.weight, (0, 0, 0, 0, 0, 1)), requires_grad=False)


class _SigmoidGELU(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features * torch.sigmoid(SIGMOID_FACTOR * features)


def _centre(image: NDArray[np.uint8]) -> Tensor:
    """Prepare a photo for `_OnCentredBytes`: (H, W, 3) uint8 -> (1, 4, H, W) float32."""
    return F.pad(torch.from_numpy(image - np.float32(CENTRE)), (0, 1)).permute(2, 0, 1)[None].contiguous()


class _Calibration(CalibrationDataReader):
    def __init__(self, images: Sequence[NDArray[np.uint8]]) -> None:
        self.inputs = iter({"image": _centre(image).numpy()} for image in images)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self.inputs, None)


def _open(model: ModelProto) -> InferenceSession:
    return InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def _correct_biases(graph: GraphProto, single: ModelProto, images: Sequence[NDArray[np.uint8]]) -> None:
    """Add to each bias what rounding the kernel takes from the mean output for `images`.

    **Source**: Nagel et al. 2019, arXiv 1906.04721, section 4.2.
    """
    convs = {node.name: node for node in single.graph.node if node.op_type == "Conv"}
    kernels = {value.name: numpy_helper.to_array(value) for value in single.graph.initializer}
    means = _mean_inputs(single, images)
    made_by = {name: node for node in graph.node for name in node.output}
    constants = {value.name: value for value in graph.initializer}
    for node in graph.node:
        if node.name not in convs or len(node.input) < 3 or node.input[1] not in made_by:  # no bias, or in float32
            continue
        (rounded, scale), (bias, bias_scale) = (
            [numpy_helper.to_array(constants[name]) for name in made_by[quantised].input[:2]]
            for quantised in node.input[1:3]
        )
        photo, kernel_name, _ = convs[node.name].input
        kernel, mean = kernels[kernel_name], means[photo]
        groups = len(mean) // kernel.shape[1]
        inputs = np.repeat(mean.reshape(groups, -1), len(kernel) // groups, axis=0)
        lost = ((kernel - rounded * scale.reshape(-1, 1, 1, 1)).sum(axis=(2, 3)) * inputs).sum(axis=1)
        steps = np.divide(lost, bias_scale, out=np.zeros_like(lost), where=bias_scale > 0).round()
        name = made_by[node.input[2]].input[0]
        constants[name].CopyFrom(numpy_helper.from_array(bias + steps.astype(np.int32), name))


def _mean_inputs(model: ModelProto, images: Sequence[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
    """Average what each convolution reads, per channel, over all pixels of `images`."""
    names = sorted({node.input[0] for node in model.graph.node if node.op_type == "Conv"} - {"image"})
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    session = _open(model)
    sums: dict[str, Any] = dict.fromkeys([*names, "image"], 0)
    for photo in (_centre(image).numpy() for image in images):
        for name, value in zip([*names, "image"], [*session.run(names, {"image": photo}), photo], strict=True):
            sums[name] += value.mean(axis=(0, 2, 3)) / len(images)
    return sums


def _fit_output(model: ModelProto, network: OnBytes, images: Sequence[NDArray[np.uint8]]) -> None:
    """Scale the last convolution so that the depth of `images` fits the network's: int8 narrows its range by 1 %."""
    session = _open(model)
    photos = [image.transpose(2, 0, 1)[None].copy() for image in images]
    quantised = np.concatenate([session.run(None, {"image": photo})[0].ravel() for photo in photos])
    single = np.concatenate([network(torch.from_numpy(photo)).numpy().ravel() for photo in photos])
    deviation = quantised - quantised.mean()
    slope = np.clip(deviation @ single / (deviation @ deviation + 1e-9), 1 - MOST_CHANGE, 1 + MOST_CHANGE)
    offset = single.mean() - slope * quantised.mean()
    conv = _last_conv(model.graph)
    _, kernel, bias = conv.input
    last = _nodes_from(model.graph, conv.name)
    is_scaled = any(node.op_type == "Mul" for node in model.graph.node if node.name in last)  # else the kernel is
    step = offset / network.unit if is_scaled else offset
    for value in model.graph.initializer:
        if value.name in (kernel, bias):
            fitted = slope * numpy_helper.to_array(value) + (step if value.name == bias else 0)
            value.CopyFrom(numpy_helper.from_array(fitted.astype(np.float32), value.name))


def _last_conv(graph: GraphProto) -> NodeProto:
    """Return the last convolution, the one with one output channel."""
    kernels = {value.name for value in graph.initializer if len(value.dims) == 4 and value.dims[0] == 1}
    (last,) = (node for node in graph.node if node.op_type == "Conv" and node.input[1] in kernels)
    return last


def _nodes_from(graph: GraphProto, first: str) -> list[str]:
    """Name a node and all that depend on it."""
    names: list[str] = []
    made: set[str] = set()
    for node in graph.node:
        if node.name == first or made.intersection(node.input):
            names.append(node.name)
            made.update(node.output)
    return names


def _take_bytes(graph: GraphProto) -> None:
    """Replace the quantisation of the input by a fourth channel: a photo's bytes are quantised already."""
    (quantise,) = (node for node in graph.node if "image" in node.input)
    graph.node.remove(quantise)
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] == quantise.output[0]:
            node.input[:] = ["widened", "byte_scale", "byte_centre"]
    one_channel = np.array([0, 0, 0, 0, 0, 1, 0, 0])  # to add, before and after each dimension
    constants = {"byte_scale": np.float32(1), "byte_centre": np.uint8(CENTRE), "one_channel": one_channel}
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    graph.node.insert(0, helper.make_node("Pad", ["image", "one_channel", "byte_centre"], ["widened"], name="widen"))
    graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    graph.input[0].type.tensor_type.shape.dim[1].dim_value = 3


def _fold_sigmoids(graph: GraphProto) -> None:
    """Let each GELU's sigmoid read its features at `SIGMOID_FACTOR` times their scale, instead of a product."""
    made_by = {name: node for node in graph.node for name in node.output}
    constants = {value.name: value for value in graph.initializer}
    for sigmoid in [node for node in graph.node if node.op_type == "Sigmoid"]:
        dequantise = made_by[sigmoid.input[0]]
        quantise = made_by[dequantise.input[0]]
        product = made_by[quantise.input[0]]
        if product.op_type != "Mul":  # of an encoder's own SiLU or squeeze-and-excitation
            continue
        (features,) = (node for name in product.input if (node := made_by[name]).input[0] not in constants)
        scale = numpy_helper.to_array(constants[features.input[1]]) * np.float32(SIGMOID_FACTOR)
        graph.initializer.append(numpy_helper.from_array(scale.astype(np.float32), f"{sigmoid.name}_scale"))
        dequantise.input[:] = [features.input[0], f"{sigmoid.name}_scale", features.input[2]]
        graph.node.remove(quantise)
        graph.node.remove(product)


def _double_by_copies(model: ModelProto) -> None:
    """Double int8 maps by copies of their bytes, channels last: ONNX Runtime's nearest resize takes four times as long.

    It runs int8 convolutions with channels last too, so that the transpositions here cancel.
    """
    graph = model.graph
    sizes = {value.name: value.type.tensor_type.shape.dim for value in infer_shapes(model).graph.value_info}
    for node in [node for node in graph.node if node.op_type == "Resize"]:
        (dequantise,) = (other for other in graph.node if node.input[0] in other.output)
        (quantise,) = (other for other in graph.node if node.output[0] in other.input)
        _, channels, height, width = (size.dim_value for size in sizes[node.input[0]])
        shapes = {
            "apart": [1, height, 1, width, 1, channels],
            "copied": [1, height, 2, width, 2, channels],
            "joined": [1, 2 * height, 2 * width, channels],
        }
        name = node.name
        graph.initializer.extend(
            numpy_helper.from_array(np.array(shape), f"{name}_{key}_shape") for key, shape in shapes.items()
        )
        place = list(graph.node).index(node)
        for step in (
            helper.make_node("Transpose", [f"{name}_joined"], quantise.output, perm=[0, 3, 1, 2]),
            helper.make_node("Reshape", [f"{name}_copied", f"{name}_joined_shape"], [f"{name}_joined"]),
            helper.make_node("Expand", [f"{name}_apart", f"{name}_copied_shape"], [f"{name}_copied"]),
            helper.make_node("Reshape", [f"{name}_last", f"{name}_apart_shape"], [f"{name}_apart"]),
            helper.make_node("Transpose", [dequantise.input[0]], [f"{name}_last"], perm=[0, 2, 3, 1]),
        ):
            graph.node.insert(place, step)
        graph.node.remove(node)
        graph.node.remove(quantise)


def _drop_unused(graph: GraphProto) -> None:
    """Leave out the constants that nothing reads any more, of which ONNX Runtime would warn each reader of the file."""
    used = {name for node in graph.node for name in node.input}
    for node in [node for node in graph.node if node.op_type == "DequantizeLinear" and node.output[0] not in used]:
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for constant in [constant for constant in graph.initializer if constant.name not in used]:
        graph.initializer.remove(constant)
