"""Rays against boxes, cylinders and ellipsoids in the frame of their piece; `inverse` is 1 / a ray's coordinates."""

from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from src.rooms.kernels.compilation import TINY, Doubles, F, Integers, compiled

Shape = Literal["box", "cylinder", "ellipsoid"]
SHAPES = get_args(Shape)
BOX, CYLINDER, ELLIPSOID = range(3)


class Solids(NamedTuple):
    """All N boxes of the P pieces of a scene, piece by piece."""

    corners: Doubles  # (N, 2, 3) in the frame of their piece
    shapes: Integers  # (N,) into `SHAPES`
    poses: Doubles  # (P, 5) cosine and sine of a piece's yaw, and its origin
    hulls: Doubles  # (P, 2, 3) in the frame of the piece
    bounds: Doubles  # (P, 2, 3) in the world
    ends: Integers  # (P,) one past the number of a piece's last box


@compiled
def corners(boxes: Any, n: Any) -> Any:
    """Return the low and the high corner of box n: tuples stay in registers, arrays do not."""
    return (boxes[n, 0, 0], boxes[n, 0, 1], boxes[n, 0, 2]), (boxes[n, 1, 0], boxes[n, 1, 1], boxes[n, 1, 2])


@compiled
def rotate(pose: Any, vector: Any) -> Any:
    """Rotate a world direction into a piece's frame."""
    cos, sin = pose[0], pose[1]
    return cos * vector[0] + sin * vector[1], cos * vector[1] - sin * vector[0], vector[2]


@compiled
def to_local(pose: Any, point: Any) -> Any:
    """Express a world point in a piece's frame."""
    return rotate(pose, (point[0] - pose[2], point[1] - pose[3], point[2] - pose[4]))


@compiled
def local_ray(pose: Any, x: Any, y: Any, z: Any) -> Any:
    """Rotate a world ray into a piece's frame, in float32."""
    return rotate((F(pose[0]), F(pose[1])), (x, y, z))


@compiled
def invert(x: Any) -> Any:
    return F(1) / (x + F(TINY))


@compiled
def intersect_slab(low: Any, high: Any, origin: Any, inverse: Any) -> Any:
    """Find where a ray enters and leaves the space between a box's two faces across one axis."""
    at_low, at_high = F(low - origin) * inverse, F(high - origin) * inverse
    return min(at_low, at_high), max(at_low, at_high)


@compiled
def intersect_round(low: Any, high: Any, origin: Any, inverse: Any, is_ellipsoid: Any) -> Any:
    """Find where a ray enters and leaves the ellipsoid, or else the endless upright cylinder, that fills a box."""
    # In units of its half axes, the solid is a unit ball or circle around 0: |p + t d| = 1.
    half_x, half_y = (high[0] - low[0]) / 2, (high[1] - low[1]) / 2
    px, py = F((origin[0] - low[0]) / half_x - 1), F((origin[1] - low[1]) / half_y - 1)
    dx, dy = F(1) / (inverse[0] * F(half_x)), F(1) / (inverse[1] * F(half_y))
    cross_z = px * dy - py * dx
    square, dot, cross_square = dx * dx + dy * dy, px * dx + py * dy, cross_z * cross_z
    if is_ellipsoid:
        half_z = (high[2] - low[2]) / 2
        pz, dz = F((origin[2] - low[2]) / half_z - 1), F(1) / (inverse[2] * F(half_z))
        square, dot = square + dz * dz, dot + pz * dz
        cross_x, cross_y = py * dz - pz * dy, pz * dx - px * dz
        cross_square = cross_square + cross_x * cross_x + cross_y * cross_y
    # The discriminant by Lagrange's identity: no difference of large numbers.
    discriminant = square - cross_square
    missed = discriminant < 0
    root = np.sqrt(F(0) if missed else discriminant)
    return F(np.inf) if missed else (-dot - root) / square, F(-np.inf) if missed else (-dot + root) / square


@compiled
def intersect_box(low: Any, high: Any, origin: Any, inverse: Any) -> Any:
    """Find where a ray enters and leaves a box. **Source**: the slab method, Kay and Kajiya 1986."""
    near, far = intersect_slab(low[0], high[0], origin[0], inverse[0])
    enters, leaves = intersect_slab(low[1], high[1], origin[1], inverse[1])
    near, far = max(near, enters), min(far, leaves)
    enters, leaves = intersect_slab(low[2], high[2], origin[2], inverse[2])
    return max(near, enters), min(far, leaves)


@compiled
def intersect(low: Any, high: Any, shape: Any, origin: Any, inverse: Any) -> Any:
    """Find where a ray enters and leaves a solid, in units of the ray; it misses if it leaves before it enters."""
    if shape == BOX:
        return intersect_box(low, high, origin, inverse)
    if shape == ELLIPSOID:
        return intersect_round(low, high, origin, inverse, True)
    near, far = intersect_round(low, high, origin, inverse, False)
    enters, leaves = intersect_slab(low[2], high[2], origin[2], inverse[2])
    return max(near, enters), min(far, leaves)


@compiled
def surface_normal(low: Any, high: Any, shape: Any, origin: Any, ray: Any, t: Any) -> Any:
    """Return the outward normal where a ray meets a solid after t, and the axis that it is nearest to."""
    enters_x = intersect_slab(low[0], high[0], origin[0], invert(ray[0]))[0]
    enters_y = intersect_slab(low[1], high[1], origin[1], invert(ray[1]))[0]
    enters_z = intersect_slab(low[2], high[2], origin[2], invert(ray[2]))[0]
    if shape == BOX:
        if enters_x >= enters_y and enters_x >= enters_z:
            return -np.sign(ray[0]), F(0), F(0), 0
        if enters_y >= enters_z:
            return F(0), -np.sign(ray[1]), F(0), 1
        return F(0), F(0), -np.sign(ray[2]), 2
    x = ellipsoid_gradient(low[0], high[0], origin[0], ray[0], t)
    y = ellipsoid_gradient(low[1], high[1], origin[1], ray[1], t)
    z = ellipsoid_gradient(low[2], high[2], origin[2], ray[2], t)
    if shape == CYLINDER:
        z = F(0)
        if enters_z >= t * F(1 - 1e-5):
            x, y, z = F(0), F(0), -np.sign(ray[2])
    length = np.sqrt(x * x + y * y + z * z) + F(TINY)
    x, y, z = x / length, y / length, z / length
    if abs(z) >= abs(x) and abs(z) >= abs(y):
        return x, y, z, 2
    return x, y, z, 0 if abs(x) >= abs(y) else 1


@compiled
def ellipsoid_gradient(low: Any, high: Any, origin: Any, ray: Any, t: Any) -> Any:
    """Return one coordinate of the gradient of an ellipsoid, where a ray is after t."""
    half = (high - low) / 2
    return (F(origin - (low + half)) + t * ray) * F(1 / (half * half))
