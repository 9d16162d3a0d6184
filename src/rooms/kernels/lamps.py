"""Shadows and light of a lamp."""

from typing import Any

import numpy as np

from src.rooms.kernels.compilation import TINY, F, Floats, Mask, Vec3, compiled
from src.rooms.kernels.solids import BOX, Solids, corners, intersect, invert, local_ray, to_local
from src.rooms.kernels.surfaces import Surfaces

SHADOW_END = 0.998  # share of the way from a lamp before which a caster lies, so that no surface shades itself
MARGIN = 1e-3  # widens the bounds of shadows, so that rounding loses none of a shadow
LAMP_SIZE_M2 = 0.6  # softens the inverse square near a lamp, which is not a point
CHUNK = 256  # adjacent points that are tested together against the bounds of a piece's shadow


@compiled
def occludes(low: Any, high: Any, shape: Any, origin: Any, inverse: Any) -> Any:
    """Tell whether a solid lies between a lamp and the end of a ray."""
    near, far = intersect(low, high, shape, origin, inverse)
    return (near <= far) & (far > F(0)) & (near < F(SHADOW_END))


@compiled
def mark_occluded(solids: Any, box: Any, origin: Any, x: Any, y: Any, z: Any, occluded: Any) -> None:
    """Set `occluded` for the rays from a lamp that a solid blocks, given by the reciprocals of their coordinates."""
    (low, high), shape = corners(solids.corners, box), solids.shapes[box]
    # The same loop twice: the one over boxes alone is vectorised.
    if shape == BOX:
        for i in range(len(occluded)):
            occluded[i] |= occludes(low, high, BOX, origin, (x[i], y[i], z[i]))
    else:
        for i in range(len(occluded)):
            occluded[i] |= occludes(low, high, shape, origin, (x[i], y[i], z[i]))


@compiled
def shadow_bounds(low: Any, high: Any, lamp: Any) -> Any:
    """Bound a box's shadow on the plane one metre below a lamp: least and greatest x, least and greatest y."""
    near, far = lamp[2] - high[2], lamp[2] - low[2]
    if near <= 0:
        return F(-np.inf), F(np.inf), F(-np.inf), F(np.inf)
    left, right, front, back = low[0] - lamp[0], high[0] - lamp[0], low[1] - lamp[1], high[1] - lamp[1]
    return (
        F(left / (near if left < 0 else far) - MARGIN),
        F(right / (near if right > 0 else far) + MARGIN),
        F(front / (near if front < 0 else far) - MARGIN),
        F(back / (near if back > 0 else far) + MARGIN),
    )


@compiled
def find_shadows(solids: Solids, lamp: Vec3, rays: Floats, wanted: Mask) -> Mask:
    """Tell which wanted points, at the ends of rays (3, N) from a lamp, lie in a shadow; the first piece casts none."""
    pieces, count = len(solids.ends), rays.shape[1]
    dark = np.zeros(count, np.bool_)
    # Rays that cross the plane one metre below the lamp outside the bounds of a shadow need no intersection.
    limits, box_limits = np.empty((pieces, 4), np.float32), np.empty((len(solids.corners), 4), np.float32)
    origins = np.empty((pieces, 3))
    for k in range(1, pieces):
        origins[k] = to_local(solids.poses[k], lamp)
        low, high = corners(solids.bounds, k)
        limits[k] = shadow_bounds(low, high, lamp)
        for box in range(solids.ends[k - 1], solids.ends[k]):
            low, high = corners(solids.corners, box)
            box_limits[box] = shadow_bounds(low, high, origins[k])
    plane_x, plane_y = np.empty(CHUNK, np.float32), np.empty(CHUNK, np.float32)
    x, y, z = np.empty(CHUNK, np.float32), np.empty(CHUNK, np.float32), np.empty(CHUNK, np.float32)
    points, occluded = np.empty(CHUNK, np.int64), np.empty(CHUNK, np.bool_)
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        for i in range(size):
            scale = F(-1) / min(rays[2, start + i], F(-TINY))
            plane_x[i], plane_y[i] = rays[0, start + i] * scale, rays[1, start + i] * scale
        left, right = plane_x[:size].min(), plane_x[:size].max()
        front, back = plane_y[:size].min(), plane_y[:size].max()
        for k in range(1, pieces):
            if left > limits[k, 1] or right < limits[k, 0] or front > limits[k, 3] or back < limits[k, 2]:
                continue
            # Gather the rays that meet the piece's hull, then intersect all of them with each box.
            origin = origins[k, 0], origins[k, 1], origins[k, 2]
            low, high = corners(solids.hulls, k)
            found = 0
            local_left, local_right, local_front, local_back = F(np.inf), F(-np.inf), F(np.inf), F(-np.inf)
            for i in range(size):
                in_x = limits[k, 0] <= plane_x[i] <= limits[k, 1]
                in_both = in_x and limits[k, 2] <= plane_y[i] <= limits[k, 3]
                if in_both and wanted[start + i] and not dark[start + i]:
                    ray = local_ray(solids.poses[k], rays[0, start + i], rays[1, start + i], rays[2, start + i])
                    inverse = invert(ray[0]), invert(ray[1]), invert(ray[2])
                    if occludes(low, high, BOX, origin, inverse):
                        local_x, local_y, _ = local_ray(solids.poses[k], plane_x[i], plane_y[i], F(-1))
                        local_left, local_right = min(local_left, local_x), max(local_right, local_x)
                        local_front, local_back = min(local_front, local_y), max(local_back, local_y)
                        x[found], y[found], z[found] = inverse
                        points[found], occluded[found] = start + i, False
                        found += 1
            if found:
                for box in range(solids.ends[k - 1], solids.ends[k]):
                    outside_x = local_right < box_limits[box, 0] or local_left > box_limits[box, 1]
                    if outside_x or local_back < box_limits[box, 2] or local_front > box_limits[box, 3]:
                        continue
                    mark_occluded(solids, box, origin, x[:found], y[:found], z[:found], occluded[:found])
            for i in range(found):
                dark[points[i]] = occluded[i]
    return dark


@compiled
def add_lamp(
    diffuse: Floats,
    specular: Floats,
    power: Vec3,
    to_points: Floats,
    cosine: Floats,
    visibility: Floats,
    openness: Floats,
    rays: Floats,
    surfaces: Surfaces,
) -> None:
    """Add a lamp's diffuse and specular light to points (3, N), seen along rays (3, N).

    `to_points` (3, N) lead from the lamp to the points; `cosine` is their length times the cosine at the surface.
    `visibility` is 0 in shadow, `openness` below 1 in hollows.
    """
    for i in range(len(cosine)):
        x, y, z = to_points[0, i], to_points[1, i], to_points[2, i]
        square = x * x + y * y + z * z
        length = np.sqrt(square)
        if cosine[i] > 0:
            level = cosine[i] * visibility[i] * openness[i] / (length * (square + F(LAMP_SIZE_M2)))
            for c in range(3):
                diffuse[c, i] += F(power[c]) * level
        if surfaces.gloss[i] > 0:
            ray, up = rays[:, i], surfaces.normal[:, i]
            dot = F(2) * (ray[0] * up[0] + ray[1] * up[1] + ray[2] * up[2])
            ray_length = np.sqrt(ray[0] * ray[0] + ray[1] * ray[1] + ray[2] * ray[2])
            mirror_x, mirror_y, mirror_z = ray[0] - dot * up[0], ray[1] - dot * up[1], ray[2] - dot * up[2]
            towards = -(mirror_x / ray_length * x + mirror_y / ray_length * y + mirror_z / ray_length * z)
            highlight = max(towards / length, F(0))
            for _ in range(6):  # to the power of 64
                highlight *= highlight
            highlight *= visibility[i] * surfaces.gloss[i]
            for c in range(3):
                specular[c, i] += F(power[c]) * highlight
