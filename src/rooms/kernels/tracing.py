"""The first surface along rays: through all pixels of a camera, or along any rays."""

from typing import Any

import numpy as np

from src.rooms.kernels.compilation import F, Floats, Integers, Vec3, compiled
from src.rooms.kernels.solids import BOX, Solids, corners, intersect, intersect_box, invert, local_ray, rotate, to_local

NEAR_M = 0.02  # nothing nearer to the camera is drawn
CLEAR_OF_START = 1e-3  # a ray meets nothing nearer: rounding cannot make it meet the surface that it starts from


@compiled
def project_box(low: Any, high: Any, origin: Any, axes: Any, lens: Any, height: Any, width: Any) -> Any:
    """Bound a box in the image: first and last row and column, the last not included."""
    right, down, forward = axes
    fx, fy, cx, cy = lens
    in_front = 0
    left, top, right_end, bottom = np.inf, np.inf, -np.inf, -np.inf
    for which in range(8):
        x = (high if which & 4 else low)[0] - origin[0]
        y = (high if which & 2 else low)[1] - origin[1]
        z = (high if which & 1 else low)[2] - origin[2]
        depth = x * forward[0] + y * forward[1] + z * forward[2]
        if depth > NEAR_M:
            in_front += 1
            column = (x * right[0] + y * right[1] + z * right[2]) / depth
            row = (x * down[0] + y * down[1] + z * down[2]) / depth
            left, right_end = min(left, column), max(right_end, column)
            top, bottom = min(top, row), max(bottom, row)
    if in_front == 0:
        return 0, 0, 0, 0
    if in_front < 8:
        # The projection of a box that reaches behind the camera is unbounded.
        return 0, height, 0, width
    first_row, first = int(max(0.0, np.floor(top * fy + cy))), int(max(0.0, np.floor(left * fx + cx)))
    last_row, last = min(height, np.ceil(bottom * fy + cy) + 1), min(width, np.ceil(right_end * fx + cx) + 1)
    return first_row, max(first_row, int(last_row)), first, max(first, int(last))


@compiled
def trace_pixels(
    solids: Solids, eye: Vec3, axes: tuple[Vec3, Vec3, Vec3], lens: Any, height: int, width: int
) -> tuple[Floats, Integers]:
    """Compute `raycast.trace`; `axes` are right, down and forward of the camera, `lens` is fx, fy, cx, cy in pixels."""
    depth_m = np.full((height, width), np.inf, np.float32)
    number = np.full((height, width), -1, np.int16)
    inverses = np.empty((3, height, width), np.float32)
    fx, fy, cx, cy = lens
    start = 0
    for k in range(len(solids.ends)):
        pose, end = solids.poses[k], solids.ends[k]
        origin = to_local(pose, eye)
        right, down, forward = local_axes = rotate(pose, axes[0]), rotate(pose, axes[1]), rotate(pose, axes[2])
        low, high = corners(solids.hulls, k)
        first_row, last_row, first_column, end_column = project_box(low, high, origin, local_axes, lens, height, width)
        if first_row < last_row and first_column < end_column:
            for axis in range(3):
                for row in range(first_row, last_row):
                    ray = F((row - cy) / fy * down[axis] + forward[axis])
                    for column in range(first_column, end_column):
                        inverses[axis, row, column] = invert(F((column - cx) / fx * right[axis]) + ray)
            for box in range(start, end):
                (low, high), shape = corners(solids.corners, box), solids.shapes[box]
                top, bottom, left, stop = project_box(low, high, origin, local_axes, lens, height, width)
                # Rounding may move a box one pixel out of its hull, where no rays have been computed.
                left, stop = max(left, first_column), max(first_column, min(stop, end_column))
                for row in range(max(top, first_row), min(bottom, last_row)):
                    x, y, z = inverses[0, row, left:stop], inverses[1, row, left:stop], inverses[2, row, left:stop]
                    nearest, first = depth_m[row, left:stop], number[row, left:stop]
                    # The same loop twice: the one over boxes alone is vectorised.
                    if shape == BOX:
                        for i in range(len(nearest)):
                            near, far = intersect_box(low, high, origin, (x[i], y[i], z[i]))
                            if near <= far and near > F(NEAR_M) and near < nearest[i]:
                                nearest[i], first[i] = near, box
                    else:
                        for i in range(len(nearest)):
                            near, far = intersect(low, high, shape, origin, (x[i], y[i], z[i]))
                            if near <= far and near > F(NEAR_M) and near < nearest[i]:
                                nearest[i], first[i] = near, box
        start = end
    return depth_m, number


@compiled
def trace_rays(solids: Solids, starts: Floats, rays: Floats) -> tuple[Floats, Integers]:
    """Find what rays (3, N) from starts (3, N) meet first: how far along each ray, and the number of the box."""
    count = rays.shape[1]
    distance, number = np.full(count, np.inf, np.float32), np.full(count, -1, np.int16)
    for i in range(count):
        start = starts[0, i], starts[1, i], starts[2, i]
        first = 0
        for k in range(len(solids.ends)):
            origin = to_local(solids.poses[k], start)
            x, y, z = local_ray(solids.poses[k], rays[0, i], rays[1, i], rays[2, i])
            inverse = invert(x), invert(y), invert(z)
            low, high = corners(solids.hulls, k)
            near, far = intersect_box(low, high, origin, inverse)
            if near <= far and far > 0 and near < distance[i]:
                for box in range(first, solids.ends[k]):
                    low, high = corners(solids.corners, box)
                    near, far = intersect(low, high, solids.shapes[box], origin, inverse)
                    if near <= far and near > F(CLEAR_OF_START) and near < distance[i]:
                        distance[i], number[i] = near, box
            first = solids.ends[k]
    return distance, number
