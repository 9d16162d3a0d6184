"""Parts of furniture. In the frame of a piece, x = 0 is its middle, y = 0 its back, z = 0 the floor."""

from src.rooms.kernels.solids import Shape
from src.rooms.raycast import Box
from src.rooms.textures import RGB, Material, Rng, Span, paint, pick, uniform, wood

WHITE: tuple[RGB, RGB] = (0.8, 0.8, 0.78), (0.65, 0.65, 0.63)
BLACK = Material((0.02, 0.02, 0.025), (0.05, 0.05, 0.05))
STEEL = Material((0.3, 0.31, 0.32), (0.2, 0.2, 0.2))


def block(surface: Material, width: float, y: Span, z: Span, middle: float = 0.0, shape: Shape = "box") -> Box:
    """Build a solid that is `width` wide around x = `middle`."""
    return Box((middle - width / 2, y[0], z[0]), (middle + width / 2, y[1], z[1]), surface, shape)


def disc(surface: Material, width: float, at: float, z: Span, middle: float = 0.0, shape: Shape = "cylinder") -> Box:
    """Build a solid that is as deep as it is wide, around x = `middle` and y = `at`."""
    return block(surface, width, (at - width / 2, at + width / 2), z, middle, shape)


def legs(surface: Material, width: float, depth: float, height: float, thick: float = 0.05) -> list[Box]:
    ys, x = ((0.02, 0.02 + thick), (depth - 0.02 - thick, depth - 0.02)), (width - thick) / 2 - 0.02
    return [block(surface, thick, y, (0, height), middle) for y in ys for middle in (-x, x)]


def items(
    rng: Rng, width: float, y: Span, z: float, tallest: float, middle: float = 0.0, sparse: float = 0.6
) -> list[Box]:
    """Put small items side by side on a surface, with gaps: books, boxes, bottles, pots."""
    boxes: list[Box] = []
    x, end = middle - width / 2, middle + width / 2
    while True:
        x += 0.002 + uniform(rng, 0, 0.2) * (rng.random() < sparse)
        shape: Shape = pick(rng, ("box", "box", "box", "cylinder", "cylinder", "ellipsoid"))
        wide = pick(rng, (0.025, 0.05, 0.09, 0.2)) * uniform(rng, 0.7, 1.4)
        deep = (y[1] - y[0]) * uniform(rng, 0.3, 0.8)
        if shape != "box":
            wide = deep = min(deep, max(wide, 0.05))
        if x + wide > end:
            return boxes
        back = uniform(rng, y[0], y[1] - deep)
        share = float(rng.random())
        # Most items are small.
        top = z + tallest * max(0.15, share * share)
        boxes.append(block(paint(rng), wide, (back, back + deep), (z, top), x + wide / 2, shape))
        x += wide


def turned(box: Box, x: float, y: float) -> Box:
    """Rotate a box by 180 degrees and move its origin to (x, y)."""
    (x0, y0, z0), (x1, y1, z1), surface, shape = box
    return Box((x - x1, y - y1, z0), (x - x0, y - y0, z1), surface, shape)


def shifted(box: Box, x: float, y: float) -> Box:
    """Move a box along the floor."""
    (x0, y0, z0), (x1, y1, z1), surface, shape = box
    return Box((x0 + x, y0 + y, z0), (x1 + x, y1 + y, z1), surface, shape)


def row(count: int, spacing: float) -> list[float]:
    """Return x of elements side by side around the middle."""
    return [(k - (count - 1) / 2) * spacing for k in range(count)]


def cupboards(rng: Rng, count: int, unit: float, y: Span, z: Span, tiers: int = 1, middle: float = 0.0) -> list[Box]:
    """Build a row of cupboards: a body, and in front of it `tiers` of doors or drawers with handles."""
    front, body, rise = wood(rng), wood(rng), (z[1] - z[0] - 0.08) / tiers
    boxes = [block(body, count * unit, y, z, middle)]
    for x in (middle + dx for dx in row(count, unit)):
        for low in (z[0] + 0.06 + tier * rise for tier in range(tiers)):
            handle = low + rise * 0.8
            boxes.append(block(front, unit - 0.015, (y[1], y[1] + 0.018), (low, low + rise - 0.015), x))
            boxes.append(block(STEEL, 0.12, (y[1] + 0.018, y[1] + 0.04), (handle, handle + 0.015), x))
    return boxes


def framed(rng: Rng, inner: Material, w: float, z: Span, edge: float, middle: float = 0.0) -> list[Box]:
    """Build a panel on the wall inside a frame."""
    frame, (low, high) = wood(rng), z
    sides = [block(frame, edge, (0, 0.035), z, middle + side * (w - edge) / 2) for side in (-1, 1)]
    bars = [block(frame, w, (0, 0.035), (a, a + edge), middle) for a in (low, high - edge)]
    return [block(inner, w, (0, 0.02), z, middle), *sides, *bars]
