"""How a depth camera was held: its height above the floor and its tilt, read from one frame's depth.

A network learns from this height to read metres off the floor, so its training frames should share the photos'.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.conventions import NYU_INTRINSICS, Intrinsics

Numbers = NDArray[np.floating]

SAMPLED_PX = 128, 96
"""Width and height of the grid of pixels looked at."""

REACH_PX = 3
"""A normal is taken from points so far to both sides, on that grid."""

STEP = 0.15
"""Between such points, depth changes by a smaller share than this, or an edge lies there."""

FEWEST = 300
"""Less surface than this, in points of the grid, tells nothing."""

LEVEL_DEG = 10
FLOOR_SHARE = 0.04
BELOW_SHARE = 0.02
"""A floor is level, holds so much of the surface, and has less than this of it below."""


class Stance(NamedTuple):
    """Metres above the floor; pitch downwards and roll clockwise in degrees."""

    height_m: float
    pitch_deg: float
    roll_deg: float


def find_stance(
    depth_m: NDArray[np.floating], valid: NDArray[np.bool_], camera: Intrinsics = NYU_INTRINSICS
) -> Stance | None:
    """Find the floor in a depth map; None where it does not show. `camera` may be of another size than the map.

    **Shape**: depth_m and valid (H, W).
    """
    normals, points = _find_surface(depth_m, valid, camera)
    if points.shape[1] < FEWEST:
        return None
    down = _find_down(normals)
    below_m = down @ points
    level_m = below_m[np.abs(down @ normals) > np.cos(np.radians(LEVEL_DEG))]
    counts, edges = np.histogram(level_m, np.arange(0.3, 2.5, 0.05))
    counts = np.convolve(counts, (1, 1, 1), "same")
    enough = np.flatnonzero(counts >= FLOOR_SHARE * len(below_m))
    if not len(enough):
        return None
    peak = enough[-1]
    while peak > 0 and counts[peak - 1] > counts[peak]:
        peak -= 1
    middle = (edges[peak] + edges[peak + 1]) / 2
    height_m = float(np.median(level_m[np.abs(level_m - middle) < 0.1]))
    if (below_m > height_m + 0.12).mean() > BELOW_SHARE:
        return None
    x, y, z = down
    return Stance(height_m, float(np.degrees(np.arctan2(z, np.hypot(x, y)))), float(np.degrees(np.arctan2(x, y))))


def _find_surface(
    depth_m: NDArray[np.floating], valid: NDArray[np.bool_], camera: Intrinsics
) -> tuple[Numbers, Numbers]:
    """Give normals and points (3, N) of what is smooth, in the camera's frame: X right, Y down, Z forward."""
    (width, height), reach = SAMPLED_PX, REACH_PX
    grid = np.ix_(_spread(height, depth_m.shape[0]), _spread(width, depth_m.shape[1]))
    known, points = valid[grid], camera.resized(width, height).unproject(depth_m[grid].astype(np.float32))
    points = np.moveaxis(points, -1, 0)
    middle, low, high = slice(reach, -reach), slice(None, -2 * reach), slice(2 * reach, None)
    across, along = points[:, middle, high] - points[:, middle, low], points[:, high, middle] - points[:, low, middle]
    normals, centres = np.cross(along, across, axis=0), points[:, middle, middle]
    length = np.linalg.norm(normals, axis=0)
    smooth = (np.maximum(np.abs(across[2]), np.abs(along[2])) < STEP * centres[2]) & (length > 0)
    for part in ((middle, middle), (middle, low), (middle, high), (low, middle), (high, middle)):
        smooth &= known[part]
    return normals[:, smooth] / length[smooth], centres[:, smooth]


def _spread(count: int, over: int) -> NDArray[np.int64]:
    """Take so many places, evenly over a side."""
    return (2 * np.arange(count) + 1) * over // (2 * count)


def _find_down(normals: Numbers) -> Numbers:
    """Find the direction that most normals are along or square to: floors and walls, of most rooms' surface.

    **Source**: Gupta, Arbelaez, Malik 2013 (CVPR), "Perceptual organization and recognition of indoor scenes from
    RGB-D images", section on gravity.
    """
    down = np.array((0.0, 0.97, 0.26))
    for tolerance_deg in (45, 45, 30, 20, 15, 10, 10, 10):
        along, most = np.abs(down @ normals), np.radians(tolerance_deg)
        level, upright = normals[:, along > np.cos(most)], normals[:, along < np.sin(most)]
        down = np.linalg.eigh(upright @ upright.T - level @ level.T)[1][:, 0]
        down = down if down[1] > 0 else -down
    return down
