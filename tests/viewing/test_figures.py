from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.conventions import UserError
from src.viewing.figures import (
    DEPTH_COLOURS,
    Comparison,
    Curve,
    colour_depth,
    draw_contact_sheet,
    draw_curves,
    draw_depth,
    draw_legend,
    draw_models,
    draw_pair,
    draw_strip,
    far_end,
)


def frame() -> tuple[np.ndarray, np.ndarray]:
    depth_m = np.linspace(1, 5, 60 * 80, dtype=np.float32).reshape(60, 80)
    return np.full((60, 80, 3), 128, np.uint8), depth_m


def colours(path: Path) -> int:
    return len(np.unique(np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3), axis=0))


def test_a_strip_shows_maps_of_different_sizes_and_holes(tmp_path: Path) -> None:
    image, depth_m = frame()
    holed = depth_m.copy()
    holed[:20] = 0
    draw_strip([Comparison("one", image, holed, depth_m[::2, ::2])] * 2, tmp_path / "strip.png")
    assert colours(tmp_path / "strip.png") > 200
    draw_strip([Comparison("empty", image, np.zeros_like(depth_m), depth_m)], tmp_path / "empty.png")


def test_a_contact_sheet_takes_any_number(tmp_path: Path) -> None:
    for count in (1, 5):
        draw_contact_sheet([("a room", *frame())] * count, tmp_path / "sheet.png")
        assert colours(tmp_path / "sheet.png") > 100


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        draw_contact_sheet([("a room", *frame())], tmp_path / "file" / "sheet.png")


def test_depth_keeps_its_order_in_grey() -> None:
    shades = DEPTH_COLOURS(np.linspace(0, 1, 32))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(shades) < 0).all()


def test_a_film_and_its_legend_use_one_scale() -> None:
    depth = np.array([[0.0, 2.0, 4.0, 9.0]], np.float32)
    coloured = colour_depth(depth, 4.0)
    assert (coloured.shape, coloured.dtype) == ((1, 4, 3), np.uint8)
    assert (coloured[0, 2] == coloured[0, 3]).all()
    legend = draw_legend(4.0, 200)
    assert legend.shape == (200, 60, 3)
    shades = {tuple(pixel) for pixel in legend.reshape(-1, 3)}
    assert min(np.abs(np.subtract(shade, coloured[0, 1])).max() for shade in map(np.array, shades)) < 12


def test_the_scale_ends_where_nearly_all_depth_does() -> None:
    depth = np.full((100, 100), 3.0, np.float32)
    depth[0, 0] = 1000
    assert far_end(depth) == 3
    assert far_end(np.zeros((4, 4), np.float32)) > 0


def test_single_pictures_of_any_shape_and_size(tmp_path: Path) -> None:
    image, depth_m = frame()
    for name, shape in {"upright": (80, 60), "wide": (30, 300), "large": (3000, 4000)}.items():
        stretched = np.resize(depth_m, shape).astype(np.float32)
        draw_depth(stretched, tmp_path / f"{name}.png")
        draw_pair(np.resize(image, (*shape, 3)), stretched, tmp_path / f"{name}-pair.png")
        assert colours(tmp_path / f"{name}.png") > 100
        assert max(Image.open(tmp_path / f"{name}-pair.png").size) < 2500


def test_curves_and_models_are_drawn(tmp_path: Path) -> None:
    curves = [Curve(str(number), [1, 2, 3], [3.0, 2.0, 1.0 + number]) for number in range(5)]
    draw_curves({"loss": curves, "RMSE (m)": curves[:1]}, tmp_path / "curves.png")
    assert colours(tmp_path / "curves.png") > 50
    image, depth_m = frame()
    draw_models(["a", "b"], [(image, depth_m, [depth_m[::2, ::2]] * 2)] * 2, tmp_path / "models.png")
    assert colours(tmp_path / "models.png") > 100
