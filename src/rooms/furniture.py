"""Furniture on the floor, mostly with its back at a wall. Each function draws one piece."""

from src.rooms.parts import BLACK, STEEL, WHITE, block, cupboards, disc, framed, items, legs, row, shifted, turned
from src.rooms.raycast import Box
from src.rooms.textures import Material, Rng, Span, fabric, mirror_glass, pick, stone, tiles, uniform, wood


def chair(rng: Rng) -> list[Box]:
    """Build a chair: legs, seat, back; or a swivel chair."""
    if rng.random() < 0.35:
        return _swivel(rng)
    frame, seat, w, d = wood(rng), pick(rng, (wood, fabric))(rng), uniform(rng, 0.4, 0.52), uniform(rng, 0.42, 0.52)
    top = uniform(rng, 0.42, 0.48)
    return [
        *legs(frame, w, d, top - 0.03, 0.04),
        block(seat, w, (0, d), (top - 0.04, top)),
        block(seat, w, (0, 0.04), (top + uniform(rng, 0.0, 0.2), top + uniform(rng, 0.35, 0.5))),
    ]


def _swivel(rng: Rng) -> list[Box]:
    seat, w, top = pick(rng, (fabric, wood))(rng), uniform(rng, 0.36, 0.52), uniform(rng, 0.42, 0.7)
    middle = w / 2 + 0.1
    boxes = [
        disc(BLACK, w + 0.1, middle, (0, 0.05)),
        disc(STEEL, 0.05, middle, (0, top - 0.06)),
        disc(seat, w, middle, (top - 0.08, top), shape=pick(rng, ("box", "cylinder"))),
    ]
    if top < 0.55:
        high = top + uniform(rng, 0.4, 0.75)
        boxes.append(block(seat, w * 0.9, (0.08, 0.15), (top + 0.08, high)))
        boxes += [block(BLACK, 0.05, (0.15, 0.1 + w), (top + 0.18, top + 0.22), side * w / 2) for side in (-1, 1)]
        boxes.append(block(BLACK, 0.05, (0.07, 0.1), (top, top + 0.2)))
    return boxes


def table(rng: Rng) -> list[Box]:
    """Build a low table, or a high one with or without chairs, with items on it."""
    if rng.random() < 0.25:
        return _round_table(rng)
    surface, w, d, low = wood(rng), uniform(rng, 0.8, 1.8), uniform(rng, 0.6, 1.0), rng.random() < 0.4
    h = uniform(rng, 0.38, 0.52) if low else uniform(rng, 0.71, 0.79)
    boxes = [*legs(surface, w, d, h - 0.02), block(surface, w, (0, d), (h - 0.04, h))]
    boxes += items(rng, w * 0.9, (0.1, d - 0.1), h, 0.3)
    if not low and rng.random() < 0.7:
        seat, back, count = chair(rng), uniform(rng, 0.15, 0.5), int(w / 0.7)
        xs = [((k + 0.5) / count - 0.5) * w for k in range(count)]
        boxes += [turned(box, x, d + back) for x in xs for box in seat]
    return boxes


def _round_table(rng: Rng) -> list[Box]:
    surface, w, h = wood(rng), uniform(rng, 0.45, 1.2), pick(rng, (0.45, 0.6, 0.75)) + uniform(rng, -0.05, 0.05)
    return [
        disc(surface, w * 0.6, w / 2, (0, 0.03)),
        disc(surface, 0.09, w / 2, (0, h)),
        disc(surface, w, w / 2, (h - 0.03, h)),
        *items(rng, w * 0.6, (w * 0.25, w * 0.75), h, 0.35),
    ]


def dining(rng: Rng) -> list[Box]:
    surface, w, d, h = wood(rng), uniform(rng, 1.2, 2.4), uniform(rng, 0.8, 1.15), uniform(rng, 0.72, 0.78)
    boxes = [*legs(surface, w, d, h - 0.02, 0.07), block(surface, w, (0, d), (h - 0.04, h))]
    if rng.random() < 0.3:
        boxes.append(block(fabric(rng), w + 0.03, (-0.015, d + 0.015), (h - uniform(rng, 0.1, 0.4), h + 0.005)))
    boxes += items(rng, w * 0.9, (0.1, d - 0.1), h + 0.005, 0.35, sparse=1)
    seat, out, count = chair(rng), uniform(rng, 0.1, 0.45), int(w / 0.6)
    for x in row(count, 0.6):
        boxes += [turned(box, x, d + out) for box in seat]
        boxes += [shifted(box, x, -out) for box in seat]
    return boxes


def desk(rng: Rng) -> list[Box]:
    top, w, d, h = wood(rng), uniform(rng, 0.9, 1.5), uniform(rng, 0.55, 0.8), uniform(rng, 0.71, 0.79)
    return [
        *legs(top, w, d, h - 0.02),
        block(top, w, (0, d), (h - 0.03, h)),
        *cupboards(rng, 1, 0.45, (0, d - 0.05), (0, h - 0.03), 3, middle=(w + 0.45) / 2),
        block(BLACK, 0.06, (0.14, 0.18), (h, h + 0.2)),
        block(BLACK, uniform(rng, 0.4, 0.6), (0.18, 0.22), (h + 0.1, h + uniform(rng, 0.4, 0.5))),
        *items(rng, 0.45, (0.05, d - 0.1), h - 0.03, 0.3, middle=(w + 0.45) / 2),
        *(turned(box, -0.1, d + 0.4) for box in chair(rng)),
    ]


def bed(rng: Rng) -> list[Box]:
    frame, w, d, h = wood(rng), uniform(rng, 0.9, 1.9), uniform(rng, 1.95, 2.15), uniform(rng, 0.48, 0.76)
    sheet, cover, count, fold = fabric(rng), fabric(rng), 1 + int(rng.random() * 2), uniform(rng, 0.5, 0.9)
    pillows = [x / 2.1 for x in row(count, w)]
    lumps = [(uniform(rng, -0.3, 0.3) * w, uniform(rng, 0.35, 0.7) * d) for _ in range(int(rng.random() * 6))]
    return [
        block(frame, w, (0, d), (0.0, h - 0.18)),
        block(frame, w + 0.06, (0, 0.05), (0, h + uniform(rng, 0.1, 0.6))),
        block(sheet, w - 0.04, (0.05, d - 0.02), (h - 0.18, h)),
        block(cover, w + 0.03, (fold, d + 0.02), (h - 0.3, h + 0.03)),
        *(
            block(cover, 0.5 * w, (y - 0.3, y + 0.3), (h - 0.05, h + uniform(rng, 0.05, 0.15)), x, "ellipsoid")
            for x, y in lumps
        ),
        *(block(fabric(rng), w / 2.3, (0.08, 0.55), (h - 0.05, h + 0.18), x, "ellipsoid") for x in pillows),
        *items(rng, w * 0.6, (fold + 0.2, d - 0.3), h + 0.03, 0.15, sparse=1),
    ]


def sofa(rng: Rng) -> list[Box]:
    cloth, seats = fabric(rng), 1 + int(rng.random() * 3)
    w, d, h, arm = 0.7 * seats, uniform(rng, 0.8, 0.95), uniform(rng, 0.38, 0.45), uniform(rng, 0.12, 0.22)
    return [
        block(cloth, w + 2 * arm, (0, d), (0.0, h - 0.13)),
        block(cloth, w + 2 * arm, (0, 0.22), (h - 0.13, h + uniform(rng, 0.35, 0.5))),
        *(block(cloth, arm, (0.22, d), (h - 0.13, h + 0.2), side * (w + arm) / 2) for side in (-1, 1)),
        *(block(cloth, 0.68, (0.22, d + 0.02), (h - 0.13, h), x) for x in row(seats, 0.7)),
        *(
            block(fabric(rng), 0.45, (0.2, 0.42), (h - 0.02, h + 0.4), x, pick(rng, ("box", "ellipsoid")))
            for x in row(seats, 0.7)
            if rng.random() < 0.6
        ),
    ]


def shelf(rng: Rng, width: Span = (0.6, 1.6)) -> list[Box]:
    surface, w, d = wood(rng), uniform(rng, *width), uniform(rng, 0.25, 0.4)
    rise, boards, sparse = uniform(rng, 0.28, 0.4), 2 + int(rng.random() * 6), uniform(rng, 0.1, 0.9)
    h = rise * boards
    boxes = [
        *(block(surface, 0.03, (0, d), (0, h), side * (w - 0.03) / 2) for side in (-1, 1)),
        block(surface, w, (0, 0.01), (0, h)),
        *(block(surface, w, (0, d), (max(0, k * rise - 0.025), max(0.06, k * rise))) for k in range(boards + 1)),
    ]
    for k in range(boards):
        boxes += items(rng, w - 0.08, (0.02, d), max(0.06, k * rise), rise - 0.07, sparse=sparse)
    return boxes + items(rng, w, (0.02, d), h, 0.35) if h < 1.6 else boxes


def kitchen(rng: Rng) -> list[Box]:
    w, counter, upper = uniform(rng, 1.6, 3.8), stone(rng), uniform(rng, 1.33, 1.45)
    count, fridge = int(w / uniform(rng, 0.36, 0.6)), uniform(rng, 0.62, 0.9)
    boxes = [
        *cupboards(rng, count, w / count, (0, 0.58), (0, 0.87), pick(rng, (1, 1, 3))),
        block(counter, w, (0, 0.62), (0.87, 0.91)),
        block(tiles(rng), w, (0, 0.01), (0.91, upper)),
        block(BLACK, 0.56, (0.58, 0.605), (0.12, 0.8), pick(rng, (-0.5, 0.5)) * (w - 0.6)),
        *items(rng, w - 0.1, (0.05, 0.55), 0.91, 0.35),
        *cupboards(rng, count, w / count, (0, 0.33), (upper, upper + uniform(rng, 0.55, 0.85))),
    ]
    if rng.random() < 0.6:
        boxes += cupboards(rng, 1, fridge, (0, 0.68), (0, uniform(rng, 1.55, 1.85)), 2, (w + fridge) / 2 + 0.02)
    return boxes


def island(rng: Rng) -> list[Box]:
    """Build a kitchen island or a bar: cupboards on one side, on the other a counter that may project over stools."""
    count, counter, h, jut = 2 + int(rng.random() * 4), stone(rng), uniform(rng, 0.88, 1.05), uniform(rng, 0.05, 0.4)
    w, d = 0.6 * count, uniform(rng, 0.6, 0.75)
    boxes = [
        *cupboards(rng, count, 0.6, (0, d), (0, h - 0.04)),
        block(counter, w + 0.06, (-jut, d + 0.04), (h - 0.04, h)),
        *items(rng, w, (0.0, d - 0.05), h, 0.4, sparse=1),
    ]
    if jut > 0.2:
        seat = _swivel(rng)
        boxes += [shifted(box, x, -jut - 0.35) for x in row(count, 0.6) for box in seat]
    return boxes


def aisle(rng: Rng) -> list[Box]:
    """Build two high shelves back to back, as in shops and libraries."""
    front = shelf(rng, (1.2, 3.5))
    return [*front, *(turned(box, 0.0, -0.002) for box in front)]


def wardrobe(rng: Rng) -> list[Box]:
    height = uniform(rng, 1.6, 2.2)
    return cupboards(rng, 1 + int(rng.random() * 4), uniform(rng, 0.4, 0.6), (0, uniform(rng, 0.35, 0.6)), (0, height))


def chest(rng: Rng) -> list[Box]:
    count, unit = 1 + int(rng.random() * 3), uniform(rng, 0.4, 0.6)
    d, h = uniform(rng, 0.35, 0.5), uniform(rng, 0.4, 1.0)
    boxes = cupboards(rng, count, unit, (0, d), (0, h), 1 + int(rng.random() * 4))
    if h < 0.8 and count > 1 and rng.random() < 0.6:
        return [*boxes, block(BLACK, count * unit * 0.9, (0.15, 0.2), (h, h + count * unit * 0.5))]
    return boxes + items(rng, count * unit, (0.02, d), h, 0.4)


def bath(rng: Rng) -> list[Box]:
    w, d, h, white = uniform(rng, 1.3, 1.7), uniform(rng, 0.65, 0.75), uniform(rng, 0.5, 0.6), Material(*WHITE)
    return [
        *(block(white, 0.06, (0, d), (0, h), side * (w - 0.06) / 2) for side in (-1, 1)),
        *(block(white, w, y, (0, h)) for y in ((0, 0.06), (d - 0.06, d))),
        block(white, w, (0, d), (0, 0.15)),
    ]


def toilet(rng: Rng) -> list[Box]:
    white, d = Material(*WHITE), uniform(rng, 0.6, 0.7)
    return [
        block(white, 0.24, (0.1, d - 0.15), (0, 0.3), shape="cylinder"),
        block(white, 0.37, (0.15, d), (0.12, 0.5), shape="ellipsoid"),
        block(white, 0.38, (0.14, d), (0.38, 0.43), shape="cylinder"),
        block(white, 0.4, (0, 0.18), (0.35, 0.8)),
    ]


def basin(rng: Rng) -> list[Box]:
    count, d, h = 1 + int(rng.random() * 2), uniform(rng, 0.45, 0.58), uniform(rng, 0.78, 0.94)
    w, counter, white = count * uniform(rng, 0.6, 0.9), stone(rng), Material(*WHITE)
    xs = [x / count for x in row(count, w)]
    return [
        *cupboards(rng, count * 2, w / count / 2, (0, d - 0.03), (0, h - 0.04)),
        block(counter, w + 0.04, (0, d), (h - 0.04, h)),
        *(block(white, 0.42, (0.1, d - 0.04), (h - 0.02, h + 0.06), x, "ellipsoid") for x in xs),
        *(disc(STEEL, 0.03, 0.06, (h, h + 0.2), x) for x in xs),
        *items(rng, w, (0.03, 0.2), h, 0.25),
        *framed(rng, mirror_glass(rng), w * uniform(rng, 0.6, 1), (h + 0.2, h + uniform(rng, 0.8, 1.1)), 0.03),
    ]
