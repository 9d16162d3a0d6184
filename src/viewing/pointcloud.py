"""From a depth map to points in space, and to a file that MeshLab and Blender open."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.conventions import Intrinsics
from src.files import whole_file

STEEPEST = 8.0
"""Metres away per metre across: a surface seen at 83 degrees. What is steeper is the gap between two things."""


class Cloud(NamedTuple):
    """Coloured points in the camera's frame: X right, Y down, Z forward.

    **Shape**: points_m (N, 3) float32; colours (N, 3) uint8.
    **Units**: metres.
    """

    points_m: NDArray[np.float32]
    colours: NDArray[np.uint8]


def make_cloud(
    image: NDArray[np.uint8], depth_m: NDArray[np.float32], camera: Intrinsics, *, most: int = 320_000
) -> Cloud:
    """Make a cloud of at most `most` points, on a regular grid of pixels.

    Pixels without depth (0) are left out, and so are those between one thing and the next, where a resized map
    has values that belong to neither.

    **Shape**: image (H, W, 3) uint8, depth_m (H, W).
    """
    stride = math.ceil(math.sqrt(depth_m.size / most))
    first = stride // 2
    depth = depth_m[first::stride, first::stride]
    seen = Intrinsics(
        camera.fx_px / stride,
        camera.fy_px / stride,
        (camera.cx_px - first) / stride,
        (camera.cy_px - first) / stride,
        depth.shape[1],
        depth.shape[0],
    )
    keep = (depth > 0) & ~is_gap(depth, seen)
    return Cloud(seen.unproject(depth)[keep], image[first::stride, first::stride][keep])


def is_gap(depth_m: NDArray[np.float32], camera: Intrinsics) -> NDArray[np.bool_]:
    """Mark pixels on a surface steeper than `STEEPEST` towards any neighbour: (H, W) -> (H, W)."""
    marked = np.zeros(depth_m.shape, dtype=bool)
    for depth, mark, focal_px in ((depth_m, marked, camera.fx_px), (depth_m.T, marked.T, camera.fy_px)):
        across_m = np.minimum(depth[:, :-1], depth[:, 1:]) / focal_px
        steep = np.abs(np.diff(depth, axis=1)) > STEEPEST * across_m
        mark[:, :-1] |= steep
        mark[:, 1:] |= steep
    return marked


def write_ply(cloud: Cloud, path: Path) -> None:
    """Write a binary PLY with colours, turned upright for viewers: X right, Y up, Z towards the viewer, in metres.

    **Raises**: UserError when the disk refuses; an earlier file of that name is then untouched.
    """
    import trimesh

    upright = cloud.points_m * np.array([1, -1, -1], dtype=np.float32)
    content = trimesh.PointCloud(upright, colors=cloud.colours).export(file_type="ply")
    with whole_file(path) as unfinished:
        unfinished.write_bytes(content)
