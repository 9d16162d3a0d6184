"""Networks as ONNX files: parity, the optimised graphs, and their use through DepthEstimator."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from conftest import ABOUT, PHOTO, Script
from PIL import Image

from src.conventions import UserError
from src.estimator import DepthEstimator
from src.network import DepthNet, int8
from src.network.int8 import to_int8
from src.network.onnx_export import to_onnx, write_model

FACTS = {**ABOUT, "weights": "ema", "unit": 10.0}


def photos(count: int) -> np.ndarray:
    """Crops of a generated room, (count, 224, 224, 3)."""
    room = np.asarray(Image.open(PHOTO).convert("RGB"))
    return np.stack([room[8 * i : 8 * i + 224, 40 * i : 40 * i + 224] for i in range(count)])


def optimised(path: Path) -> onnx.GraphProto:
    """What ONNX Runtime runs."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path.with_suffix(".optimised"))
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return onnx.load(options.optimized_model_filepath).graph


@pytest.fixture(scope="module")
def shipped() -> DepthEstimator:
    return DepthEstimator(device="cpu")


@pytest.fixture(scope="module")
def files(shipped: DepthEstimator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shipped weights in each form."""
    folder = tmp_path_factory.mktemp("onnx")
    models = {name: to_onnx(shipped.network, unit=10.0, dynamic=name == "dynamic") for name in ("fixed", "dynamic")}
    models["int8"] = to_int8(shipped.network, unit=10.0, images=list(photos(8)))
    for name, model in models.items():
        write_model(model, folder / f"{name}.onnx", FACTS)
    return folder


def test_the_shipped_weights_predict_the_same_metres_from_files(files: Path, shipped: DepthEstimator) -> None:
    image = torch.from_numpy(photos(3)).permute(0, 3, 1, 2)
    assert "181.6 px across and 242.4 px down" in onnx.load(files / "fixed.onnx").doc_string
    fixed, dynamic = (DepthEstimator(files / f"{name}.onnx") for name in ("fixed", "dynamic"))
    for estimator in (fixed, dynamic):
        with torch.no_grad():
            torch.testing.assert_close(10 * estimator.network(image), 10 * shipped.network(image), atol=1e-3, rtol=0)
    # Photos of other sizes and angles: the same from a dynamic file; near it from one of 224x224 pixels.
    room = np.asarray(Image.open(PHOTO.with_name("room-2.jpg")))
    for part, fov_deg in ((room, 45), (room, 63), (room, 75), (room, 90), (room[:, 185:455], 60), (room[60:420], 63)):
        expected = shipped(part, fov_deg=fov_deg)
        np.testing.assert_allclose(dynamic(part, fov_deg=fov_deg), expected, atol=1e-3)
        assert fixed(part, fov_deg=fov_deg).shape == expected.shape
        assert np.median(fixed(part, fov_deg=fov_deg) / expected) == pytest.approx(1, abs=0.15)


def test_a_relative_network_predicts_the_same_shares_from_a_file(shipped: DepthEstimator, tmp_path: Path) -> None:
    network, facts = shipped.network, {**FACTS, "target": "relative", "unit": 1.0}
    write_model(to_onnx(network, unit=1.0), tmp_path / "x.onnx", facts)
    image = torch.from_numpy(np.array(Image.open(PHOTO).convert("RGB").resize((320, 320)))).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = network(F.interpolate(image.float(), (224, 224), mode="bilinear", antialias=True).round().byte())
    found = DepthEstimator(tmp_path / "x.onnx").network(image)
    torch.testing.assert_close(found, F.interpolate(expected, (80, 80), mode="bilinear"), atol=1e-4, rtol=1e-3)


@pytest.mark.skipif(
    tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 25), reason="older ONNX Runtime: reorders more"
)
def test_nothing_leaves_the_blocked_layout_of_float32(files: Path) -> None:
    kinds = [node.op_type for node in optimised(files / "fixed.onnx").node]
    assert kinds.count("ReorderOutput") == 1
    assert not {"ReorderInput", "Transpose", "Split", "DepthToSpace", "BatchNormalization"} & set(kinds)


def test_int8_has_no_island_of_float32(files: Path, shipped: DepthEstimator) -> None:
    kinds = [node.op_type for node in optimised(files / "int8.onnx").node]
    assert "QuantizeLinear" not in kinds  # the photo's bytes are quantised already, and nothing returns from float32
    first_float = kinds.index("DequantizeLinear")
    integer = {f"QLinear{kind}" for kind in ("Conv", "Add", "Mul", "Sigmoid", "Concat")} | {"NhwcMaxPool", "Pad"}
    assert set(kinds[:first_float]) <= integer | {"Transpose", "Reshape", "Expand", "MaxPool"}
    assert kinds.count("Transpose") == 2  # of the photo and of what the last convolution reads: the copies add none
    assert kinds.count("QLinearMul") == 7 + 1  # of the GELUs, and of the one share that the kernels do not contain
    float32 = {"DequantizeLinear", "ReorderInput", "Conv", "Gelu", "Mul", "Clip", "ReorderOutput"}
    assert set(kinds[first_float:]) <= float32

    image = torch.from_numpy(photos(8)).permute(0, 3, 1, 2)
    with torch.no_grad():
        single = shipped.network(image)
    quantised = DepthEstimator(files / "int8.onnx").network(image)
    assert quantised.unique().numel() > 1000  # the last convolution is not quantised
    assert ((quantised - single).abs() / single).mean() < 0.03


def run(model: onnx.ModelProto, count: int) -> torch.Tensor:
    """Return the metres of `photos(count)`."""
    session = onnxruntime.InferenceSession(model.SerializeToString())
    outputs = [session.run(None, {"image": photo.transpose(2, 0, 1)[None]})[0] for photo in photos(count)]
    return torch.from_numpy(np.concatenate(outputs))


def quantised_depth(network: torch.nn.Module, count: int) -> torch.Tensor:
    """Return the metres of `photos(count)` by a network that is quantised with their ranges."""
    return run(to_int8(network, unit=10.0, images=list(photos(count))), count)


def single_depth(network: torch.nn.Module, count: int) -> torch.Tensor:
    with torch.no_grad():
        return 10 * network(torch.from_numpy(photos(count)).permute(0, 3, 1, 2))


def test_int8_keeps_the_range_of_depth_and_corrects_biases(
    files: Path, shipped: DepthEstimator, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    single, quantised = single_depth(shipped.network, 8).flatten(), run(onnx.load(files / "int8.onnx"), 8).flatten()
    assert not capfd.readouterr().err  # ONNX Runtime warns of constants that nothing reads
    monkeypatch.setattr(int8, "_correct_biases", lambda *_: None)
    uncorrected = quantised_depth(shipped.network, 8).flatten()
    corrected, uncorrected = ((depth / single - 1).square().mean().sqrt() for depth in (quantised, uncorrected))
    assert corrected < min(0.8 * uncorrected, 0.013)  # 0.0097, 0.0199
    slope = torch.cov(torch.stack([quantised, single]))[0, 1] / quantised.var()
    assert slope.item() == pytest.approx(1, abs=1e-3)
    assert quantised.mean().item() == pytest.approx(single.mean().item(), rel=1e-3)


def test_int8_keeps_the_mean_depth_where_no_activation_follows() -> None:
    torch.manual_seed(0)
    network = DepthNet(pretrained=False, output="identity").eval()
    expected = single_depth(network, 2).mean().item()
    assert quantised_depth(network, 2).mean().item() == pytest.approx(expected, rel=1e-3)


def test_a_share_of_zero_is_not_divided_by() -> None:
    network = DepthNet(pretrained=False).eval()
    with torch.no_grad():
        network.decoder.nodes["out_8"].weights[1, 1] = -1.0  # type: ignore[index, union-attr]
    torch.testing.assert_close(run(to_onnx(network, unit=10.0), 1), single_depth(network, 1), atol=1e-3, rtol=0)


def test_an_encoder_keeps_its_own_sigmoids_in_int8() -> None:
    network = DepthNet("efficientnet_b0", pretrained=False).eval()
    torch.testing.assert_close(quantised_depth(network, 1), single_depth(network, 1), rtol=0.05, atol=0)


def test_what_cannot_be_exported_or_read_is_refused(files: Path, tmp_path: Path, script: Script) -> None:
    asked = ("--to", "onnx", "--data", "rooms", "--limit", 1, "--out", tmp_path / "x.onnx")
    done = script("export.py", files / "fixed.onnx", *asked, status=2)
    assert "got an exported graph, expected weights" in done.stderr
    assert not list(tmp_path.iterdir())
    content = (files / "fixed.onnx").read_bytes()
    nameless = onnx.load(files / "fixed.onnx")
    del nameless.metadata_props[:]
    damaged = {"cut": content[: len(content) // 2], "empty": b"", "of another program": nameless.SerializeToString()}
    for name, written in damaged.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(written)
        with pytest.raises(UserError, match=r"not an ONNX file that scripts/export\.py wrote"):
            DepthEstimator(path)
    with pytest.raises(UserError, match="no such file"):
        DepthEstimator(tmp_path / "missing.onnx")
    with pytest.raises(UserError, match="runs on the CPU"):
        DepthEstimator(files / "fixed.onnx", amp="bf16")
