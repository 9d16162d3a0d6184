from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.conventions import UserError
from src.viewing.figures import Comparison, draw_contact_sheet, draw_strip


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
