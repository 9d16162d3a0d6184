"""What runs once per pixel, compiled by numba: rays against solids, shadows, patterns.

The same seed gives the same bytes on every machine, so this code sees only what IEEE 754 rounds in one way: + - * /
sqrt, comparisons, floor and integers. numba neither reorders them nor fuses a multiplication with an addition.
A bare number would turn float32 into float64 here: `F` keeps it short.

All of it is in one file, because numba's cache on disk notices no change in another one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Three = tuple[float, float, float]

F = np.float32
compiled = njit(cache=True, error_model="numpy")

NEAR_M = 0.02
"""Nothing nearer to the camera is drawn."""

TINY = 1e-9
"""Keeps a ray along a face from dividing by zero; a millionth of a millimetre."""

SHADOW_START = 0.998
"""A surface does not shade itself: a shadow's caster lies before this share of the way from the lamp."""

CLEAR_OF_START = 1e-3
"""What a mirrored ray starts from lies behind it, but for rounding: less far along it than this, it meets nothing."""

MARGIN = 1e-3
"""Widens what a piece may cover as seen from a lamp, so that rounding loses none of its shadow."""

HIGHLIGHT_SQUARINGS = 6
"""A highlight is the cosine towards the lamp's mirror image, squared so often."""

CHUNK = 256
"""Points side by side are weighed together, which pieces can hide them from a lamp."""

LATTICE_SIDE = 256
"""The noise repeats after so many cells; a power of two."""

GROUT_SHARE = 0.04
"""Share of a tile's side, or of a board's width, that its seam takes."""

SHAPES = "box", "cylinder", "ellipsoid"
PATTERNS = "plain", "noise", "wood", "boards", "stripes", "checks", "tiles", "print"
BOX, CYLINDER, ELLIPSOID = range(3)
PLAIN, NOISE, WOOD, BOARDS, STRIPES, CHECKS, TILES, PRINT = range(8)


class Solids(NamedTuple):
    """All boxes of a scene, piece by piece.

    `corners` (N, 2, 3) in the frame of their piece; `shapes` (N,) into `SHAPES`; of each piece `places` (P, 5) cosine
    and sine of its yaw and its origin, `hulls` (P, 2, 3) in its own frame, `bounds` (P, 2, 3) in the world, and `ends`
    (P,) how many boxes there are up to its last one.
    """

    corners: Doubles
    shapes: NDArray[np.int64]
    places: Doubles
    hulls: Doubles
    bounds: Doubles
    ends: NDArray[np.int64]


class View(NamedTuple):
    """A camera: its place, its axes right, down, forward, and fx, fy, cx, cy in pixels."""

    eye: Three
    axes: tuple[Three, Three, Three]
    lens: tuple[float, float, float, float]


class Looks(NamedTuple):
    """How the boxes look, in the order of their numbers.

    `colours` (N, 2, 3); `patterns` (N,) into `PATTERNS`; `measures` (N, 9): size_m, phase_m, rough, grains_per_m,
    bumps, bump_m, glow, gloss, mirror, as in `textures.Material`.
    """

    colours: Doubles
    patterns: NDArray[np.int64]
    measures: Doubles


class Print(NamedTuple):
    """A picture and its halves, and halves of these: `pixels` (all, 3), `sides` and `starts` of each."""

    pixels: Floats
    sides: NDArray[np.int64]
    starts: NDArray[np.int64]


# Rays against solids.


@compiled
def corner(corners: Any, n: Any, which: Any) -> Any:
    """Give the low (0) or high (1) corner of box n: a tuple stays in registers where an array would not."""
    return corners[n, which, 0], corners[n, which, 1], corners[n, which, 2]


@compiled
def enter(place: Any, vector: Any) -> Any:
    """Rotate a world direction into a piece's frame."""
    cos, sin = place[0], place[1]
    return cos * vector[0] + sin * vector[1], cos * vector[1] - sin * vector[0], vector[2]


@compiled
def locate(place: Any, point: Any) -> Any:
    """Express a world point in a piece's frame."""
    return enter(place, (point[0] - place[2], point[1] - place[3], point[2] - place[4]))


@compiled
def bring(place: Any, x: Any, y: Any, z: Any) -> Any:
    """Rotate a world ray into a piece's frame, in float32."""
    cos, sin = F(place[0]), F(place[1])
    return cos * x + sin * y, cos * y - sin * x, z


@compiled
def invert(x: Any) -> Any:
    """Give one over a ray's coordinate."""
    return F(1) / (x + F(TINY))


@compiled
def slab(low: Any, high: Any, origin: Any, inverse: Any) -> Any:
    """Find where a ray enters and leaves the space between a box's two faces across one axis."""
    one, other = F(low - origin) * inverse, F(high - origin) * inverse
    return min(one, other), max(one, other)


@compiled
def pierce(low: Any, high: Any, origin: Any, inverse: Any, is_ball: Any) -> Any:
    """Find where a ray enters and leaves the ellipse (at any height) or the ellipsoid that fills a box."""
    # In units of its half axes, the solid is a circle or a ball around 0.
    half_x, half_y = (high[0] - low[0]) / 2, (high[1] - low[1]) / 2
    x, y = F((origin[0] - low[0]) / half_x - 1), F((origin[1] - low[1]) / half_y - 1)
    to_x, to_y = F(1) / (inverse[0] * F(half_x)), F(1) / (inverse[1] * F(half_y))
    square, ahead, aside = to_x * to_x, x * to_x, x * to_y - y * to_x
    square, ahead, aside = square + to_y * to_y, ahead + y * to_y, aside * aside
    if is_ball:
        half_z = (high[2] - low[2]) / 2
        z, to_z = F((origin[2] - low[2]) / half_z - 1), F(1) / (inverse[2] * F(half_z))
        square, ahead = square + to_z * to_z, ahead + z * to_z
        one, other = y * to_z - z * to_y, z * to_x - x * to_z
        aside = aside + one * one
        aside = aside + other * other
    # The squared root of the quadratic equation, by Lagrange's identity: no difference of large numbers.
    root = square - aside
    missed = root < 0
    root = np.sqrt(F(0) if missed else root)
    return F(np.inf) if missed else (-ahead - root) / square, F(-np.inf) if missed else (-ahead + root) / square


@compiled
def cross_box(low: Any, high: Any, origin: Any, inverse: Any) -> Any:
    """Find where a ray enters and leaves a box."""
    near, far = slab(low[0], high[0], origin[0], inverse[0])
    enters, leaves = slab(low[1], high[1], origin[1], inverse[1])
    near, far = max(near, enters), min(far, leaves)
    enters, leaves = slab(low[2], high[2], origin[2], inverse[2])
    return max(near, enters), min(far, leaves)


@compiled
def cross(low: Any, high: Any, shape: Any, origin: Any, inverse: Any) -> Any:
    """Find where a ray enters and leaves a solid; it misses it where it leaves before it enters.

    `inverse` holds one over the ray's coordinates. **Source**: the slab method, Kay and Kajiya 1986.
    """
    if shape == BOX:
        return cross_box(low, high, origin, inverse)
    if shape == ELLIPSOID:
        return pierce(low, high, origin, inverse, True)
    near, far = pierce(low, high, origin, inverse, False)
    enters, leaves = slab(low[2], high[2], origin[2], inverse[2])
    return max(near, enters), min(far, leaves)


@compiled
def window(low: Any, high: Any, origin: Any, axes: Any, lens: Any, height: Any, width: Any) -> Any:
    """Bound a box in the image: first and last row and column, the last not included."""
    right, down, forward = axes
    fx, fy, cx, cy = lens
    before_camera = 0
    left, top, right_end, bottom = np.inf, np.inf, -np.inf, -np.inf
    for which in range(8):
        x = (high if which & 4 else low)[0] - origin[0]
        y = (high if which & 2 else low)[1] - origin[1]
        z = (high if which & 1 else low)[2] - origin[2]
        ahead = x * forward[0] + y * forward[1] + z * forward[2]
        if ahead > NEAR_M:
            before_camera += 1
            column = (x * right[0] + y * right[1] + z * right[2]) / ahead
            row = (x * down[0] + y * down[1] + z * down[2]) / ahead
            left, right_end = min(left, column), max(right_end, column)
            top, bottom = min(top, row), max(bottom, row)
    if before_camera == 0:
        return 0, 0, 0, 0
    if before_camera < 8:
        # A box that reaches behind the camera has no bounded picture: look everywhere.
        return 0, height, 0, width
    first_row, first = int(max(0.0, np.floor(top * fy + cy))), int(max(0.0, np.floor(left * fx + cx)))
    last_row, last = min(height, np.ceil(bottom * fy + cy) + 1), min(width, np.ceil(right_end * fx + cx) + 1)
    return first_row, max(first_row, int(last_row)), first, max(first, int(last))


@compiled
def trace(solids: Solids, view: View, height: int, width: int) -> tuple[Floats, NDArray[np.int16]]:
    """Find at every pixel the first box and its depth: see `raycast.trace`."""
    depth_m = np.full((height, width), np.inf, np.float32)
    number = np.full((height, width), -1, np.int16)
    inverses = np.empty((3, height, width), np.float32)
    fx, fy, cx, cy = view.lens
    start = 0
    for k in range(len(solids.ends)):
        place, end = solids.places[k], solids.ends[k]
        origin = locate(place, view.eye)
        axes = enter(place, view.axes[0]), enter(place, view.axes[1]), enter(place, view.axes[2])
        low, high = corner(solids.hulls, k, 0), corner(solids.hulls, k, 1)
        rows_from, rows_to, columns_from, columns_to = window(low, high, origin, axes, view.lens, height, width)
        if rows_from < rows_to and columns_from < columns_to:
            for axis in range(3):
                along, across, ahead = axes[0][axis], axes[1][axis], axes[2][axis]
                for row in range(rows_from, rows_to):
                    ray = F((row - cy) / fy * across + ahead)
                    for column in range(columns_from, columns_to):
                        inverses[axis, row, column] = invert(F((column - cx) / fx * along) + ray)
            for box in range(start, end):
                low, high, shape = corner(solids.corners, box, 0), corner(solids.corners, box, 1), solids.shapes[box]
                top, bottom, left, right = window(low, high, origin, axes, view.lens, height, width)
                # Rounding may put a box one pixel out of its hull, where no rays have been cast.
                left, right = max(left, columns_from), max(columns_from, min(right, columns_to))
                for row in range(max(top, rows_from), min(bottom, rows_to)):
                    x, y, z = inverses[0, row, left:right], inverses[1, row, left:right], inverses[2, row, left:right]
                    nearest, first = depth_m[row, left:right], number[row, left:right]
                    # The same twice: alone, the loop over boxes becomes vector code.
                    if shape == BOX:
                        for i in range(len(nearest)):
                            near, far = cross_box(low, high, origin, (x[i], y[i], z[i]))
                            if near <= far and near > F(NEAR_M) and near < nearest[i]:
                                nearest[i], first[i] = near, box
                    else:
                        for i in range(len(nearest)):
                            near, far = cross(low, high, shape, origin, (x[i], y[i], z[i]))
                            if near <= far and near > F(NEAR_M) and near < nearest[i]:
                                nearest[i], first[i] = near, box
        start = end
    return depth_m, number


@compiled
def follow(solids: Solids, starts: Floats, rays: Floats) -> tuple[Floats, NDArray[np.int16]]:
    """Find what rays (3, N) from places of their own (3, N) meet first: how far along each, and the box's number."""
    count = rays.shape[1]
    distance, number = np.full(count, np.inf, np.float32), np.full(count, -1, np.int16)
    for i in range(count):
        start, x, y, z = (starts[0, i], starts[1, i], starts[2, i]), rays[0, i], rays[1, i], rays[2, i]
        first = 0
        for k in range(len(solids.ends)):
            origin = locate(solids.places[k], start)
            ray = bring(solids.places[k], x, y, z)
            inverse = invert(ray[0]), invert(ray[1]), invert(ray[2])
            near, far = cross_box(corner(solids.hulls, k, 0), corner(solids.hulls, k, 1), origin, inverse)
            if near <= far and far > 0 and near < distance[i]:
                for box in range(first, solids.ends[k]):
                    low, high = corner(solids.corners, box, 0), corner(solids.corners, box, 1)
                    near, far = cross(low, high, solids.shapes[box], origin, inverse)
                    if near <= far and near > F(CLEAR_OF_START) and near < distance[i]:
                        distance[i], number[i] = near, box
            first = solids.ends[k]
    return distance, number


@compiled
def clash(bounds: Doubles, taken: Doubles, gap: float) -> bool:
    """Tell whether a box (2, 3) comes nearer than a gap to any of some others (N, 2, 3)."""
    for k in range(len(taken)):
        apart = False
        for axis in range(3):
            apart |= bounds[0, axis] >= taken[k, 1, axis] + gap or taken[k, 0, axis] >= bounds[1, axis] + gap
        if not apart:
            return True
    return False


# Shadows.


@compiled
def hidden(low: Any, high: Any, shape: Any, origin: Any, inverse: Any) -> Any:
    """Tell whether a solid lies on the way from a lamp."""
    near, far = cross(low, high, shape, origin, inverse)
    return (near <= far) & (far > F(0)) & (near < F(SHADOW_START))


@compiled
def hide(solids: Any, box: Any, origin: Any, x: Any, y: Any, z: Any, hit: Any) -> None:
    """Note which of some ways from a lamp a solid lies on."""
    low, high, shape = corner(solids.corners, box, 0), corner(solids.corners, box, 1), solids.shapes[box]
    # The same twice: alone, the loop over boxes becomes vector code.
    if shape == BOX:
        for i in range(len(hit)):
            hit[i] |= hidden(low, high, BOX, origin, (x[i], y[i], z[i]))
    else:
        for i in range(len(hit)):
            hit[i] |= hidden(low, high, shape, origin, (x[i], y[i], z[i]))


@compiled
def cover(low: Any, high: Any, lamp: Any) -> Any:
    """Bound what a box hides of the plane one metre below a lamp: least and greatest x, least and greatest y."""
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
def shadow(solids: Solids, lamp: Three, to: Floats, asked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which of the points asked for, given by the ways (3, N) from a lamp to them, a box hides from it.

    The first piece is the shell, and hides nothing.
    """
    pieces, count = len(solids.ends), to.shape[1]
    dark = np.zeros(count, np.bool_)
    # A piece hides a rectangle at most of the plane one metre below the lamp, and so does each of its boxes in the
    # piece's frame: ways that cross the plane elsewhere need no closer look.
    limits, box_limits = np.empty((pieces, 4), np.float32), np.empty((len(solids.corners), 4), np.float32)
    origins = np.empty((pieces, 3))
    for k in range(1, pieces):
        origins[k] = locate(solids.places[k], lamp)
        limits[k] = cover(corner(solids.bounds, k, 0), corner(solids.bounds, k, 1), lamp)
        for box in range(solids.ends[k - 1], solids.ends[k]):
            box_limits[box] = cover(corner(solids.corners, box, 0), corner(solids.corners, box, 1), origins[k])
    floor_x, floor_y, at = np.empty(CHUNK, np.float32), np.empty(CHUNK, np.float32), np.empty(CHUNK, np.int64)
    x, y, z = np.empty(CHUNK, np.float32), np.empty(CHUNK, np.float32), np.empty(CHUNK, np.float32)
    hit = np.empty(CHUNK, np.bool_)
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        for i in range(size):
            fall = F(-1) / min(to[2, start + i], F(-TINY))
            floor_x[i], floor_y[i] = to[0, start + i] * fall, to[1, start + i] * fall
        left, right = floor_x[:size].min(), floor_x[:size].max()
        front, back = floor_y[:size].min(), floor_y[:size].max()
        for k in range(1, pieces):
            if left > limits[k, 1] or right < limits[k, 0] or front > limits[k, 3] or back < limits[k, 2]:
                continue
            # Gather the points that the piece's hull may hide, then try all its boxes on all of them.
            origin = origins[k, 0], origins[k, 1], origins[k, 2]
            low, high = corner(solids.hulls, k, 0), corner(solids.hulls, k, 1)
            found = 0
            box_left, box_right, box_front, box_back = F(np.inf), F(-np.inf), F(np.inf), F(-np.inf)
            for i in range(size):
                in_x = limits[k, 0] <= floor_x[i] <= limits[k, 1]
                in_both = in_x and limits[k, 2] <= floor_y[i] <= limits[k, 3]
                if in_both and asked[start + i] and not dark[start + i]:
                    ray = bring(solids.places[k], to[0, start + i], to[1, start + i], to[2, start + i])
                    inverse = invert(ray[0]), invert(ray[1]), invert(ray[2])
                    if hidden(low, high, BOX, origin, inverse):
                        across, along, _ = bring(solids.places[k], floor_x[i], floor_y[i], F(-1))
                        box_left, box_right = min(box_left, across), max(box_right, across)
                        box_front, box_back = min(box_front, along), max(box_back, along)
                        x[found], y[found], z[found] = inverse
                        at[found], hit[found] = start + i, False
                        found += 1
            if found:
                for box in range(solids.ends[k - 1], solids.ends[k]):
                    left_out = box_right < box_limits[box, 0] or box_left > box_limits[box, 1]
                    if left_out or box_back < box_limits[box, 2] or box_front > box_limits[box, 3]:
                        continue
                    hide(solids, box, origin, x[:found], y[:found], z[:found], hit[:found])
            for i in range(found):
                dark[at[i]] = hit[i]
    return dark


@compiled
def add_lamp(
    light: Floats,
    gleam: Floats,
    power: Three,
    size_m2: float,
    to: Floats,
    facing: Floats,
    open_way: Floats,
    share: Floats,
    rays: Floats,
    normal: Floats,
    gloss: Floats,
) -> None:
    """Add to points (3, N) a lamp's light, or a share of it, and its reflection in what is glossy.

    The lamp's size softens the inverse square. The rays (3, N) met the points, whose normals (3, N) have length one.
    """
    red, green, blue = F(power[0]), F(power[1]), F(power[2])
    for i in range(len(facing)):
        x, y, z = to[0, i], to[1, i], to[2, i]
        square = x * x + y * y + z * z
        length = np.sqrt(square)
        if facing[i] > 0:
            reaching = facing[i] * open_way[i] * share[i] / (length * (square + F(size_m2)))
            light[0, i] += red * reaching
            light[1, i] += green * reaching
            light[2, i] += blue * reaching
        if gloss[i] > 0:
            ray, up = (rays[0, i], rays[1, i], rays[2, i]), (normal[0, i], normal[1, i], normal[2, i])
            fall = F(2) * (ray[0] * up[0] + ray[1] * up[1] + ray[2] * up[2])
            size = np.sqrt(ray[0] * ray[0] + ray[1] * ray[1] + ray[2] * ray[2])
            right, ahead, above = ray[0] - fall * up[0], ray[1] - fall * up[1], ray[2] - fall * up[2]
            towards = -(right / size * x + ahead / size * y + above / size * z)
            highlight = max(towards / length, F(0))
            for _ in range(HIGHLIGHT_SQUARINGS):
                highlight *= highlight
            highlight *= open_way[i] * gloss[i]
            gleam[0, i] += red * highlight
            gleam[1, i] += green * highlight
            gleam[2, i] += blue * highlight


# Patterns.


@compiled
def lattice(row: Any, column: Any, table: Any) -> Any:
    """Look up the random value of a cell."""
    return table[(row & (LATTICE_SIDE - 1)) * LATTICE_SIDE + (column & (LATTICE_SIDE - 1))]


@compiled
def cell(u: Any) -> Any:
    """Give the number of a cell, and how far inside it u lies."""
    whole = np.floor(u)
    return np.int64(whole), u - whole


@compiled
def noise(u: Any, v: Any, table: Any) -> Any:
    """Blend random values on the unit lattice, smoothly, into [0, 1)."""
    (column, x), (row, y) = cell(u), cell(v)
    x, y = x * x * (F(3) - F(2) * x), y * y * (F(3) - F(2) * y)
    top, bottom = lattice(row, column, table), lattice(row + 1, column, table)
    top = top + (lattice(row, column + 1, table) - top) * x
    bottom = bottom + (lattice(row + 1, column + 1, table) - bottom) * x
    return top + (bottom - top) * y


@compiled
def clip(x: Any) -> Any:
    """Keep a number in [0, 1]."""
    return min(max(x, F(0)), F(1))


@compiled
def wear(coarse: Any, u_m: Any, v_m: Any, pixel_m: Any, rough: Any, often: Any, table: Any) -> Any:
    """Tell by what stains and grain multiply a colour; grain finer than a pixel fades."""
    worn = F(1) + rough * (coarse - F(0.5))
    fine = clip(F(1.5) - pixel_m * (F(2) * often))
    if rough > 0 and fine > 0:
        grain = lattice(cell(v_m * often)[0], cell(u_m * often)[0], table) - F(0.5)
        worn += rough * (grain * fine)
    return worn


@compiled
def blend(pattern: Any, coarse: Any, u: Any, v: Any, pixel: Any, table: Any) -> Any:
    """Tell how much of the second colour a point takes, in [0, 1].

    Coordinates are in sizes of the pattern. `pixel` is what one pixel covers there: a pattern finer than that fades
    into its mean, as it does on film, instead of shimmering. `coarse` is the noise at u and v.
    """
    if pattern == PLAIN:
        return F(0.4) * coarse
    if pattern == NOISE:
        mix = F(0.4) * coarse + F(0.6) * noise(u * F(4), v * F(4), table)
    elif pattern == WOOD:
        rings = cell(F(4) * noise(u, v * F(0.08), table) + u * F(0.3))[1]
        mix = F(0.75) * abs(F(2) * rings - F(1)) + F(0.25) * noise(u * F(20), v, table)
    elif pattern == BOARDS:
        board, across = cell(u)
        plank, along = cell(v * F(0.1) + lattice(board, board, table))
        mix = F(1)
        if across >= F(GROUT_SHARE) and along >= F(GROUT_SHARE / 10):
            mix = F(0.6) * lattice(board, plank, table) + F(0.3) * noise(u * F(9), v * F(0.4), table)
    elif pattern == STRIPES:
        mix = F(1) if cell(u)[1] < F(0.5) else F(0)
    elif pattern == CHECKS:
        mix = F((cell(u)[0] ^ cell(v)[0]) & 1)
    else:
        (column, across), (row, along) = cell(u), cell(v)
        mix = F(1)
        if across >= F(GROUT_SHARE) and along >= F(GROUT_SHARE):
            mix = F(0.25) * lattice(row, column, table) + F(0.15) * noise(u * F(3), v * F(3), table)
    return F(0.4) + (mix - F(0.4)) * clip(F(1.5) - pixel)


@compiled
def read_print(u: Any, v: Any, pixel: Any, picture: Print) -> Any:
    """Give the pixel of the print at u and v, in its widths, from the level whose pixels are about the photo's."""
    level = 0
    while level < len(picture.sides) - 1 and pixel >= F(1.5 / picture.sides[level]):
        level += 1
    side = picture.sides[level]
    row, column = np.int64((v - np.floor(v)) * F(side)) % side, np.int64((u - np.floor(u)) * F(side)) % side
    pixel_at = picture.starts[level] + row * side + column
    return picture.pixels[pixel_at, 0], picture.pixels[pixel_at, 1], picture.pixels[pixel_at, 2]


@compiled
def bump(x: Any, y: Any, z: Any, u: Any, v: Any, tilt: Any, table: Any) -> Any:
    """Tilt a normal this way and that, as folds in cloth do, and keep it of length one."""
    one, other = noise(u, v, table) - F(0.5), noise(u + F(101), v + F(57), table) - F(0.5)
    x, y, z = x + tilt * one, y + tilt * other, z + tilt * (one - other)
    length = np.sqrt(x * x + y * y + z * z)
    return x / length, y / length, z / length


# Surfaces.


@compiled
def facing(low: Any, high: Any, shape: Any, origin: Any, ray: Any, t: Any) -> Any:
    """Give the normal where a ray meets a solid after t, and the axis that it is nearest to."""
    inverse = invert(ray[0]), invert(ray[1]), invert(ray[2])
    enters = (
        slab(low[0], high[0], origin[0], inverse[0])[0],
        slab(low[1], high[1], origin[1], inverse[1])[0],
        slab(low[2], high[2], origin[2], inverse[2])[0],
    )
    if shape == BOX:
        if enters[0] >= enters[1] and enters[0] >= enters[2]:
            return -np.sign(ray[0]), F(0), F(0), 0
        if enters[1] >= enters[2]:
            return F(0), -np.sign(ray[1]), F(0), 1
        return F(0), F(0), -np.sign(ray[2]), 2
    x, y, z = (
        outward(low[0], high[0], origin[0], ray[0], t),
        outward(low[1], high[1], origin[1], ray[1], t),
        outward(low[2], high[2], origin[2], ray[2], t),
    )
    if shape == CYLINDER:
        z = F(0)
        if enters[2] >= t * F(1 - 1e-5):
            x, y, z = F(0), F(0), -np.sign(ray[2])
    length = np.sqrt(x * x + y * y + z * z) + F(TINY)
    x, y, z = x / length, y / length, z / length
    if abs(z) >= abs(x) and abs(z) >= abs(y):
        return x, y, z, 2
    return x, y, z, 0 if abs(x) >= abs(y) else 1


@compiled
def outward(low: Any, high: Any, origin: Any, ray: Any, t: Any) -> Any:
    """Give the gradient of an ellipsoid along one axis, where a ray is after t."""
    half = (high - low) / 2
    return (F(origin - (low + half)) + t * ray) * F(1 / (half * half))


@compiled
def look_up(
    solids: Solids,
    looks: Looks,
    starts: Floats,
    rays: Floats,
    distance: Floats,
    number: NDArray[np.int16],
    focal_px: float,
    table: Floats,
    picture: Print,
) -> tuple[Floats, Floats, Floats]:
    """Look up albedo, normal, and glow, gloss and mirror of what rays meet: see `surfaces.look_up`."""
    count = len(number)
    albedo, normal, extra = (
        np.zeros((3, count), np.float32),
        np.zeros((3, count), np.float32),
        np.zeros((3, count), np.float32),
    )
    owner = np.empty(len(solids.shapes), np.int64)
    start = 0
    for k in range(len(solids.ends)):
        owner[start : solids.ends[k]] = k
        start = solids.ends[k]
    for i in range(count):
        box = number[i]
        if box < 0:
            continue
        k, t, at = owner[box], distance[i], i if starts.shape[1] > 1 else 0
        cos, sin = F(solids.places[k, 0]), F(solids.places[k, 1])
        origin = locate(solids.places[k], (starts[0, at], starts[1, at], starts[2, at]))
        x, y, z = bring(solids.places[k], rays[0, i], rays[1, i], rays[2, i])
        low, high = corner(solids.corners, box, 0), corner(solids.corners, box, 1)
        out_x, out_y, out_z, axis = facing(low, high, solids.shapes[box], origin, (x, y, z), t)
        u_m = F(origin[1]) + t * y if axis == 0 else F(origin[0]) + t * x
        v_m = F(origin[1]) + t * y if axis == 2 else F(origin[2]) + t * z
        slant = abs(x) if axis == 0 else abs(y) if axis == 1 else abs(z)
        pixel_m = t / (F(focal_px) * max(slant, F(0.1)))

        size, phase = F(looks.measures[box, 0]), F(looks.measures[box, 1])
        u, v, pattern, worn = (u_m + phase) / size, (v_m + phase) / size, looks.patterns[box], F(1)
        if pattern == PRINT:
            shares = read_print(u, v, pixel_m / size, picture)
        else:
            coarse = noise(u, v, table)
            rough, often = F(looks.measures[box, 2]), F(looks.measures[box, 3])
            worn = wear(coarse, u_m, v_m, pixel_m, rough, often, table)
            share = blend(pattern, coarse, u, v, F(3) * pixel_m / size, table)
            shares = share, share, share
        for c in range(3):
            one, other = looks.colours[box, 0, c], looks.colours[box, 1, c]
            albedo[c, i] = (F(one) + F(other - one) * shares[c]) * worn
            extra[c, i] = F(looks.measures[box, 6 + c])
        tilt = F(looks.measures[box, 4])
        if tilt > 0:
            fold = F(looks.measures[box, 5])
            u, v = (u_m + phase) / fold, (v_m + phase) / fold
            out_x, out_y, out_z = bump(out_x, out_y, out_z, u, v, tilt, table)
        normal[0, i], normal[1, i], normal[2, i] = cos * out_x - sin * out_y, sin * out_x + cos * out_y, out_z
    return albedo, normal, extra
