"""What the pixels show: colour, normal, glow and gloss of the surface that each ray meets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.conventions import Intrinsics
from src.rooms import kernels
from src.rooms.kernels import PATTERNS, Floats, Looks, Solids
from src.rooms.prints import print_levels
from src.rooms.textures import LATTICE, Material


class Surfaces(NamedTuple):
    """Of N rays: albedo and normal (3, N); glow, gloss and mirror (N,)."""

    albedo: Floats
    normal: Floats
    glow: Floats
    gloss: Floats
    mirror: Floats


def look_up(
    materials: Sequence[Material],
    solids: Solids,
    starts: Floats,
    rays: Floats,
    distance: Floats,
    number: NDArray[np.int16],
    intrinsics: Intrinsics,
) -> Surfaces:
    """Look up the surfaces that rays meet, by the distance along them and the box's number; nothing is black.

    **Shape**: materials of each box; starts (3, 1) or (3, N), rays (3, N), distance and number (N,).
    """
    looks = Looks(
        np.array([(each.colour, each.second) for each in materials], np.float64),
        np.array([PATTERNS.index(each.pattern) for each in materials], np.int64),
        np.array([_measures(each) for each in materials], np.float64),
    )
    picture = print_levels()
    found = kernels.look_up(solids, looks, starts, rays, distance, number, intrinsics.fx_px, LATTICE, picture)
    albedo, normal, (glow, gloss, mirror) = found
    return Surfaces(albedo, normal, glow, gloss, mirror)


def _measures(surface: Material) -> tuple[float, ...]:
    pattern = surface.size_m, surface.phase_m, surface.rough, surface.grains_per_m
    return *pattern, surface.bumps, surface.bump_m, surface.glow, surface.gloss, surface.mirror
