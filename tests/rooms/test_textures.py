"""Materials are those of real rooms: no surface gives back more light than it gets, but for lamps and windows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from src.rooms.kernels import PATTERNS
from src.rooms.textures import Material, fabric, floor, glass, paint, printed, tiles, wall, wood


@pytest.mark.parametrize("draw", (fabric, floor, glass, paint, printed, tiles, wall, wood))
def test_materials_are_within_physics(draw: Callable[[np.random.Generator], Material]) -> None:
    drawn = [draw(np.random.default_rng(seed)) for seed in range(200)]
    for each in drawn:
        assert all(0 < c < 1 for c in (*each.colour, *each.second))
        assert each.pattern in PATTERNS and each.size_m > 0 and each.glow == 0
        assert each.mirror + max(each.colour) <= 1 and 0 <= each.gloss < 0.5
    assert len({each.colour for each in drawn}) > 100 or draw is glass
    assert len({each.mirror for each in drawn}) == (200 if draw is glass else 1)


def test_only_cloth_has_folds() -> None:
    for seed in range(50):
        assert fabric(np.random.default_rng(seed)).bumps > 0
        assert wood(np.random.default_rng(seed)).bumps == 0
