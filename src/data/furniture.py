"""Furniture as boxes, each piece in its own frame: x to both sides of the middle, y from back to front, z up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from src.data.raycast import Box
from src.data.textures import RGB, Material, between, fabric, paint, pick, tiles, wood

Rng = np.random.Generator
Span = tuple[float, float]

WHITE: tuple[RGB, RGB] = (0.8, 0.8, 0.78), (0.65, 0.65, 0.63)
BLACK = Material((0.02, 0.02, 0.025), (0.05, 0.05, 0.05))
STEEL = Material((0.3, 0.31, 0.32), (0.2, 0.2, 0.2))
"""What is not drawn; all else has the colour of its draw."""


def block(surface: Material, width: float, y: Span, z: Span, middle: float = 0.0) -> Box:
    """Cut a box that is `width` wide around `middle`."""
    return Box((middle - width / 2, y[0], z[0]), (middle + width / 2, y[1], z[1]), surface)


def _legs(surface: Material, width: float, depth: float, height: float, thick: float = 0.05) -> list[Box]:
    """Put a leg under each corner."""
    ys, x = ((0.02, 0.02 + thick), (depth - 0.02 - thick, depth - 0.02)), (width - thick) / 2 - 0.02
    return [block(surface, thick, y, (0, height), middle) for y in ys for middle in (-x, x)]


def _things(
    rng: Rng, width: float, y: Span, z: float, tallest: float, middle: float = 0.0, sparse: float = 0.6
) -> list[Box]:
    """Set things side by side on a surface, with gaps."""
    boxes: list[Box] = []
    x, end = middle - width / 2, middle + width / 2
    while True:
        x += 0.002 + between(rng, 0, 0.25) * (rng.random() < sparse)
        wide, deep = pick(rng, (0.03, 0.06, 0.1, 0.25)) * between(rng, 0.7, 1.4), (y[1] - y[0]) * between(rng, 0.3, 0.8)
        if x + wide > end:
            return boxes
        back = between(rng, y[0], y[1] - deep)
        top = z + tallest * between(rng, 0.15, 1)
        boxes.append(block(paint(rng), wide, (back, back + deep), (z, top), x + wide / 2))
        x += wide


def chair(rng: Rng) -> list[Box]:
    """Build a chair: legs, seat, back."""
    frame, seat, w, d = wood(rng), pick(rng, (wood, fabric))(rng), between(rng, 0.4, 0.52), between(rng, 0.42, 0.52)
    top = between(rng, 0.42, 0.48)
    return [
        *_legs(frame, w, d, top - 0.03, 0.04),
        block(seat, w, (0, d), (top - 0.04, top)),
        block(seat, w, (0, 0.04), (top + between(rng, 0.0, 0.2), top + between(rng, 0.35, 0.5))),
    ]


def table(rng: Rng) -> list[Box]:
    """Build a table with things on it, and perhaps chairs pushed under it."""
    surface, w, d, h = wood(rng), between(rng, 0.8, 1.8), between(rng, 0.6, 1.0), between(rng, 0.7, 0.77)
    boxes = [*_legs(surface, w, d, h - 0.02), block(surface, w, (0, d), (h - 0.04, h))]
    boxes += _things(rng, w * 0.9, (0.1, d - 0.1), h, 0.3)
    if rng.random() < 0.6:
        seat, back = chair(rng), between(rng, 0.15, 0.5)
        count = int(w / 0.7)
        places = [((k + 0.5) / count - 0.5) * w for k in range(count)]
        boxes += [_face(box, x, d + back) for x in places for box in seat]
    return boxes


def _face(box: Box, x: float, y: float) -> Box:
    """Turn a box half round, its back to `y`."""
    (x0, y0, z0), (x1, y1, z1), surface = box
    return Box((x - x1, y - y1, z0), (x - x0, y - y0, z1), surface)


def desk(rng: Rng) -> list[Box]:
    """Build a desk: drawers at its side, a screen, a chair that faces it."""
    top, w, d, h = wood(rng), between(rng, 0.9, 1.5), between(rng, 0.55, 0.8), between(rng, 0.7, 0.76)
    return [
        *_legs(top, w, d, h - 0.02),
        block(top, w, (0, d), (h - 0.03, h)),
        *_cupboards(rng, 1, 0.45, (0, d - 0.05), (0, h - 0.03), 3, middle=(w + 0.45) / 2),
        block(BLACK, 0.06, (0.14, 0.18), (h, h + 0.2)),
        block(BLACK, between(rng, 0.4, 0.6), (0.18, 0.22), (h + 0.1, h + between(rng, 0.4, 0.5))),
        *_things(rng, 0.45, (0.05, d - 0.1), h - 0.03, 0.3, middle=(w + 0.45) / 2),
        *(_face(box, -0.1, d + 0.4) for box in chair(rng)),
    ]


def bed(rng: Rng) -> list[Box]:
    """Build a bed: frame, headboard, mattress, blanket, pillows."""
    frame, w, d, h = wood(rng), between(rng, 0.9, 1.9), between(rng, 1.95, 2.15), between(rng, 0.4, 0.6)
    sheet, count, fold = fabric(rng), 1 + int(rng.random() * 2), between(rng, 0.5, 0.9)
    return [
        block(frame, w, (0, d), (0.0, h - 0.18)),
        block(frame, w + 0.06, (0, 0.05), (0, h + between(rng, 0.1, 0.6))),
        block(sheet, w - 0.04, (0.05, d - 0.02), (h - 0.18, h)),
        block(fabric(rng), w + 0.03, (fold, d + 0.02), (h - 0.3, h + 0.03)),
        *(
            block(fabric(rng), w / 2.4, (0.1, 0.5), (h, h + 0.13), (k - (count - 1) / 2) * w / 2.1)
            for k in range(count)
        ),
        *_things(rng, w * 0.6, (fold + 0.2, d - 0.3), h + 0.03, 0.15, sparse=1),
    ]


def sofa(rng: Rng) -> list[Box]:
    """Build a sofa or an armchair: base, arms, back, seats, cushions."""
    cloth, seats = fabric(rng), 1 + int(rng.random() * 3)
    w, d, h, arm = 0.7 * seats, between(rng, 0.8, 0.95), between(rng, 0.38, 0.45), between(rng, 0.12, 0.22)
    places = [(k - (seats - 1) / 2) * 0.7 for k in range(seats)]
    return [
        block(cloth, w + 2 * arm, (0, d), (0.0, h - 0.13)),
        block(cloth, w + 2 * arm, (0, 0.22), (h - 0.13, h + between(rng, 0.35, 0.5))),
        *(block(cloth, arm, (0.22, d), (h - 0.13, h + 0.2), side * (w + arm) / 2) for side in (-1, 1)),
        *(block(cloth, 0.68, (0.22, d + 0.02), (h - 0.13, h), x) for x in places),
        *(block(fabric(rng), 0.4, (0.22, 0.36), (h, h + 0.38), x) for x in places if rng.random() < 0.5),
    ]


def shelf(rng: Rng) -> list[Box]:
    """Build open shelves, full of things."""
    surface, w, d = wood(rng), between(rng, 0.6, 1.6), between(rng, 0.25, 0.4)
    rise, boards, sparse = between(rng, 0.28, 0.4), 2 + int(rng.random() * 6), between(rng, 0.1, 0.9)
    h = rise * boards
    return [
        *(block(surface, 0.03, (0, d), (0, h), side * (w - 0.03) / 2) for side in (-1, 1)),
        block(surface, w, (0, 0.01), (0, h)),
        *(block(surface, w, (0, d), (max(0, k * rise - 0.025), max(0.06, k * rise))) for k in range(boards + 1)),
        *(
            box
            for k in range(boards)
            for box in _things(rng, w - 0.08, (0.02, d), max(0.06, k * rise), rise - 0.07, sparse=sparse)
        ),
        *(_things(rng, w, (0.02, d), h, 0.35) if h < 1.6 else ()),
    ]


def _cupboards(rng: Rng, count: int, unit: float, y: Span, z: Span, tiers: int = 1, middle: float = 0.0) -> list[Box]:
    """Build a closed row: a body, and before it fronts with handles, `tiers` of them above each other."""
    front, body, rise = wood(rng), wood(rng), (z[1] - z[0] - 0.08) / tiers
    boxes = [block(body, count * unit, y, z, middle)]
    for x in (middle + (k - (count - 1) / 2) * unit for k in range(count)):
        for low in (z[0] + 0.06 + tier * rise for tier in range(tiers)):
            boxes.append(block(front, unit - 0.015, (y[1], y[1] + 0.018), (low, low + rise - 0.015), x))
            boxes.append(
                block(STEEL, 0.12, (y[1] + 0.018, y[1] + 0.04), (low + rise * 0.8, low + rise * 0.8 + 0.015), x)
            )
    return boxes


def kitchen(rng: Rng) -> list[Box]:
    """Build a kitchen row: base units, a counter with things on it, upper units, a fridge at the end."""
    count, counter, upper = 3 + int(rng.random() * 4), tiles(rng), between(rng, 1.4, 1.5)
    w, end = 0.6 * count, (0.6 * count + 0.65) / 2
    return [
        *_cupboards(rng, count, 0.6, (0, 0.58), (0, 0.87)),
        block(counter, w, (0, 0.62), (0.87, 0.91)),
        block(tiles(rng), w, (0, 0.01), (0.91, upper)),
        block(BLACK, 0.56, (0.58, 0.605), (0.12, 0.8), pick(rng, (-0.5, 0.5)) * (w - 0.6)),
        *_things(rng, w - 0.1, (0.05, 0.55), 0.91, 0.35),
        *_cupboards(rng, count, 0.6, (0, 0.33), (upper, upper + between(rng, 0.55, 0.75))),
        *(
            _cupboards(rng, 1, 0.62, (0, 0.62), (0, between(rng, 1.5, 1.9)), 2, middle=end)
            if rng.random() < 0.6
            else ()
        ),
    ]


def wardrobe(rng: Rng) -> list[Box]:
    """Build a wardrobe, a cupboard or a tall cabinet."""
    height = between(rng, 1.6, 2.2)
    return _cupboards(rng, 1 + int(rng.random() * 4), between(rng, 0.4, 0.6), (0, between(rng, 0.35, 0.6)), (0, height))


def chest(rng: Rng) -> list[Box]:
    """Build a chest of drawers or a sideboard, with things on it, at times a television."""
    count, unit, d, h = (
        1 + int(rng.random() * 3),
        between(rng, 0.4, 0.6),
        between(rng, 0.35, 0.5),
        between(rng, 0.4, 1.0),
    )
    boxes = _cupboards(rng, count, unit, (0, d), (0, h), 1 + int(rng.random() * 4))
    if h < 0.8 and count > 1 and rng.random() < 0.6:
        return [*boxes, block(BLACK, count * unit * 0.9, (0.15, 0.2), (h, h + count * unit * 0.5))]
    return boxes + _things(rng, count * unit, (0.02, d), h, 0.4)


def cartons(rng: Rng) -> list[Box]:
    """Stack boxes, each within the one below."""
    boxes: list[Box] = []
    w, d, z = between(rng, 0.3, 0.7), between(rng, 0.3, 0.6), 0.0
    for _ in range(1 + int(rng.random() * 3)):
        top = z + between(rng, 0.15, 0.45)
        boxes.append(block(pick(rng, (wood, paint))(rng), w, (0, d), (z, top)))
        w, d, z = w * between(rng, 0.6, 1), d * between(rng, 0.6, 1), top
    return boxes


def lamp(rng: Rng) -> list[Box]:
    """Build a standing lamp: foot, pole, shade."""
    h, side = between(rng, 1.3, 1.7), between(rng, 0.28, 0.42)
    pole, shade = (
        ((side - 0.03) / 2, (side + 0.03) / 2),
        Material((0.8, 0.7, 0.5), (0.7, 0.6, 0.4), glow=between(rng, 0, 2)),
    )
    return [
        block(STEEL, 0.26, (0, side), (0, 0.03)),
        block(STEEL, 0.03, pole, (0, h)),
        block(shade, side, (0, side), (h, h + 0.3)),
    ]


def bath(rng: Rng) -> list[Box]:
    """Build a bath tub: four sides and a bottom."""
    w, d, h, white = between(rng, 1.3, 1.7), between(rng, 0.65, 0.75), between(rng, 0.5, 0.6), Material(*WHITE)
    sides = [block(white, 0.06, (0, d), (0, h), side * (w - 0.06) / 2) for side in (-1, 1)]
    return [
        *sides,
        *(block(white, w, y, (0, h)) for y in ((0, 0.06), (d - 0.06, d))),
        block(white, w, (0, d), (0, 0.15)),
    ]


def toilet(rng: Rng) -> list[Box]:
    """Build a toilet: foot, bowl, tank."""
    white, d = Material(*WHITE), between(rng, 0.6, 0.7)
    sizes = ((0.24, (0.1, d - 0.15), (0, 0.3)), (0.37, (0.18, d), (0.3, 0.43)), (0.4, (0, 0.18), (0.35, 0.8)))
    return [block(white, *size) for size in sizes]


def rug(rng: Rng) -> list[Box]:
    """Lay a rug."""
    return [block(fabric(rng), between(rng, 0.8, 2.4), (0, between(rng, 0.6, 1.6)), (0, 0.004))]


def _frame(rng: Rng, inner: Material, w: float, z: Span, edge: float, middle: float = 0.0) -> list[Box]:
    """Hang a panel flat on the wall, inside a frame that stands out."""
    frame, (low, high) = wood(rng), z
    sides = [block(frame, edge, (0, 0.035), z, middle + side * (w - edge) / 2) for side in (-1, 1)]
    bars = [block(frame, w, (0, 0.035), (a, a + edge), middle) for a in (low, high - edge)]
    return [block(inner, w, (0, 0.02), z, middle), *sides, *bars]


def picture(rng: Rng) -> list[Box]:
    """Hang a picture, a mirror's size or a poster's."""
    low = between(rng, 1.2, 1.5)
    return _frame(
        rng, paint(rng), between(rng, 0.25, 1.1), (low, low + between(rng, 0.25, 0.7)), between(rng, 0.01, 0.05)
    )


def window(rng: Rng) -> list[Box]:
    """Put in a window, day or night, with one to three wings."""
    day, w, low, wings = between(rng, 0, 2.5), between(rng, 0.5, 0.9), between(rng, 0.8, 1.1), 1 + int(rng.random() * 3)
    pane, z = Material((0.55, 0.65, 0.75), (0.4, 0.5, 0.5), "noise", 0.7, glow=day), (low, low + between(rng, 0.9, 1.2))
    return [box for k in range(wings) for box in _frame(rng, pane, w, z, 0.06, k * w)]


def door(rng: Rng) -> list[Box]:
    """Put in a closed door with its frame and handle."""
    w = between(rng, 0.8, 1.0)
    handle = block(STEEL, 0.12, (0.03, 0.07), (1.02, 1.04), w / 2 - 0.16)
    return [*_frame(rng, wood(rng), w, (0.0, between(rng, 2.0, 2.15)), 0.07), handle]


Draw = Callable[[Rng], list[Box]]
FREE: tuple[Draw, ...] = (table, chair, cartons, lamp, rug)
"""Pieces that need no wall behind them."""

THEMES: tuple[tuple[Span, tuple[Draw, ...], tuple[Draw, ...]], ...] = (
    ((2.6, 5.2), (bed, wardrobe), (chest, chest, desk, shelf, lamp, chair, cartons, rug, picture)),
    ((3.2, 7.0), (sofa, table), (sofa, shelf, chest, lamp, chair, rug, cartons, picture, table)),
    ((2.4, 5.5), (kitchen,), (table, table, chair, chest, wardrobe, shelf, cartons, picture)),
    ((2.4, 6.0), (desk, shelf), (desk, shelf, shelf, wardrobe, chest, chair, cartons, sofa, picture)),
    ((3.5, 7.5), (table, table), (table, chair, chair, chest, shelf, picture, lamp, rug)),
    ((5.0, 10.0), (table, table, shelf), (table, table, table, desk, desk, chair, chair, wardrobe, cartons, shelf)),
    ((1.4, 3.0), (bath, toilet), (chest, wardrobe, cartons, shelf, picture)),
)
"""Uses of a room: its sides in metres, what it must have, what it may have."""
