"""Point clouds from depth maps, and PLY files for MeshLab and Blender."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.conventions import Intrinsics
from src.files import whole_file

MAX_SLOPE = 8.0  # metres away per metre across, a surface seen at 83 degrees: a steeper one is an edge of an object


class Cloud(NamedTuple):
    """N coloured points in the camera's frame: X right, Y down, Z forward."""

    points_m: NDArray[np.float32]  # (N, 3)
    colours: NDArray[np.uint8]  # (N, 3)


def make_cloud(
    image: NDArray[np.uint8], depth_m: NDArray[np.float32], camera: Intrinsics, *, max_points: int = 320_000
) -> Cloud:
    """Make a cloud of about `max_points` points at most, all or a regular grid of pixels, (H, W, 3) and (H, W).

    Left out: pixels without depth (0), and those at the edge of an object, where a resized map interpolates.
    """
    is_sparse = np.count_nonzero(depth_m > 0) <= max_points  # a grid could miss the rows of a LiDAR
    stride = 1 if is_sparse else math.ceil(math.sqrt(depth_m.size / max_points))
    first = stride // 2
    depth = depth_m[first::stride, first::stride]
    lens = camera.fx_px, camera.fy_px, camera.cx_px - first, camera.cy_px - first
    fx_px, fy_px, cx_px, cy_px = (length / stride for length in lens)
    strided = Intrinsics(fx_px, fy_px, cx_px, cy_px, depth.shape[1], depth.shape[0])
    keep = (depth > 0) & ~is_edge(depth, strided)
    return Cloud(strided.unproject(depth)[keep], image[first::stride, first::stride][keep])


def is_edge(depth_m: NDArray[np.float32], camera: Intrinsics) -> NDArray[np.bool_]:
    """Mark pixels whose surface is steeper than `MAX_SLOPE` towards a neighbour with depth: (H, W) -> (H, W)."""
    edges = np.zeros(depth_m.shape, dtype=bool)
    for depth, edge, focal_px in ((depth_m, edges, camera.fx_px), (depth_m.T, edges.T, camera.fy_px)):
        nearer_m = np.minimum(depth[:, :-1], depth[:, 1:])
        steep = (nearer_m > 0) & (np.abs(np.diff(depth, axis=1)) > MAX_SLOPE * nearer_m / focal_px)
        edge[:, :-1] |= steep
        edge[:, 1:] |= steep
    return edges


def write_ply(cloud: Cloud, path: Path) -> None:
    """Write a coloured binary PLY in metres: X right, Y up, Z to the viewer. UserError when it cannot be written."""
    import trimesh

    upright = cloud.points_m * np.array([1, -1, -1], dtype=np.float32)
    content = trimesh.PointCloud(upright, colors=cloud.colours).export(file_type="ply")
    with whole_file(path) as unfinished:
        unfinished.write_bytes(content)
