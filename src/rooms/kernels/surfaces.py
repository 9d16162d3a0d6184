"""Materials at the points that rays meet: patterns of value noise, prints, normals."""

from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from src.rooms.kernels.compilation import Doubles, F, Floats, Integers, compiled
from src.rooms.kernels.solids import Solids, corners, local_ray, surface_normal, to_local

Pattern = Literal["plain", "noise", "wood", "boards", "stripes", "checks", "tiles", "print"]
PATTERNS = get_args(Pattern)
PLAIN, NOISE, WOOD, BOARDS, STRIPES, CHECKS, TILES, PRINT = range(8)

LATTICE_SIDE = 256  # the noise repeats after this many cells; a power of two
GROUT_SHARE = 0.04  # share of a tile's side, or of a board's width, that its seam takes
MEAN_WEIGHT = 0.4  # what every pattern but plain and print fades to with distance


class Mipmap(NamedTuple):
    """A picture and its halvings, with the side and the first pixel of each level."""

    pixels: Floats  # (of all levels, 3)
    sides: Integers
    starts: Integers


class Materials(NamedTuple):
    """Materials of N boxes, in the order of their numbers."""

    colours: Doubles  # (N, 2, 3)
    patterns: Integers  # (N,) into `PATTERNS`
    numbers: Doubles  # (N, 9) the fields of `textures.Material` from `size_m` to `mirror`
    lattice: Floats  # the random values of the noise
    mipmap: Mipmap  # the print


class Surfaces(NamedTuple):
    """Of N points: albedo and normal (3, N); emission, gloss and mirror (N,)."""

    albedo: Floats
    normal: Floats
    emission: Floats
    gloss: Floats
    mirror: Floats


@compiled
def lattice_value(row: Any, column: Any, lattice: Any) -> Any:
    return lattice[(row & (LATTICE_SIDE - 1)) * LATTICE_SIDE + (column & (LATTICE_SIDE - 1))]


@compiled
def split(u: Any) -> Any:
    """Split a coordinate into the number of its cell and the position in it."""
    whole = np.floor(u)
    return np.int64(whole), u - whole


@compiled
def value_noise(u: Any, v: Any, lattice: Any) -> Any:
    """Interpolate smoothly between the random values of a unit lattice, in [0, 1)."""
    (column, x), (row, y) = split(u), split(v)
    x, y = x * x * (F(3) - F(2) * x), y * y * (F(3) - F(2) * y)
    top, bottom = lattice_value(row, column, lattice), lattice_value(row + 1, column, lattice)
    top = top + (lattice_value(row, column + 1, lattice) - top) * x
    bottom = bottom + (lattice_value(row + 1, column + 1, lattice) - bottom) * x
    return top + (bottom - top) * y


@compiled
def clamp(x: Any) -> Any:
    return min(max(x, F(0)), F(1))


@compiled
def wear_factor(coarse: Any, u_m: Any, v_m: Any, pixel_m: Any, wear: Any, grains_per_m: Any, lattice: Any) -> Any:
    """Return the factor by which stains and grain change a colour; grain finer than a pixel fades."""
    factor = F(1) + wear * (coarse - F(0.5))
    visible = clamp(F(1.5) - pixel_m * (F(2) * grains_per_m))
    if wear > 0 and visible > 0:
        grain = lattice_value(split(v_m * grains_per_m)[0], split(u_m * grains_per_m)[0], lattice) - F(0.5)
        factor += wear * (grain * visible)
    return factor


@compiled
def pattern_weight(pattern: Any, coarse: Any, u: Any, v: Any, pixel: Any, lattice: Any) -> Any:
    """Return the weight of the second colour at a point, in [0, 1].

    Coordinates are in sizes of the pattern, and so is `pixel`, the size of one pixel there: a pattern finer than that
    fades to its mean instead of aliasing. `coarse` is the noise at u and v.
    """
    if pattern == PLAIN:
        return F(MEAN_WEIGHT) * coarse
    if pattern == NOISE:
        weight = F(0.4) * coarse + F(0.6) * value_noise(u * F(4), v * F(4), lattice)
    elif pattern == WOOD:
        ring = split(F(4) * value_noise(u, v * F(0.08), lattice) + u * F(0.3))[1]
        weight = F(0.75) * abs(F(2) * ring - F(1)) + F(0.25) * value_noise(u * F(20), v, lattice)
    elif pattern == BOARDS:
        board, x = split(u)
        plank, y = split(v * F(0.1) + lattice_value(board, board, lattice))
        weight = F(1)
        if x >= F(GROUT_SHARE) and y >= F(GROUT_SHARE / 10):
            fine = value_noise(u * F(9), v * F(0.4), lattice)
            weight = F(0.6) * lattice_value(board, plank, lattice) + F(0.3) * fine
    elif pattern == STRIPES:
        weight = F(1) if split(u)[1] < F(0.5) else F(0)
    elif pattern == CHECKS:
        weight = F((split(u)[0] ^ split(v)[0]) & 1)
    else:
        (column, x), (row, y) = split(u), split(v)
        weight = F(1)
        if x >= F(GROUT_SHARE) and y >= F(GROUT_SHARE):
            fine = value_noise(u * F(3), v * F(3), lattice)
            weight = F(0.25) * lattice_value(row, column, lattice) + F(0.15) * fine
    return F(MEAN_WEIGHT) + (weight - F(MEAN_WEIGHT)) * clamp(F(1.5) - pixel)


@compiled
def sample_print(u: Any, v: Any, pixel: Any, mipmap: Mipmap) -> Any:
    """Return the print's RGB at u and v, in its widths, from the level whose pixels are about `pixel` wide."""
    level = 0
    while level < len(mipmap.sides) - 1 and pixel >= F(1.5 / mipmap.sides[level]):
        level += 1
    side = mipmap.sides[level]
    row, column = np.int64((v - np.floor(v)) * F(side)) % side, np.int64((u - np.floor(u)) * F(side)) % side
    index = mipmap.starts[level] + row * side + column
    return mipmap.pixels[index, 0], mipmap.pixels[index, 1], mipmap.pixels[index, 2]


@compiled
def bump_normal(x: Any, y: Any, z: Any, u: Any, v: Any, strength: Any, lattice: Any) -> Any:
    """Perturb a unit normal by noise, as folds in cloth do."""
    bump_u, bump_v = value_noise(u, v, lattice) - F(0.5), value_noise(u + F(101), v + F(57), lattice) - F(0.5)
    x, y, z = x + strength * bump_u, y + strength * bump_v, z + strength * (bump_u - bump_v)
    length = np.sqrt(x * x + y * y + z * z)
    return x / length, y / length, z / length


@compiled
def sample_surfaces(
    solids: Solids, materials: Materials, focal_px: float, starts: Floats, rays: Floats, distance: Floats, number: Any
) -> Surfaces:
    """Return the surfaces after a distance (N,) along rays (3, N) from starts (3, 1 or N), on boxes (N,); 0 for -1."""
    count = len(number)
    albedo, normal = np.zeros((3, count), np.float32), np.zeros((3, count), np.float32)
    extra, lattice = np.zeros((3, count), np.float32), materials.lattice
    owner = np.searchsorted(solids.ends, np.arange(len(solids.shapes)), side="right")
    for i in range(count):
        box = number[i]
        if box < 0:
            continue
        pose, t, start = solids.poses[owner[box]], distance[i], i if starts.shape[1] > 1 else 0
        origin = to_local(pose, (starts[0, start], starts[1, start], starts[2, start]))
        x, y, z = local_ray(pose, rays[0, i], rays[1, i], rays[2, i])
        low, high = corners(solids.corners, box)
        normal_x, normal_y, normal_z, axis = surface_normal(low, high, solids.shapes[box], origin, (x, y, z), t)
        u_m = F(origin[1]) + t * y if axis == 0 else F(origin[0]) + t * x
        v_m = F(origin[1]) + t * y if axis == 2 else F(origin[2]) + t * z
        slant = abs(x) if axis == 0 else abs(y) if axis == 1 else abs(z)
        pixel_m = t / (F(focal_px) * max(slant, F(0.1)))

        values = materials.numbers[box]
        size, phase, pattern, factor = F(values[0]), F(values[1]), materials.patterns[box], F(1)
        u, v = (u_m + phase) / size, (v_m + phase) / size
        if pattern == PRINT:
            weights = sample_print(u, v, pixel_m / size, materials.mipmap)
        else:
            coarse = value_noise(u, v, lattice)
            factor = wear_factor(coarse, u_m, v_m, pixel_m, F(values[3]), F(values[4]), lattice)
            weight = pattern_weight(pattern, coarse, u, v, F(3) * pixel_m / size, lattice)
            weights = weight, weight, weight
        for c in range(3):
            colour, second = materials.colours[box, 0, c], materials.colours[box, 1, c]
            albedo[c, i] = (F(colour) + F(second - colour) * weights[c]) * factor
        extra[0, i], extra[1, i], extra[2, i] = F(values[2]), F(values[5]), F(values[8])
        bumps, bump_m = F(values[6]), F(values[7])
        if bumps > 0:
            u, v = (u_m + phase) / bump_m, (v_m + phase) / bump_m
            normal_x, normal_y, normal_z = bump_normal(normal_x, normal_y, normal_z, u, v, bumps, lattice)
        cos, sin = F(pose[0]), F(pose[1])
        normal[0, i], normal[1, i] = cos * normal_x - sin * normal_y, sin * normal_x + cos * normal_y
        normal[2, i] = normal_z
    return Surfaces(albedo, normal, extra[0], extra[1], extra[2])
