"""The shell of a room: floor, ceiling, walls, and openings into the next rooms."""

from functools import partial
from typing import NamedTuple

from src.rooms.kernels.compilation import Vec3
from src.rooms.parts import WHITE
from src.rooms.placing import GAP_M, Bounds
from src.rooms.raycast import Box, Piece
from src.rooms.textures import Material, Rng, Span, floor, pick, tiles, uniform, wall, wood

THICKNESS_M = 0.2
CEILING = Material(*WHITE, size_m=1.0)


class Opening(NamedTuple):
    """A doorway: the space before it that must stay free, so that it can be seen, and the room behind it."""

    before: Bounds
    beyond: Bounds


def build_shell(rng: Rng, size_m: Vec3, walls: Material) -> tuple[Piece, list[Opening]]:
    """Build floor, ceiling and walls; one wall may have another colour, two may open into the next rooms."""
    (w, d, h), t, ground = size_m, THICKNESS_M, floor(rng)
    accent = wall(rng) if rng.random() < 0.25 else walls
    panels = Material(*WHITE, "tiles", 0.6)
    boxes = [
        Box((-t, -t, -t), (w + t, d + t, 0), tiles(rng) if walls.pattern == "tiles" else ground),
        Box((-t, -t, h), (w + t, d + t, h + t), panels if w * d > 16 and rng.random() < 0.4 else CEILING),
    ]
    opened = {int(rng.random() * 8), int(rng.random() * 8)} & set(range(4))
    openings: list[Opening] = []
    for side in range(4):
        surface = accent if side == 1 else walls
        if side in opened:
            parts, opening = _open_wall(rng, size_m, side, surface, wider=len(opened) == 1)
            boxes += parts
            openings.append(opening)
        else:
            boxes.append(_wall_box(size_m, side, (0, t), (-t, size_m[1 - side // 2] + t), (0, h), surface))
    if rng.random() < 0.7:
        # Skirting boards, thinner than the gap behind furniture.
        top, edge, trim = uniform(rng, 0.05, 0.12), 0.8 * GAP_M, pick(rng, (CEILING, wood(rng)))
        for side in sorted(set(range(4)) - opened):
            boxes.append(_wall_box(size_m, side, (-edge, 0), (0, size_m[1 - side // 2]), (0, top), trim))
    return Piece(tuple(boxes)), openings


def _wall_box(size_m: Vec3, side: int, out: Span, span: Span, z: Span, surface: Material) -> Box:
    """Build a box at a wall, by its extent outwards and along the wall; sides 0 to 3 are x = 0, x = w, y = 0, y = d."""
    axis = side // 2
    reach = sorted(size_m[axis] + distance if side % 2 else -distance for distance in out)
    x, y = (reach, span) if axis == 0 else (span, reach)
    return Box((x[0], y[0], z[0]), (x[1], y[1], z[1]), surface)


def _open_wall(rng: Rng, size_m: Vec3, side: int, surface: Material, *, wider: bool) -> tuple[list[Box], Opening]:
    """Build a wall with a doorway or a wide opening, and the next room, which may be wider than this one."""
    length, h, t = size_m[1 - side // 2], size_m[2], THICKNESS_M
    half = min(pick(rng, (0.42, 0.48, uniform(rng, 0.5, 1.6))), 0.4 * length)
    middle, top = uniform(rng, half, length - half), pick(rng, (2.05, 2.05, h - 0.15))
    low, high, far = middle - half - uniform(rng, 0, 2), middle + half + uniform(rng, 0, 2), uniform(rng, 1.0, 5.0)
    if not wider:
        low, high = max(low, 0.0), min(high, length)
    next_walls = wall(rng)._replace(emission=uniform(rng, 0, 0.3))
    part = partial(_wall_box, size_m, side)
    boxes = [
        part((0, t), (-t, middle - half), (0, h), surface),
        part((0, t), (middle + half, length + t), (0, h), surface),
        part((0, t), (middle - half, middle + half), (top, h), surface),
        part((0, far), (low, high), (-t, 0), floor(rng)),
        part((0, far), (low, high), (h, h + t), CEILING),
        part((t, far), (low - t, low), (0, h), next_walls),
        part((t, far), (high, high + t), (0, h), next_walls),
        part((far, far + t), (low - t, high + t), (0, h), next_walls),
    ]
    before = part((-0.5, 0), (middle - half, middle + half), (0, top), CEILING)
    beyond = part((t, far), (low, high), (0, h), CEILING)
    return boxes, Opening((before.low, before.high), (beyond.low, beyond.high))
