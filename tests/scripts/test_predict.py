import sys
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import Script, wavy_frame
from PIL import Image

from predict import name_results
from src.data import video
from src.training import checkpoint
from src.viewing.film import film


def photos(folder: Path) -> Path:
    folder.mkdir()
    image = Image.fromarray(wavy_frame(1)[0])
    image.save(folder / "a.jpg")
    image.resize((60, 80)).save(folder / "upright.png")
    (folder / "bad.jpg").write_text("hello")
    with film(folder / "film.mp4", 10) as append:
        for number in range(3):
            append(wavy_frame(number)[0])
    return folder


def test_a_folder_with_one_bad_file(script: Script, tmp_path: Path) -> None:
    folder = photos(tmp_path / "in")
    done = script("predict.py", folder, "--out", "out", "--pointcloud", status=2)
    assert "the weights that ship with the repository, trained on nyu" in done.stdout
    assert "RMSE" in done.stdout
    assert "error: " in done.stderr
    assert "bad.jpg: got 5 bytes that are no image" in done.stderr
    assert "error: 1 of 4 inputs failed" in done.stderr

    made = {path.name for path in (tmp_path / "out").iterdir()}
    kinds = ("cloud.ply", "colour.png", "depth.npy", "depth.png", "pair.png")
    assert made == {f"{name}_{kind}" for name in ("a", "upright") for kind in kinds} | {"film_depth.mp4"}
    with av.open(str(tmp_path / "out" / "film_depth.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    # The view and its depth, 640x480 each, and the scale.
    assert [frame.shape for frame in frames] == [(480, 1340, 3)] * 3
    assert np.abs(frames[1][240, :640].astype(int) - frames[1][240, 640:1280]).mean() > 10
    depth_m = np.load(tmp_path / "out" / "upright_depth.npy")
    assert (depth_m.shape, depth_m.dtype) == ((80, 60), np.float32)
    stored = Image.open(tmp_path / "out" / "upright_depth.png")
    assert stored.size == (60, 80)
    assert np.abs(np.asarray(stored, dtype=np.float64) / 1000 - depth_m).max() < 0.00051
    assert 0.2 < depth_m.mean() < 10


def test_a_longer_lens_means_farther_things(script_inside: Script, tmp_path: Path) -> None:
    Image.fromarray(wavy_frame(1)[0]).resize((640, 480)).save(tmp_path / "x.jpg")
    # Both are shown to the network at its smallest size, so that only the scale differs.
    near, far = (
        (script_inside("predict.py", "x.jpg", "--fov", fov), np.load(tmp_path / "predictions" / "x_depth.npy"))[1]
        for fov in (10, 5)
    )
    assert far == pytest.approx(near * 2, rel=0.01)


def test_mistakes_cost_one_line(script_inside: Script, tmp_path: Path) -> None:
    Image.fromarray(wavy_frame(1)[0]).save(tmp_path / "x.jpg")
    for arguments, message in (
        (("none.jpg",), "none.jpg: got no such file"),
        (("x.jpg", "--checkpoint", "none.pt"), "none.pt: no such checkpoint"),
        (("x.jpg", "--fov", "180"), "expected an angle between 0 and 180"),
        (("x.jpg", "--weights", "swa"), "--weights swa: this checkpoint holds only ema"),
        (("98",), "webcam 98: got no webcam of that number"),
        (("x.jpg", "--out", "x.jpg"), "cannot be written"),
    ):
        done = script_inside("predict.py", *arguments, status=2)
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert message in errors[0]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["x.jpg"]


def test_a_relative_network_has_no_metres(script_inside: Script, nyu_folder: Path, tmp_path: Path) -> None:
    tiny = ("--target", "relative", "--limit", 2, "--epochs", 1, "--batch-size", 2)
    script_inside("train.py", "--data-dir", nyu_folder, "--out", "run", *tiny)
    photo = nyu_folder / "nyu_data/data/nyu2_test/00001_colors.png"
    refused = script_inside("predict.py", photo, "--checkpoint", "run/best.pt", "--pointcloud", status=2)
    assert "needs metres" in refused.stderr
    done = script_inside("predict.py", photo, "--checkpoint", "run/best.pt")
    assert "of the farthest" in done.stdout
    shares = np.load(tmp_path / "predictions" / "00001_colors_depth.npy")
    assert 0.9 < shares.max() <= 1


def test_a_webcam_is_filmed_for_as_long_as_asked(
    script_inside: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # FFmpeg's endless test picture stands in for a camera.
    monkeypatch.setitem(video.WEBCAMS, sys.platform, ("lavfi", "testsrc=size=320x240:rate=10"))
    done = script_inside("predict.py", "0", "--seconds", "0.5")
    assert "webcam 0: " in done.stdout
    with av.open(str(tmp_path / "predictions" / "webcam0_depth.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) > 0


def test_no_two_inputs_share_a_name() -> None:
    assert name_results([Path("a/x.jpg"), Path("b/x.png"), Path("x-2.jpg"), "0"]) == ["x", "x-2", "x-2-2", "webcam0"]


def test_an_exported_run_predicts_like_the_run(script_inside: Script, nyu_folder: Path, tmp_path: Path) -> None:
    script_inside("train.py", "--data-dir", nyu_folder, "--out", "run", "--limit", 4, "--epochs", 1)
    done = script_inside("export.py", "run/best.pt", "--data-dir", nyu_folder)
    assert "best.safetensors" in done.stdout
    about = checkpoint.load(tmp_path / "run" / "best.safetensors")["about"]
    assert about["scores"]["count"] == 3
    assert "data_dir" not in about["options"]
    assert str(tmp_path) not in str(about)
    photo = nyu_folder / "nyu_data/data/nyu2_test/00001_colors.png"
    depths = []
    for name in ("best.pt", "best.safetensors"):
        script_inside("predict.py", photo, "--checkpoint", f"run/{name}")
        depths.append(np.load(tmp_path / "predictions" / "00001_colors_depth.npy"))
    assert depths[1] == pytest.approx(depths[0], abs=0.01)
    refused = script_inside("export.py", "run/best.pt", "--out", "run/best.onnx", status=2)
    assert "expected a name that ends in .safetensors" in refused.stderr
