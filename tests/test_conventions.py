from pathlib import Path

import numpy as np
import pytest

from src import choices
from src.choices import parse_every
from src.conventions import NYU_INTRINSICS, Intrinsics, UserError
from src.files import whole_file
from src.rooms.ablation import REMOVALS
from src.training.losses import LOSS_FUNCTIONS


def test_a_resized_camera_sees_the_same_point_at_the_same_share_of_the_frame() -> None:
    full, small = NYU_INTRINSICS, NYU_INTRINSICS.resized(160, 240)
    for x in (-0.4, 0.0, 0.3):  # X / Z of a point
        assert (small.fx_px * x + small.cx_px + 0.5) / 160 == pytest.approx((full.fx_px * x + full.cx_px + 0.5) / 640)
        assert (small.fy_px * x + small.cy_px + 0.5) / 240 == pytest.approx((full.fy_px * x + full.cy_px + 0.5) / 480)


def test_a_pixel_lands_where_the_pinhole_puts_it() -> None:
    camera = Intrinsics(100.0, 50.0, 3.0, 1.0, 8, 6)
    depth_m = np.full((6, 8), 2.0, np.float32)
    points = camera.unproject(depth_m)
    # Column 5 is 2 px right of the axis, row 4 is 3 px below it.
    assert points[4, 5] == pytest.approx([2 * 2 / 100, 2 * 3 / 50, 2])
    assert points[1, 3] == pytest.approx([0, 0, 2])
    with pytest.raises(ValueError, match="got a camera of 8x6 px, expected 4x3"):
        camera.unproject(depth_m[:3, :4])


def test_a_file_appears_when_its_block_ends_well_and_stays_when_a_later_one_fails(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.txt"
    with whole_file(path) as unfinished:
        unfinished.write_text("whole")
        assert not path.exists()
    with pytest.raises(KeyboardInterrupt), whole_file(path) as unfinished:
        unfinished.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_what_the_disk_refuses_costs_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"x\.txt"), whole_file(tmp_path / "file" / "x.txt"):
        pass
    with pytest.raises(UserError, match="No space left"), whole_file(tmp_path / "y.txt"):
        raise OSError(28, "No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_every_choice_is_implemented_and_every_implementation_can_be_chosen() -> None:
    assert tuple(sorted(REMOVALS)) == choices.INGREDIENTS
    assert tuple(sorted(LOSS_FUNCTIONS)) == choices.LOSSES


@pytest.mark.parametrize(("text", "expected"), [("500", (500, None)), ("10m", (None, 600)), ("0.5m", (None, 30))])
def test_how_often_is_read(text: str, expected: tuple) -> None:
    assert parse_every(text) == expected


@pytest.mark.parametrize("text", ["", "0", "-3", "m", "0m", "1.5", "infm", "nanm", "10 h"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_every(text)
