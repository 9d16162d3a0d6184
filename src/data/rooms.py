"""Endless furnished rooms: a photo and its exact depth from nothing but a seed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from src.conventions import NYU_INTRINSICS, Intrinsics, UserError
from src.data.frame import Frame
from src.data.furniture import FREE, THEMES, WHITE, Draw, Rng, bath, block, door, picture, window
from src.data.lighting import Lamp, Room, render
from src.data.raycast import Box, Camera, Piece, Vec3
from src.data.textures import Film, Material, between, floor, pick, tiles, wall, wood

VERSION = 1
"""Raise it whenever a seed gives other bytes than before: caches and published figures depend on it."""

SPLITS = ("train", "val", "test")

MOST_PIECES = 16
WALL_THICKNESS_M = 0.2
GAP_M = 0.005
"""Between furniture and walls, and between one piece and the next."""

VIEW_M = 1.7
"""A camera that meets a wall sooner is placed anew, some times over; a bathroom may have no such place."""

Bounds = tuple[Vec3, Vec3]


class RoomPairs:
    """Generated rooms as frames; the splits share no room, and item i depends on nothing but its number.

    **Raises**: UserError for a split other than `SPLITS`, or a negative count or seed.
    """

    def __init__(
        self, count: int, *, split: str = "train", seed: int = 0, intrinsics: Intrinsics = NYU_INTRINSICS
    ) -> None:
        if split not in SPLITS:
            raise UserError(f"rooms: got the split {split!r}, expected one of {', '.join(SPLITS)}.")
        if count < 0 or seed < 0:
            raise UserError(f"rooms: got count {count} and seed {seed}, expected neither below 0.")
        self._key = VERSION, SPLITS.index(split)
        self._seed = seed
        self._intrinsics = intrinsics
        self.names: Sequence[str] = [f"rooms/{split}/{index:06d}" for index in range(count)]
        self.scenes: Sequence[str] = self.names
        self.fingerprint = f"rooms version={VERSION} count={count} split={split} seed={seed} {intrinsics}"

    def __len__(self) -> int:
        return len(self.names)

    def encoding(self, index: int) -> str:
        """Say how the depth of one frame is stored."""
        return "rendered in metres"

    def __getitem__(self, index: int) -> Frame:
        if not 0 <= index < len(self):
            raise IndexError(f"rooms: got index {index}, expected 0 to {len(self) - 1}")
        # The seed may fill more than one word, so it comes last: no two keys spell the same words.
        stream = np.random.SeedSequence((*self._key, index, self._seed))
        return render(make_room(np.random.Generator(np.random.PCG64(stream))), self._intrinsics)


def make_room(rng: Rng) -> Room:
    """Draw a room: its size and use, the camera, the lamps, then pieces wherever they still fit."""
    (shortest, longest), needed, menu = pick(rng, THEMES)
    size = between(rng, shortest, longest), between(rng, shortest, longest), between(rng, 2.3, 3.2)
    walls = tiles(rng) if bath in needed and rng.random() < 0.7 else wall(rng)
    camera, taken = _stand(rng, size)
    lamps, pieces = _hang_lamps(rng, size)
    for x, y, z in (lamp.position for lamp in lamps):
        # A lamp inside a wardrobe would light nothing.
        taken.append(((x - 0.2, y - 0.2, z - 0.2), (x + 0.2, y + 0.2, size[2])))

    draws: list[Draw] = [door, *needed]
    if rng.random() < 0.3:
        draws.insert(0, lambda rng: [block(walls, between(rng, 0.3, 1.2), (0, between(rng, 0.2, 0.8)), (0, size[2]))])
    draws += [pick(rng, (picture, picture, window)) for _ in range(1 + int(rng.random() * 3))]
    draws += [pick(rng, menu) for _ in range(5 + int(rng.random() * (2 + size[0] * size[1] / 2)))]
    for draw in draws[: MOST_PIECES - len(pieces)]:
        piece = _place(rng, tuple(draw(rng)), size, taken, against_wall=draw not in FREE or rng.random() < 0.3)
        if piece:
            pieces.append(piece)
            taken.append(piece.bounds())
    level = between(rng, 0.08, 0.35)
    red, green, blue = (level * between(rng, 0.9, 1.0) * (0.4 + 0.6 * c) for c in walls.colour)
    return Room(size, _shell(rng, size, walls), tuple(pieces), lamps, (red, green, blue), camera, _load_film(rng))


def _stand(rng: Rng, size: Vec3) -> tuple[Camera, list[Bounds]]:
    """Stand near a wall or a corner, look inwards, and keep free that place and the start of the view."""
    for _ in range(6):
        near, along = between(rng, 0.06, 0.3), between(rng, 0.12, 0.88)
        share = pick(rng, ((near, along), (1 - near, along), (along, near), (along, 1 - near)))
        x, y = (min(max(s * side, 0.3), side - 0.3) for s, side in zip(share, size, strict=False))
        target = size[0] * between(rng, 0.2, 0.8), size[1] * between(rng, 0.2, 0.8)
        # Rounding hides the last bit of a machine's atan2.
        heading = round(math.degrees(math.atan2(target[1] - y, target[0] - x)), 3) + between(rng, -12, 12)
        camera = Camera((x, y, between(rng, 0.9, 1.75)), heading, between(rng, 5, 25), between(rng, -3, 3))
        ahead_x, ahead_y, _ = camera.axes()[2]
        if 0 < x + ahead_x * VIEW_M < size[0] and 0 < y + ahead_y * VIEW_M < size[1]:
            break
    body, reach = min(0.35, 0.13 * min(size[:2])), min(0.75, 0.3 * min(size[:2]))
    x2, y2 = x + ahead_x * reach, y + ahead_y * reach
    return camera, [
        ((x - body, y - body, 0.0), (x + body, y + body, size[2])),
        ((x2 - 0.3, y2 - 0.3, 0.45), (x2 + 0.3, y2 + 0.3, size[2])),
    ]


def _hang_lamps(rng: Rng, size: Vec3) -> tuple[tuple[Lamp, ...], list[Piece]]:
    """Hang one to three lamps below the ceiling, some under a fixture that shows."""
    count, warmth = 1 + int(rng.random() * 3), between(rng, 0.6, 1.0)
    lamps, fixtures = [], []
    for _ in range(count):
        x, y = size[0] * between(rng, 0.2, 0.8), size[1] * between(rng, 0.2, 0.8)
        power = between(rng, 1.2, 3.0) * (0.6 + 0.05 * size[0] * size[1]) / count
        below = size[2] - between(rng, 0.2, 0.5)
        lamps.append(Lamp((x, y, below), (power, power * (0.5 + 0.5 * warmth), power * warmth)))
        if rng.random() < 0.6:
            side = between(rng, 0.15, min(0.7, 0.38 * min(size[:2])))
            fixture = block(Material(*WHITE, glow=5.0), side, (-side / 2, side / 2), (-0.06, 0.0))
            fixtures.append(Piece((fixture,), (x, y, size[2])))
    return tuple(lamps), fixtures


def _place(
    rng: Rng, boxes: tuple[Box, ...], size: Vec3, taken: Sequence[Bounds], *, against_wall: bool
) -> Piece | None:
    """Try some places; None when the piece fits in none of them."""
    for _ in range(12):
        side = int(rng.random() * 4)
        yaw = side * 90.0 if against_wall else between(rng, 0, 360)
        if boxes[0].low[2] == 0 and rng.random() < 0.25:
            yaw += between(rng, -5, 5)
        low, high = Piece(boxes, yaw_deg=yaw).bounds()
        spare = [length - (b - a) - 2 * GAP_M for a, b, length in zip(low, high, size, strict=True)][:2]
        if min(spare) < 0 or high[2] > size[2]:
            continue
        share = [rng.random(), rng.random()]
        if against_wall:
            # A piece's back is its own y = 0: unturned it stands at the wall y = 0, turned once at x = size[0].
            share[1 - side % 2] = (0.0, 1.0, 1.0, 0.0)[side]
        x, y = (GAP_M + s * free - a for s, free, a in zip(share, spare, low, strict=False))
        piece = Piece(boxes, (x, y, 0.0), yaw)
        if not any(_overlap(piece.bounds(), other) for other in taken):
            return piece
    return None


def _overlap(one: Bounds, other: Bounds) -> bool:
    return all(one[0][k] < other[1][k] + GAP_M and other[0][k] < one[1][k] + GAP_M for k in range(3))


def _shell(rng: Rng, size: Vec3, walls: Material) -> Piece:
    """Close the room: floor, ceiling, four walls of which one may be another colour, skirting."""
    (w, d, h), t, ground = size, WALL_THICKNESS_M, floor(rng)
    accent = wall(rng) if rng.random() < 0.25 else walls
    white = Material(*WHITE, size_m=1.0)
    boxes = [
        Box((-t, -t, -t), (w + t, d + t, 0), tiles(rng) if walls.pattern == "tiles" else ground),
        Box((-t, -t, h), (w + t, d + t, h + t), white),
        *(Box((x, -t, 0), (x + t, d + t, h), m) for x, m in ((-t, walls), (w, accent))),
        *(Box((-t, y, 0), (w + t, y + t, h), walls) for y in (-t, d)),
    ]
    if rng.random() < 0.7:
        # Thinner than the gap behind furniture, so that they do not cut into it.
        top, edge, trim = between(rng, 0.05, 0.12), 0.8 * GAP_M, pick(rng, (white, wood(rng)))
        boxes += [Box((x, 0, 0), (x + edge, d, top), trim) for x in (0, w - edge)]
        boxes += [Box((0, y, 0), (w, y + edge, top), trim) for y in (0, d - edge)]
    return Piece(tuple(boxes))


def _load_film(rng: Rng) -> Film:
    return Film(
        brightness=between(rng, 0.04, 0.2),
        balance=(between(rng, 0.85, 1.5), 1.0, between(rng, 0.8, 1.45)),
        vignetting=between(rng, 0.0, 0.4),
        contrast=between(rng, 0.3, 1.0),
        blur=between(rng, 0.05, 0.22),
        grain=between(rng, 0.005, 0.03),
        seed=int(rng.random() * 2**31),
    )
