"""The public API, used as the README shows it."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PHOTO, ROOT
from PIL import Image

from src.cli.report import compare, estimate_one
from src.conventions import NYU_INTRINSICS, UserError
from src.data.batches import make_sample
from src.data.csv_rows import Row
from src.data.listing import ListedPairs
from src.estimator import DepthEstimator, read_picture
from src.network.depthnet import ACTIVATIONS


@pytest.mark.parametrize("page", ["README.md", "src/viewing/README.md"])
def test_the_lines_of_the_readme_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.+?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    (tmp_path / "photo.jpg").write_bytes(PHOTO.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, np.ndarray] = {}
    exec(code, names)
    assert names["depth_m"].shape == (480, 640)
    if page == "README.md":
        assert names["points_m"].shape == (480, 640, 3)
    else:
        assert Image.open("cloud.png").size == Image.open(ROOT / "src" / "viewing" / "examples" / "cloud.png").size


def test_paths_images_arrays_and_batches_give_the_same_depth(estimator: DepthEstimator) -> None:
    depth_m = estimator(str(PHOTO))
    assert (depth_m.shape, depth_m.dtype) == ((480, 640), np.float32)
    # What the weights that ship predict: it changes with them, and with any change of the way from a file to metres.
    assert np.percentile(depth_m, (5, 50, 95)) == pytest.approx([0.939, 2.145, 3.496], rel=0.01)
    with Image.open(PHOTO) as image:
        pixels = np.asarray(image)
        assert np.array_equal(estimator(image), depth_m)
    for batch in ([pixels, PHOTO], np.stack([pixels, pixels])):
        assert np.array_equal(estimator(batch), np.stack([depth_m, depth_m]))
    small = estimator(pixels, size_px=(np.int64(56), 48))
    assert small.shape == (48, 56)
    assert np.median(small) == pytest.approx(np.median(depth_m), rel=0.05)


def test_depth_is_not_negative_though_the_output_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    estimator = DepthEstimator(device="cpu")
    assert estimator.network.activation is ACTIVATIONS["relu6"]
    monkeypatch.setattr(estimator.network, "activation", lambda output: output - 0.3)
    assert estimator(PHOTO).min() == 0 < estimator(PHOTO).max()


def test_the_angle_of_view_sets_the_camera_and_the_depth(estimator: DepthEstimator) -> None:
    assert estimator.intrinsics(PHOTO).fx_px == pytest.approx(NYU_INTRINSICS.fx_px)
    wide = estimator.intrinsics(PHOTO, fov_deg=90)
    assert (wide.fx_px, wide.fov_deg) == pytest.approx((320, 90))
    assert np.median(estimator(PHOTO, fov_deg=90)) < 0.8 * np.median(estimator(PHOTO))
    # Both are shown to the network at its smallest size, so that only the scale differs.
    np.testing.assert_allclose(estimator(PHOTO, fov_deg=5), 2 * estimator(PHOTO, fov_deg=10), rtol=0.01)


def test_threads_share_an_estimator(estimator: DepthEstimator) -> None:
    photos = [np.roll(np.asarray(Image.open(PHOTO)), 40 * number, axis=1) for number in range(4)]
    expected = [estimator(photo) for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        np.testing.assert_allclose(list(pool.map(estimator, photos)), expected, rtol=1e-4)


PIXELS = np.zeros((40, 40, 3), np.uint8)


@pytest.mark.parametrize(
    ("photo", "options", "message"),
    [
        (PIXELS[..., 0], {}, r"\(40, 40\) of uint8"),
        (np.float32(PIXELS), {}, "of float32"),
        (7, {}, "int"),
        ([], {}, "0 photos"),
        ([PIXELS, PIXELS[1:]], {}, "2 photos of 2 sizes"),
        ("no.jpg", {}, r"no\.jpg"),
        (np.zeros((3, 500, 3), np.uint8), {}, "got 500x3 px, expected at least 16"),
        *(
            (photo, {"fov_deg": n}, "to 179 degrees")
            for photo in (PHOTO, PIXELS)
            for n in (-60, 0.99, 180, np.nan, [60])
        ),
        *((PIXELS, {"size_px": size}, re.escape(f"size_px={size}")) for size in ((0, 56), 56, (56,), (56.0, 56.0))),
    ],
)
def test_other_inputs_angles_and_sizes_are_refused(
    estimator: DepthEstimator, photo: object, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        estimator(photo, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_programs_own_torch_settings_neither_matter_nor_change(estimator: DepthEstimator, dtype: torch.dtype) -> None:
    expected, state = estimator(PHOTO), torch.get_rng_state()
    torch.set_default_dtype(dtype)
    try:
        for each in (estimator, DepthEstimator(device="cpu")):
            np.testing.assert_array_equal(each(PHOTO), expected)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_programs_own_processes_end_as_python_ends_them(tmp_path: Path) -> None:
    program = """
import multiprocessing, signal, sys, time

def save_on_sigterm(ready):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(open("saved", "w").close()))
    ready.set()
    time.sleep(60)

if __name__ == "__main__":
    import src.estimator
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    context.Process(target=save_on_sigterm, args=[ready], daemon=True).start()
    ready.wait()
"""
    (tmp_path / "program.py").write_text(program)
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "program.py"], cwd=tmp_path, env=variables, check=True, timeout=60)
    assert (tmp_path / "saved").exists()


@pytest.mark.parametrize("machine", [{"device": "cuda:0"}, {"device": "tpu"}, {"amp": "half"}])
def test_an_unknown_device_or_precision_is_refused(machine: dict[str, str]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(machine.values()))}: expected"):
        DepthEstimator(**machine)  # type: ignore[arg-type]


def test_a_relative_network_predicts_metres_only_at_a_given_scale(relative_checkpoint: Path) -> None:
    for scale_m in (None, -1.0):
        with pytest.raises(UserError, match=r"relative\.safetensors .*scale_m=10"):
            DepthEstimator(relative_checkpoint, scale_m=scale_m, device="cpu")(PHOTO)
    relative = DepthEstimator(relative_checkpoint, scale_m=20, device="cpu")
    assert (relative.unit_m, relative.unit) == (None, "of the farthest")  # as it is scored and written to files
    shares = relative.estimate(read_picture(PHOTO))
    assert 0.9 < shares.max() <= 1
    for depth_m in (relative(PHOTO), relative([PHOTO])[0]):
        np.testing.assert_allclose(depth_m, 20 * shares, rtol=1e-6)
    with pytest.raises(UserError, match="--scale-m 10: has no effect on a metric network"):
        DepthEstimator(scale_m=10, device="cpu")


@pytest.mark.parametrize("size_px", [(320, 240), (320, 180), (180, 320)])
@pytest.mark.parametrize("fov_deg", [35, 57, 100])
def test_a_listed_frame_and_a_photo_of_one_camera_give_the_same_metres(
    estimator: DepthEstimator, tmp_path: Path, size_px: tuple[int, int], fov_deg: float
) -> None:
    Image.open(PHOTO).resize(size_px).save(tmp_path / "x.png")
    np.save(tmp_path / "x.npy", np.full(size_px[::-1], 2.0, np.float32))
    pairs = ListedPairs([Row("x.png", "x.npy", "", fov_deg)], tmp_path, {32: 1}, max_depth_m=10)
    sample = make_sample("x.png", pairs[0])
    listed_m = estimate_one(estimator.network, estimator.precision, sample.image).numpy() * 10 * sample.scale
    height, width = listed_m.shape
    photo_m = estimator(tmp_path / "x.png", fov_deg=fov_deg, size_px=(width, height))
    np.testing.assert_allclose(photo_m, listed_m, atol=1e-3)
    drawn = compare(estimator.network, pairs, 0, "", estimator.about, estimator.precision)
    np.testing.assert_allclose(drawn.prediction, listed_m, rtol=1e-5)
