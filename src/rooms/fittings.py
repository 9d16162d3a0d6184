"""Fittings: pieces that hang on walls, and small pieces that stand on the floor. Each function draws one."""

from src.rooms.kernels.solids import Shape
from src.rooms.parts import STEEL, WHITE, block, disc, framed, items
from src.rooms.raycast import Box
from src.rooms.textures import Material, Rng, fabric, mirror_glass, paint, pick, printed, uniform, wood


def cartons(rng: Rng) -> list[Box]:
    """Stack boxes, each within the one below."""
    boxes = []
    w, d, z = uniform(rng, 0.3, 0.7), uniform(rng, 0.3, 0.6), 0.0
    for _ in range(1 + int(rng.random() * 3)):
        top = z + uniform(rng, 0.15, 0.45)
        boxes.append(block(pick(rng, (wood, paint))(rng), w, (0, d), (z, top)))
        w, d, z = w * uniform(rng, 0.6, 1), d * uniform(rng, 0.6, 1), top
    return boxes


def lamp(rng: Rng) -> list[Box]:
    h, side = uniform(rng, 1.3, 1.7), uniform(rng, 0.28, 0.42)
    shade = Material((0.8, 0.7, 0.5), (0.7, 0.6, 0.4), emission=uniform(rng, 0, 2))
    return [
        disc(STEEL, 0.26, side / 2, (0, 0.03)),
        disc(STEEL, 0.03, side / 2, (0, h)),
        disc(shade, side, side / 2, (h, h + 0.3), shape=pick(rng, ("cylinder", "cylinder", "box", "ellipsoid"))),
    ]


def rug(rng: Rng) -> list[Box]:
    return [block(fabric(rng), uniform(rng, 0.8, 2.4), (0, uniform(rng, 0.6, 1.6)), (0, 0.004))]


def plant(rng: Rng) -> list[Box]:
    pot, h, reach = paint(rng), uniform(rng, 0.15, 0.45), uniform(rng, 0.15, 0.45)
    green = Material((0.06, uniform(rng, 0.08, 0.25), 0.04), (0.02, 0.05, 0.02), "noise", 0.05)
    boxes = [disc(pot, min(h, 2 * reach), reach, (0, h)), disc(green, 0.02, reach, (h, h + reach))]
    for _ in range(8 + int(rng.random() * 16)):
        x, y, z = (uniform(rng, -0.8, 0.8) * reach for _ in range(3))
        low = max(h, h + reach + z - 0.04)
        boxes.append(disc(green, uniform(rng, 0.3, 0.5) * reach, reach + y, (low, low + 0.08), x, "ellipsoid"))
    return boxes


def basket(rng: Rng) -> list[Box]:
    w = uniform(rng, 0.22, 0.42)
    return [disc(paint(rng), w, w / 2, (0, w * uniform(rng, 0.9, 1.8)), shape=pick(rng, ("cylinder", "box")))]


def clutter(rng: Rng) -> list[Box]:
    """Leave items on the floor: bags, shoes, toys, clothes, paper."""
    boxes = []
    for _ in range(2 + int(rng.random() * 7)):
        w, d, h = uniform(rng, 0.06, 0.4), uniform(rng, 0.06, 0.3), uniform(rng, 0.01, 0.3)
        x, y = uniform(rng, -0.5, 0.5), uniform(rng, 0.0, 0.7)
        boxes.append(block(paint(rng), w, (y, y + d), (0, h), x, pick(rng, ("box", "box", "ellipsoid", "cylinder"))))
    return boxes


def heap(rng: Rng) -> list[Box]:
    boxes = []
    for _ in range(2 + int(rng.random() * 5)):
        w, d, h = uniform(rng, 0.2, 0.6), uniform(rng, 0.2, 0.5), uniform(rng, 0.08, 0.3)
        x, y = uniform(rng, -0.25, 0.25), uniform(rng, 0.0, 0.4)
        boxes.append(block(fabric(rng), w, (y, y + d), (0, h), x, "ellipsoid"))
    return boxes


def assembly(rng: Rng) -> list[Box]:
    """Build an object of no particular kind: solids on solids, left and right alike."""
    w, d, top = uniform(rng, 0.2, 1.2), uniform(rng, 0.2, 0.8), uniform(rng, 0.05, 0.8)
    surfaces = [pick(rng, (wood, paint, fabric))(rng) for _ in range(3)]
    boxes = [block(surfaces[0], w, (0, d), (0, top))]
    for _ in range(2 + int(rng.random() * 6)):
        wide, deep, low = w * uniform(rng, 0.1, 0.9), d * uniform(rng, 0.2, 1.0), top * uniform(rng, 0.0, 1.0)
        high, back = low + uniform(rng, 0.05, 0.7), uniform(rng, 0.0, 1.0) * (d - deep)
        aside, surface = pick(rng, (0.0, (w - wide) / 2)), pick(rng, surfaces)
        shape: Shape = pick(rng, ("box", "box", "cylinder", "ellipsoid"))
        boxes += [block(surface, wide, (back, back + deep), (low, high), x, shape) for x in sorted({aside, -aside})]
        top = min(1.8, max(top, high))
    return boxes


def garment(rng: Rng) -> list[Box]:
    boxes, top, x = [], uniform(rng, 1.0, 1.9), 0.0
    for _ in range(1 + int(rng.random() * 4)):
        w = uniform(rng, 0.2, 0.6)
        boxes.append(block(fabric(rng), w, (0, uniform(rng, 0.02, 0.15)), (top - uniform(rng, 0.4, 0.9), top), x))
        x += w
    return boxes


def board(rng: Rng) -> list[Box]:
    """Build a whiteboard or a notice board with papers."""
    inner, w, z = pick(rng, (Material(*WHITE), fabric(rng))), uniform(rng, 1.0, 2.4), uniform(rng, 0.8, 1.1)
    top = z + uniform(rng, 0.7, 1.2)
    boxes = framed(rng, inner, w, (z, top), 0.03)
    for _ in range(int(rng.random() * 8)):
        x, low, side = uniform(rng, -0.4, 0.4) * w, uniform(rng, z + 0.05, top - 0.35), uniform(rng, 0.15, 0.3)
        boxes.append(block(paint(rng), side, (0, 0.024), (low, low + side), x))
    return boxes


def ledge(rng: Rng) -> list[Box]:
    surface, w, d, z = wood(rng), uniform(rng, 0.5, 1.5), uniform(rng, 0.15, 0.3), uniform(rng, 1.1, 1.5)
    boxes: list[Box] = []
    for low in (z, z + 0.35)[: 1 + int(rng.random() * 2)]:
        boxes += [block(surface, w, (0, d), (low, low + 0.025)), *items(rng, w, (0.02, d), low + 0.025, 0.28)]
    return boxes


def picture(rng: Rng) -> list[Box]:
    low, w, edge = uniform(rng, 1.2, 1.5), uniform(rng, 0.25, 1.1), uniform(rng, 0.01, 0.05)
    inner = mirror_glass(rng) if rng.random() < 0.15 else printed(rng, (0.4, 1.6))
    return framed(rng, inner, w, (low, low + uniform(rng, 0.25, 0.7)), edge)


def switch(rng: Rng) -> list[Box]:
    """Build light switches or a socket: of one size everywhere, so that they show the distance."""
    low, count = pick(rng, (0.25, 1.1)), 1 + int(rng.random() * 2)
    return [block(Material(*WHITE), 0.08, (0, 0.012), (low, low + 0.12), 0.09 * k) for k in range(count)]


def window(rng: Rng) -> list[Box]:
    """Build a window of one to three panes, by day or night, with or without curtains and a radiator."""
    w, low, panes = uniform(rng, 0.5, 0.9), uniform(rng, 0.8, 1.1), 1 + int(rng.random() * 3)
    day, size_m, phase_m = uniform(rng, 0, 2.5), uniform(rng, 1.0, 4.0), uniform(rng, 0, 50)
    outside = Material((0.75, 0.8, 0.85), (0.12, 0.16, 0.1), "print", size_m, phase_m, emission=day)
    z = low, low + uniform(rng, 0.9, 1.2)
    boxes = [box for k in range(panes) for box in framed(rng, outside, w, z, 0.06, k * w)]
    if rng.random() < 0.4:
        cloth, floor_m = fabric(rng), pick(rng, (0.03, low - 0.1))
        for x in (-w / 2 - 0.05, (panes - 0.5) * w - 0.25):
            folds = [x + 0.06 * k for k in range(int(uniform(rng, 3, 9)))]
            boxes += [disc(cloth, 0.1, 0.09, (floor_m, z[1] + 0.15), fold) for fold in folds]
    if rng.random() < 0.3:
        ribs = [0.1 * k - w / 2 for k in range(int(panes * w / 0.1))]
        boxes += [block(Material(*WHITE), 0.07, (0.02, 0.11), (0.12, 0.7), rib) for rib in ribs]
    return boxes


def door(rng: Rng) -> list[Box]:
    w = uniform(rng, 0.8, 1.0)
    handle = block(STEEL, 0.12, (0.03, 0.07), (1.02, 1.04), w / 2 - 0.16)
    return [*framed(rng, wood(rng), w, (0.0, uniform(rng, 2.0, 2.15)), 0.07), handle]
