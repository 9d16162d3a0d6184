import pytest

from src.conventions import NYU_INTRINSICS


def test_a_resized_camera_sees_the_same_point_at_the_same_share_of_the_frame() -> None:
    small = NYU_INTRINSICS.resized(160, 240)
    for x in (-0.4, 0.0, 0.3):  # X / Z of a point
        full_column = NYU_INTRINSICS.fx_px * x + NYU_INTRINSICS.cx_px
        small_column = small.fx_px * x + small.cx_px
        assert (small_column + 0.5) / 160 == pytest.approx((full_column + 0.5) / 640)
        full_row = NYU_INTRINSICS.fy_px * x + NYU_INTRINSICS.cy_px
        small_row = small.fy_px * x + small.cy_px
        assert (small_row + 0.5) / 240 == pytest.approx((full_row + 0.5) / 480)
