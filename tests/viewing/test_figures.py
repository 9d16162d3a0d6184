from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from src.viewing import figures
from src.viewing.mp4 import write_video

IMAGE = np.full((60, 80, 3), 128, np.uint8)
DEPTH_M = np.linspace(1, 5, 60 * 80, dtype=np.float32).reshape(60, 80)
HOLED_M = np.where(np.arange(60)[:, None] < 20, 0, DEPTH_M)
CURVES = [figures.Curve(str(number), [1, 2, 3], [3.0, 2.0, 1.0 + number]) for number in range(5)]


def count_colours(path: Path) -> int:
    return len(Image.open(path).convert("RGB").getcolors(2**24))


def test_figures_with_several_panels(tmp_path: Path) -> None:
    path = tmp_path / "new" / "figure.png"
    figures.draw_strip([figures.StripRow("a", IMAGE, HOLED_M, DEPTH_M[::2, ::2])] * 2, path)
    assert count_colours(path) > 200
    assert (np.asarray(Image.open(path).convert("RGB")) == 191).all(axis=-1).mean() > 0.09  # unknown
    for count in (1, 5):
        figures.draw_contact_sheet([("a room", IMAGE, HOLED_M)] * count, path)
        assert count_colours(path) > 100
    assert Image.open(path).format == "PNG"
    figures.draw_contact_sheet([("a room", IMAGE, HOLED_M)], path.with_suffix(".jpg"))
    assert Image.open(path.with_suffix(".jpg")).format == "JPEG"
    figures.draw_curves({"loss": CURVES, "RMSE (m)": CURVES[:1]}, path)
    assert count_colours(path) > 50


def test_every_panel_has_the_aspect_of_its_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In figures of 4:3, portrait and 16:9 frames, also predictions of 56x56."""
    shapes = [(60, 80), (80, 60), (45, 80)]
    square = np.resize(DEPTH_M, (56, 56))
    frames = [(np.resize(IMAGE, (*shape, 3)), np.resize(DEPTH_M, shape), square) for shape in shapes]
    pages: list[Any] = []
    monkeypatch.setattr(figures, "_write_page", lambda rows, path: pages.append(rows))
    figures.draw_strip([figures.StripRow("a", *frame) for frame in frames], tmp_path)
    figures.draw_contact_sheet([("a", image, truth) for image, truth, _ in frames], tmp_path)
    # As packed frames are.
    figures.draw_augmentation([("a", [(IMAGE[:, :60], square)] * 2)], tmp_path, aspect=16 / 9)
    shown = [panel.shape[:2] for rows in pages for row in rows for _, panel in row]
    panels = [shape for shape in shown if shape[1] == figures.PANEL_PX]  # without legends
    expected = [shape for shape in shapes for _ in range(4)] + [shape for shape in shapes for _ in range(2)]
    expected += [(9, 16)] * 4
    assert panels == [(round(figures.PANEL_PX * height / width), figures.PANEL_PX) for height, width in expected]


def test_empty_sparse_and_long_frames_are_drawn(tmp_path: Path) -> None:
    empty, path = np.zeros((60, 80), np.float32), tmp_path / "x.png"
    figures.draw_strip([figures.StripRow("a \udcff 雪", IMAGE, empty, empty)], path)
    colours = np.asarray(Image.open(path)).reshape(-1, 3)
    grey, near = figures.colour_depth(np.array([[np.nan, 0]], np.float32), 1.0)[0]
    assert [(colours == colour).all(axis=1).sum() > 40_000 for colour in (grey, near)] == [True, True]
    sparse = np.where(np.arange(80) == 3, 5, empty)  # nowhere on the grid that chooses the scale
    figures.draw_contact_sheet([("a", IMAGE, sparse)], path)
    figures.draw_augmentation([("a", [(IMAGE, empty)] * 2)], path, aspect=4 / 3)
    long = np.zeros((5000, 16, 3), np.uint8)
    figures.draw_contact_sheet([("a", long, long[..., 0].astype(np.float32))], path)
    assert Image.open(path).height < 500
    shown = []
    for title in ("", "a" * 60):  # which ends where the next title starts
        figures.draw_contact_sheet([(title, long, long[..., 0]), ("b", long, long[..., 0])], path)
        shown.append(np.asarray(Image.open(path))[:, 20:])
    np.testing.assert_array_equal(*shown)


def test_sparse_depth_is_shown_on_its_own_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, scans_m = np.zeros((480, 640, 3), np.uint8), np.zeros((480, 640), np.float32)
    scans_m[5::16, ::2] = 4  # as of a LiDAR, nowhere on a grid of every eighth row
    pages: list[Any] = []
    monkeypatch.setattr(figures, "_write_page", lambda rows, path: pages.append(rows))
    figures.draw_contact_sheet([("a", image, scans_m)], tmp_path)
    figures.draw_strip([figures.StripRow("a", image, scans_m, np.full((56, 56), 2, np.float32))], tmp_path)
    [[_, (_, depth), (_, legend)]], [[_, (_, truth), _, _, (_, error), _]] = pages
    for panel in (depth, truth, error):
        assert 0.1 < (panel != 191).any(axis=-1).mean() < 0.3
    np.testing.assert_array_equal(legend, figures.draw_legend(4.0, 180))
    assert figures.scale_max(np.where(np.arange(640) == 0, scans_m, 0)) == 4


@pytest.mark.parametrize(("shape", "drawn"), [((80, 60), 1), ((30, 300), 1), ((3000, 4000), 3)])
def test_a_photo_beside_its_depth_and_legend_at_any_size(shape: tuple[int, int], drawn: int) -> None:
    depth_m = np.resize(DEPTH_M, shape)
    photo = np.resize(np.arange(251, dtype=np.uint8), (*shape, 3))
    picture = figures.draw_depth(photo, depth_m, 5.0)
    photo, depth_m = photo[::drawn, ::drawn], depth_m[::drawn, ::drawn]
    height, width = depth_m.shape
    np.testing.assert_array_equal(picture[:height, :width], photo)
    np.testing.assert_array_equal(picture[:height, width : 2 * width], figures.colour_depth(depth_m, 5.0))
    np.testing.assert_array_equal(picture[:, 2 * width :], figures.draw_legend(5.0, len(picture)))
    assert len(picture) == max(height, 160)
    assert (picture[height:, : 2 * width] == 255).all()


def test_near_is_bright_and_map_and_legend_use_one_scale_without_outliers() -> None:
    luminance = figures.DEPTH_COLOURS(np.linspace(0, 1, 32))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) < 0).all()  # in grey too
    coloured = figures.colour_depth(np.array([[0.0, 2.0, 4.0, 9.0]], np.float32), 4.0)
    assert (coloured.shape, coloured.dtype) == ((1, 4, 3), np.uint8)
    assert (coloured[0, 2] == coloured[0, 3]).all()
    legend = figures.draw_legend(4.0, 480).astype(int)
    assert legend.shape == (480, 60, 3)
    ticks_px = np.flatnonzero((legend[:, 20] == 0).all(axis=1))
    assert len(ticks_px) == 5  # at 4, 3, 2, 1 and 0 m, each beside the colour of its depth
    beside = legend[ticks_px.clip(max=467), 10]
    assert np.abs(beside - figures.colour_depth(np.arange(4, -1, -1, dtype=np.float32), 4.0)).max() < 4
    assert (legend[:36] != figures.draw_legend(4.0, 480, unit="of the farthest")[:36]).any()
    words = (figures.draw_legend(1.0, 160, unit="of the farthest")[:, 20:] < 128).any(axis=(1, 2))
    assert (np.diff(words.astype(int)) == 1).sum() == 2 + 6  # two lines, apart from the numbers 1 to 0
    depth_m = np.full((100, 100), 3.0, np.float32)
    depth_m[0, 0] = 1000
    assert figures.scale_max(depth_m) == 3
    assert figures.scale_max(0 * depth_m) > 0


def test_a_video_is_decoded_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    with write_video(path, Fraction(30000, 1001)) as append:
        for number in range(3):
            append(np.full((49, 63, 3), 120 * number, np.uint8), number * 1001 / 30000)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 62, 48)
        assert stream.average_rate == Fraction(30000, 1001)
        means = [frame.to_ndarray(format="rgb24").mean() for frame in container.decode(video=0)]
    assert means == pytest.approx([0, 120, 240], abs=3)


def test_frames_are_shown_at_their_times_and_none_is_lost(tmp_path: Path) -> None:
    with write_video(tmp_path / "x.mp4", 10) as append:
        for time_s in (-1, 0, 0.02, 0.02, 0.01, 3, 2.5, 7.25):
            append(IMAGE, time_s)
    with av.open(str(tmp_path / "x.mp4")) as container:
        times_s = [frame.time for frame in container.decode(video=0)]
    assert times_s == pytest.approx([0, 0, 0.02, 0.02, 0.02, 3, 3, 7.25], abs=1e-4)


def test_a_failure_leaves_no_video(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), write_video(tmp_path / "x.mp4", 10) as append:
        append(IMAGE, 0)
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
