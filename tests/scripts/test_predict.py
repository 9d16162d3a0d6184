import sys
from pathlib import Path

import av
import numpy as np
import pytest
import trimesh
from conftest import Script, wavy_frame
from PIL import Image

from predict import delayed, name_results
from src.data import video
from src.estimator import DepthEstimator
from src.viewing.mp4 import write_video

TIMES_S = [0, 0.04, 2.5]


def test_a_folder_with_one_bad_file(script: Script) -> None:
    Path("in").mkdir()
    image = Image.fromarray(wavy_frame(1)[0])
    image.save("in/a.jpg")
    upright = image.resize((60, 80))
    upright.save("in/upright.png")
    Path("in/bad.jpg").write_text("hello")
    with write_video(Path("in/video.mp4"), 10) as append:
        for number in range(3):
            append(wavy_frame(number)[0], TIMES_S[number])
    Path("in/notes.txt").touch()
    done = script("predict.py", "in", "--out", "out", "--pointcloud", "--fov", 90, status=2)
    assert "the weights that ship with the repository, trained on nyu" in done.stdout
    assert "focal length 40 px (--fov)" in done.stdout
    assert "bad.jpg: got 5 bytes" in done.stderr
    assert "in: skipped 1 .txt" in done.stderr
    assert "error: 1 of 4 inputs failed" in done.stderr
    named = [line.split(": ")[0] for line in done.stdout.splitlines() if " -> " in line]
    assert named == [str(Path("in", name)) for name in ("a.jpg", "upright.png", "video.mp4")]

    results = {path.name for path in Path("out").iterdir()}
    kinds = ("cloud.ply", "colour.png", "depth.npy", "depth.png")
    assert results == {f"{name}_{kind}" for name in ("a", "upright") for kind in kinds} | {"video_depth.mp4"}
    with av.open("out/video_depth.mp4") as container:
        decoded = list(container.decode(video=0))
    assert [frame.time for frame in decoded] == pytest.approx(TIMES_S, abs=1e-4)
    frames = [frame.to_ndarray(format="rgb24") for frame in decoded]
    # The photo and its depth, 640x480 each, and the colour bar.
    assert [frame.shape for frame in frames] == [(480, 1340, 3)] * 3
    assert np.abs(frames[1][240, :640].astype(int) - frames[1][240, 640:1280]).mean() > 10
    picture = np.asarray(Image.open("out/upright_colour.png"))
    assert picture.shape == (160, 170, 3)  # the photo and its depth, 60x80 each, and the colour bar
    assert (picture[:80, :60] == np.asarray(upright)).all()
    depth_m = np.load("out/upright_depth.npy")
    assert (depth_m.shape, depth_m.dtype) == ((80, 60), np.float32)
    millimetres = np.asarray(Image.open("out/upright_depth.png"), dtype=np.float64)
    assert np.abs(millimetres / 1000 - depth_m).max() < 0.00051


def test_mistakes_are_one_line(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("x.jpg", "x_depth.png"):
        Image.fromarray(wavy_frame(1)[0]).save(name)
    for arguments, message in (
        (("none.jpg",), "none.jpg: got no such file"),
        (("x.jpg", "--checkpoint", "none.pt"), "none.pt: no such checkpoint"),
        (("x.jpg", "--checkpoint", "."), "got a folder"),
        (("x.jpg", "--weights", "swa"), "--weights swa: this checkpoint holds only ema"),
        (("98",), "webcam 98: got no webcam"),
        (("98", "--pointcloud"), "--pointcloud: got 98, expected a photo"),
        (("",), "an empty name: got no such file"),
        (("x.jpg", "--out", "x.jpg"), "--out x.jpg: cannot be written or created"),
        ((".", "--out", "."), "--out .: results would replace x_depth.png there. Name another folder."),
        (("x.jpg", "--out", "."), "--out .: results would replace x_depth.png there. Name another folder."),
        (("x.jpg", "--pointcloud", "--scale-m", 3), "--scale-m 3: has no effect on a metric network"),
    ):
        error = script("predict.py", *arguments, status=2).stderr
        assert message in error and error.startswith("error: ") and "the others" not in error
    assert sorted(path.name for path in Path().iterdir() if path.is_file()) == ["x.jpg", "x_depth.png"]
    monkeypatch.setattr(DepthEstimator, "estimate", lambda _, photo: np.full(photo.image.shape[:2], 70, np.float32))
    assert "the PNG ends at 65.535 m" in script("predict.py", "x.jpg").stdout


@pytest.mark.skipif(sys.platform != "linux", reason="whose file systems take any name")
def test_a_folder_may_have_any_name(script: Script) -> None:
    Image.fromarray(wavy_frame(1)[0]).save("x.jpg")
    script("predict.py", "x.jpg", "--out", "out\udcff")
    assert Path("out\udcff/x_depth.npy").exists()


def test_a_relative_network_predicts_shares_and_a_cloud_at_a_scale(script: Script, relative_checkpoint: Path) -> None:
    Image.fromarray(wavy_frame(1)[0]).save("x.jpg")
    for typed, scale_m in (((), 0), (("--pointcloud",), 10), (("--pointcloud", "--scale-m", 3), 3)):
        done = script("predict.py", "x.jpg", "--checkpoint", relative_checkpoint, *typed, "--out", f"{scale_m}")
        out = Path(f"{scale_m}")
        assert "(Eigen, median-scaled): d1 0.8" in done.stdout and "of the farthest" in done.stdout
        assert ("point cloud" in done.stdout) == bool(scale_m)
        shares = np.load(out / "x_depth.npy")
        assert 0.9 < shares.max() <= 1
        assert np.asarray(Image.open(out / "x_depth.png")).max() == np.rint(shares.max() * 65535)
        if scale_m:
            assert f"farthest point put at {scale_m} m (--scale-m)" in done.stdout
            depths_m = -trimesh.load(out / "x_cloud.ply").vertices[:, 2]
            assert depths_m.max() == pytest.approx(scale_m * shares.max(), rel=0.1)  # edges are left out
            assert depths_m.min() == pytest.approx(scale_m * shares.min(), rel=0.1)


def test_a_webcam_is_recorded_for_the_given_time(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    # FFmpeg's endless test picture instead of a camera.
    monkeypatch.setitem(video.WEBCAMS, sys.platform, ("lavfi", "testsrc=size=320x240:rate=10"))
    script("predict.py", "0", "--seconds", "0.5")
    with av.open("predictions/webcam0_depth.mp4") as container:
        assert sum(1 for _ in container.decode(video=0)) > 0


def test_a_name_with_a_colon_is_no_protocol(script: Script) -> None:
    with write_video(Path("film.mp4"), 10) as append:
        append(wavy_frame(0)[0], 0)
    Path("film.mp4").rename("12:30:05.mp4")
    script("predict.py", "12:30:05.mp4", "--out", ".")
    assert Path("12:30:05_depth.mp4").exists()


def test_no_two_inputs_share_a_name() -> None:
    assert name_results([Path("a/x.jpg"), Path("b/x.png"), Path("x-2.jpg"), "0"]) == ["x", "x-2", "x-2-2", "webcam0"]


def test_two_inputs_are_started_ahead_and_no_more() -> None:
    started: list[int] = []
    inputs = (started.append(number) or number for number in range(5))  # type: ignore[func-returns-value]
    assert [(number, len(started)) for number in delayed(inputs)] == [(0, 3), (1, 4), (2, 5), (3, 5), (4, 5)]
