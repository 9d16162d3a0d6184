import numpy as np
import pytest

from src.conventions import NYU_INTRINSICS, Intrinsics


def test_a_resized_camera_sees_the_same_point_at_the_same_share_of_the_frame() -> None:
    small = NYU_INTRINSICS.resized(160, 240)
    for x in (-0.4, 0.0, 0.3):  # X / Z of a point
        full_column = NYU_INTRINSICS.fx_px * x + NYU_INTRINSICS.cx_px
        small_column = small.fx_px * x + small.cx_px
        assert (small_column + 0.5) / 160 == pytest.approx((full_column + 0.5) / 640)
        full_row = NYU_INTRINSICS.fy_px * x + NYU_INTRINSICS.cy_px
        small_row = small.fy_px * x + small.cy_px
        assert (small_row + 0.5) / 240 == pytest.approx((full_row + 0.5) / 480)


def test_a_pixel_lands_where_the_pinhole_puts_it() -> None:
    camera = Intrinsics(100.0, 50.0, 3.0, 1.0, 8, 6)
    depth_m = np.full((6, 8), 2.0, np.float32)
    points = camera.unproject(depth_m)
    # Column 5 is 2 px right of the axis, row 4 is 3 px below it.
    assert points[4, 5] == pytest.approx([2 * 2 / 100, 2 * 3 / 50, 2])
    assert points[1, 3] == pytest.approx([0, 0, 2])
    with pytest.raises(ValueError, match="got a camera of 8x6 px, expected 4x3"):
        camera.unproject(depth_m[:3, :4])
