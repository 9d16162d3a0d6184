"""From a depth map to points in space, and to a file that MeshLab and Blender open."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.conventions import Intrinsics, UserError

EDGE = 0.06
"""Two neighbours whose depths differ by more than this share lie on two things, with nothing between them."""


class Cloud(NamedTuple):
    """Coloured points in the camera's frame: X right, Y down, Z forward.

    **Shape**: points_m (N, 3) float32; colours (N, 3) uint8.
    **Units**: metres.
    """

    points_m: NDArray[np.float32]
    colours: NDArray[np.uint8]


def unproject(depth_m: NDArray[np.float32], camera: Intrinsics) -> NDArray[np.float32]:
    """Place each pixel in space: (H, W) metres along the axis -> (H, W, 3) metres, X right, Y down, Z forward.

    **Raises**: ValueError when the camera is not one of frames of that size.
    """
    height, width = depth_m.shape
    if (camera.width_px, camera.height_px) != (width, height):
        raise ValueError(f"got a camera of {camera.width_px}x{camera.height_px} px, expected {width}x{height}")
    x = (np.arange(width, dtype=np.float32) - camera.cx_px) / camera.fx_px
    y = (np.arange(height, dtype=np.float32) - camera.cy_px) / camera.fy_px
    return np.stack([x[None] * depth_m, y[:, None] * depth_m, depth_m], axis=-1)


def make_cloud(
    image: NDArray[np.uint8], depth_m: NDArray[np.float32], camera: Intrinsics, *, most: int = 250_000
) -> Cloud:
    """Make a cloud of at most `most` points, on a regular grid of pixels.

    Pixels without depth (0) are left out, and so are those on a jump from one thing to the next, where a resized
    map has values that belong to neither.

    **Shape**: image (H, W, 3) uint8, depth_m (H, W).
    """
    height, width = depth_m.shape
    stride = int(np.ceil(np.sqrt(height * width / most)))
    rows, columns = slice(stride // 2, None, stride), slice(stride // 2, None, stride)
    depth = depth_m[rows, columns]
    points = unproject_grid(depth, camera, stride)
    keep = (depth > 0) & ~on_jump(depth)
    return Cloud(points[keep], image[rows, columns][keep])


def unproject_grid(depth_m: NDArray[np.float32], camera: Intrinsics, stride: int) -> NDArray[np.float32]:
    """Place every `stride`-th pixel in space, the first one at half a stride: (h, w) -> (h, w, 3) metres."""
    height, width = depth_m.shape
    seen = Intrinsics(
        camera.fx_px / stride,
        camera.fy_px / stride,
        (camera.cx_px - stride // 2) / stride,
        (camera.cy_px - stride // 2) / stride,
        width,
        height,
    )
    return unproject(depth_m, seen)


def on_jump(depth_m: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Mark pixels whose depth differs from a neighbour's by more than `EDGE` of it: (H, W) -> (H, W)."""
    marked = np.zeros(depth_m.shape, dtype=bool)
    for axis in (0, 1):
        near, far = (np.take(depth_m, range(i, depth_m.shape[axis] + i - 1), axis=axis) for i in (0, 1))
        jump = np.abs(near - far) > EDGE * np.minimum(near, far)
        pad = [(0, 0), (0, 0)]
        for pad[axis] in ((0, 1), (1, 0)):
            marked |= np.pad(jump, pad)
    return marked


def write_ply(cloud: Cloud, path: Path) -> None:
    """Write a binary PLY with colours, turned upright for viewers: X right, Y up, Z towards the viewer, in metres.

    **Raises**: UserError when the disk refuses; an earlier file of that name is then untouched.
    """
    import trimesh

    upright = cloud.points_m * np.array([1, -1, -1], dtype=np.float32)
    content = trimesh.PointCloud(upright, colors=cloud.colours).export(file_type="ply")
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written ({error.strerror}). Name another folder.") from None
