"""The public API, as somebody would use it who reads five lines of the README."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ABOUT, ROOT
from PIL import Image

from src.conventions import NYU_INTRINSICS, UserError
from src.estimator import DepthEstimator
from src.network import DepthNet
from src.training import checkpoint

PHOTO = ROOT / "src" / "viewing" / "examples" / "room-1.jpg"


@pytest.fixture(scope="module")
def estimator() -> DepthEstimator:
    return DepthEstimator(device="cpu")


def test_the_lines_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.+?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 5
    (tmp_path / "photo.jpg").write_bytes(PHOTO.read_bytes())
    monkeypatch.chdir(tmp_path)
    names: dict[str, np.ndarray] = {}
    exec(code, names)
    assert names["depth_m"].shape == (480, 640)
    assert names["points_m"].shape == (480, 640, 3)


def test_paths_images_arrays_and_batches_are_the_same_photo(estimator: DepthEstimator) -> None:
    depth_m = estimator(str(PHOTO))
    assert (depth_m.shape, depth_m.dtype) == ((480, 640), np.float32)
    assert 0.5 < np.median(depth_m) < 8
    with Image.open(PHOTO) as image:
        pixels = np.asarray(image)
        assert np.array_equal(estimator(image), depth_m)
    assert np.array_equal(estimator(PHOTO), depth_m)
    assert np.array_equal(estimator(pixels), depth_m)
    for batch in ([pixels, PHOTO], np.stack([pixels, pixels])):
        assert np.array_equal(estimator(batch), np.stack([depth_m, depth_m]))
    small = estimator(pixels, size_px=(56, 56))
    assert small.shape == (56, 56)
    assert np.median(small) == pytest.approx(np.median(depth_m), rel=0.05)


def test_a_wider_camera_sees_things_from_nearer(estimator: DepthEstimator) -> None:
    assert estimator.intrinsics(PHOTO).fx_px == pytest.approx(NYU_INTRINSICS.fx_px)
    wide = estimator.intrinsics(PHOTO, fov_deg=90)
    assert wide.fx_px == pytest.approx(320)
    assert np.median(estimator(PHOTO, fov_deg=90)) < 0.8 * np.median(estimator(PHOTO))


def test_threads_share_an_estimator(estimator: DepthEstimator) -> None:
    photos = [np.roll(np.asarray(Image.open(PHOTO)), 40 * number, axis=1) for number in range(4)]
    alone = [estimator(photo) for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        for together, expected in zip(pool.map(estimator, photos * 2), alone * 2, strict=True):
            np.testing.assert_allclose(together, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("photo", "got"),
    [
        (np.zeros((40, 40), np.uint8), r"an array \(40, 40\) of uint8"),
        (np.zeros((40, 40, 3), np.float32), "of float32"),
        (7, "int"),
        ([], "0 photos"),
        ([np.zeros((40, 40, 3), np.uint8), np.zeros((40, 41, 3), np.uint8)], "2 photos of 2 sizes"),
        ("no.jpg", "no such file"),
    ],
)
def test_what_is_no_photo_is_named(estimator: DepthEstimator, photo: object, got: str) -> None:
    with pytest.raises(UserError, match=got):
        estimator(photo)  # type: ignore[arg-type]


def test_a_relative_network_knows_no_metres(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = DepthNet(pretrained=False).state_dict()
    about = {**ABOUT, "encoder": "tf_efficientnet_lite0", "target": "relative"}
    checkpoint.save(tmp_path / "best.pt", about=about, network=weights, ema=None)
    relative = DepthEstimator(tmp_path / "best.pt", device="cpu")
    assert relative.unit == "of the farthest"
    with pytest.raises(UserError, match="knows no metres"):
        relative(PHOTO)
