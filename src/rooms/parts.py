"""Parts of furniture. A piece has its own frame: x to both sides of the middle, y from back to front, z up."""

from __future__ import annotations

import numpy as np

from src.rooms.raycast import Box, Shape
from src.rooms.textures import RGB, Material, between, paint, pick, wood

Rng = np.random.Generator
Span = tuple[float, float]

WHITE: tuple[RGB, RGB] = (0.8, 0.8, 0.78), (0.65, 0.65, 0.63)
BLACK = Material((0.02, 0.02, 0.025), (0.05, 0.05, 0.05))
STEEL = Material((0.3, 0.31, 0.32), (0.2, 0.2, 0.2))
"""What is not drawn; all else has the colour of its draw."""


def block(surface: Material, width: float, y: Span, z: Span, middle: float = 0.0, shape: Shape = "box") -> Box:
    """Cut a solid that is `width` wide around `middle`."""
    return Box((middle - width / 2, y[0], z[0]), (middle + width / 2, y[1], z[1]), surface, shape)


def disc(surface: Material, width: float, at: float, z: Span, middle: float = 0.0, shape: Shape = "cylinder") -> Box:
    """Turn a solid that is as deep as it is wide, around `middle` and y = `at`."""
    return block(surface, width, (at - width / 2, at + width / 2), z, middle, shape)


def legs(surface: Material, width: float, depth: float, height: float, thick: float = 0.05) -> list[Box]:
    """Put a leg under each corner."""
    ys, x = ((0.02, 0.02 + thick), (depth - 0.02 - thick, depth - 0.02)), (width - thick) / 2 - 0.02
    return [block(surface, thick, y, (0, height), middle) for y in ys for middle in (-x, x)]


def things(
    rng: Rng, width: float, y: Span, z: float, tallest: float, middle: float = 0.0, sparse: float = 0.6
) -> list[Box]:
    """Set things side by side on a surface, with gaps: books and boxes, bottles and pots, what is round."""
    boxes: list[Box] = []
    x, end = middle - width / 2, middle + width / 2
    while True:
        x += 0.002 + between(rng, 0, 0.2) * (rng.random() < sparse)
        shape: Shape = pick(rng, ("box", "box", "box", "cylinder", "cylinder", "ellipsoid"))
        wide = pick(rng, (0.025, 0.05, 0.09, 0.2)) * between(rng, 0.7, 1.4)
        deep = (y[1] - y[0]) * between(rng, 0.3, 0.8)
        if shape != "box":
            wide = deep = min(deep, max(wide, 0.05))
        if x + wide > end:
            return boxes
        back = between(rng, y[0], y[1] - deep)
        share = float(rng.random())
        # Most of what stands around is small.
        top = z + tallest * max(0.15, share * share)
        boxes.append(block(paint(rng), wide, (back, back + deep), (z, top), x + wide / 2, shape))
        x += wide


def face(box: Box, x: float, y: float) -> Box:
    """Turn a box half round, its back to `y`."""
    (x0, y0, z0), (x1, y1, z1), surface, shape = box
    return Box((x - x1, y - y1, z0), (x - x0, y - y0, z1), surface, shape)


def shift(box: Box, x: float, y: float) -> Box:
    """Move a box along the floor."""
    (x0, y0, z0), (x1, y1, z1), surface, shape = box
    return Box((x0 + x, y0 + y, z0), (x1 + x, y1 + y, z1), surface, shape)


def cupboards(rng: Rng, count: int, unit: float, y: Span, z: Span, tiers: int = 1, middle: float = 0.0) -> list[Box]:
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


def frame_in(rng: Rng, inner: Material, w: float, z: Span, edge: float, middle: float = 0.0) -> list[Box]:
    """Hang a panel flat on the wall, inside a frame that stands out."""
    frame, (low, high) = wood(rng), z
    sides = [block(frame, edge, (0, 0.035), z, middle + side * (w - edge) / 2) for side in (-1, 1)]
    bars = [block(frame, w, (0, 0.035), (a, a + edge), middle) for a in (low, high - edge)]
    return [block(inner, w, (0, 0.02), z, middle), *sides, *bars]
