"""The height of a depth camera above the floor, estimated from one frame.

A network learns from this height to estimate metres, so training frames should share that of the photos.
"""

import numpy as np
from numpy.typing import NDArray

from src.conventions import NYU_INTRINSICS, Intrinsics

Numbers = NDArray[np.floating]

GRID_PX = 128, 96  # width and height of the grid of sampled pixels

REACH_PX = 3  # distance, on that grid, from a point to the neighbours that give its normal

EDGE_SHARE = 0.15  # a larger relative change of depth between those neighbours is an edge

LEAST_POINTS = 300
LEVEL_DEG = 10
FLOOR_SHARE = 0.04
BELOW_SHARE = 0.02  # a floor is level, has at least the first share of all points, and less than the second below it


def estimate_height(
    depth_m: NDArray[np.floating], valid: NDArray[np.bool_], camera: Intrinsics = NYU_INTRINSICS
) -> float | None:
    """Estimate metres above the floor from a depth map; None where no floor is seen.

    **Shape**: depth_m and valid (H, W); `camera` may be of another size.
    """
    normals, points = _surface(depth_m, valid, camera)
    if points.shape[1] < LEAST_POINTS:
        return None
    down = _gravity(normals)
    below_m = down @ points
    level_m = below_m[np.abs(down @ normals) > np.cos(np.radians(LEVEL_DEG))]
    counts, edges = np.histogram(level_m, np.arange(0.3, 2.5, 0.05))
    counts = np.convolve(counts, (1, 1, 1), "same")
    candidates = np.flatnonzero(counts >= FLOOR_SHARE * len(below_m))
    if not len(candidates):
        return None
    peak = candidates[-1]
    while peak > 0 and counts[peak - 1] > counts[peak]:
        peak -= 1
    middle = (edges[peak] + edges[peak + 1]) / 2
    height_m = float(np.median(level_m[np.abs(level_m - middle) < 0.1]))
    return None if (below_m > height_m + 0.12).mean() > BELOW_SHARE else height_m


def _surface(depth_m: NDArray[np.floating], valid: NDArray[np.bool_], camera: Intrinsics) -> tuple[Numbers, Numbers]:
    """Return normals and points (3, N) of smooth surfaces in camera coordinates: X right, Y down, Z forward."""
    width, height = GRID_PX
    grid = np.ix_(_pixel_centres(height, depth_m.shape[0]), _pixel_centres(width, depth_m.shape[1]))
    points = camera.resized(width, height).unproject(depth_m[grid].astype(np.float32))
    points = np.moveaxis(points, -1, 0)
    middle, low, high = slice(REACH_PX, -REACH_PX), slice(None, -2 * REACH_PX), slice(2 * REACH_PX, None)
    across = points[:, middle, high] - points[:, middle, low]
    along = points[:, high, middle] - points[:, low, middle]
    centres = points[:, middle, middle]
    normals = np.cross(along, across, axis=0)
    length = np.linalg.norm(normals, axis=0)
    smooth = (np.maximum(np.abs(across[2]), np.abs(along[2])) < EDGE_SHARE * centres[2]) & (length > 0)
    for part in ((middle, middle), (middle, low), (middle, high), (low, middle), (high, middle)):
        smooth &= valid[grid][part]
    return normals[:, smooth] / length[smooth], centres[:, smooth]


def _pixel_centres(count: int, side: int) -> NDArray[np.int64]:
    """Return the pixels at the centres of `count` equal parts of a side."""
    return (2 * np.arange(count) + 1) * side // (2 * count)


def _gravity(normals: Numbers) -> Numbers:
    """Find the direction to which most normals, those of floors and walls, are parallel or perpendicular.

    **Source**: Gupta, Arbelaez, Malik 2013 (CVPR), "Perceptual organization and recognition of indoor scenes from
    RGB-D images", section on gravity.
    """
    down = np.array((0.0, 0.97, 0.26))
    for tolerance_deg in (45, 45, 30, 20, 15, 10, 10, 10):
        cosine, tolerance = np.abs(down @ normals), np.radians(tolerance_deg)
        level, upright = normals[:, cosine > np.cos(tolerance)], normals[:, cosine < np.sin(tolerance)]
        down = np.linalg.eigh(upright @ upright.T - level @ level.T)[1][:, 0]
        down = down if down[1] > 0 else -down
    return down
