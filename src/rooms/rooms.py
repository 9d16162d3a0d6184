"""Endless furnished rooms: a photo and its exact depth from nothing but a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from src.choices import SPLITS
from src.conventions import NYU_INTRINSICS, Frame, Intrinsics, UserError
from src.rooms.ablation import leave_out
from src.rooms.exposure import Film
from src.rooms.fittings import door, picture, switch, window
from src.rooms.furniture import basin
from src.rooms.lighting import Lamp, Room, render
from src.rooms.parts import WHITE, Rng, Span, block
from src.rooms.placing import GAP_M, Bounds, place
from src.rooms.raycast import Box, Piece, Vec3
from src.rooms.textures import Material, between, floor, pick, tiles, wall, wood
from src.rooms.themes import FREE, THEMES, Draw
from src.rooms.viewpoint import HIGH_M, body, look

VERSION = 6
"""Raise it whenever a seed gives other bytes than before: caches and published figures depend on it."""


MOST_PIECES = 60
WALL_THICKNESS_M = 0.2


class RoomPairs:
    """Generated rooms as frames; the splits share no room, and item i depends on nothing but its number.

    With `holes`, depth is valid only where a Kinect would measure it; `without` leaves an ingredient out.

    **Raises**: UserError for a split other than `SPLITS`, or a negative count or seed.
    """

    def __init__(
        self,
        count: int,
        *,
        split: str = "train",
        seed: int = 0,
        intrinsics: Intrinsics = NYU_INTRINSICS,
        holes: bool = False,
        without: str | None = None,
    ) -> None:
        if split not in SPLITS:
            raise UserError(f"rooms: got the split {split!r}, expected one of {', '.join(SPLITS)}.")
        if count < 0 or seed < 0:
            raise UserError(f"rooms: got count {count} and seed {seed}, expected neither below 0.")
        self._key = VERSION, SPLITS.index(split)
        self._seed = seed
        self._intrinsics = intrinsics
        self._holes = holes
        self._without = without
        self.names: Sequence[str] = [f"rooms/{split}/{index:06d}" for index in range(count)]
        self.scenes: Sequence[str] = self.names
        self.fingerprint = f"rooms version={VERSION} count={count} split={split} seed={seed} {intrinsics}"
        if holes:
            self.fingerprint += " holes"
        if without:
            self.fingerprint += f" without {without}"
        self.identity = self.fingerprint

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
        room = make_room(np.random.Generator(np.random.PCG64(stream)))
        if self._without:
            room = leave_out(room, self._without)
        return render(room, self._intrinsics, holes=self._holes)


def make_room(rng: Rng) -> Room:
    """Draw a room: its size and use, the lamps, pieces wherever they still fit, and a view of them."""
    theme = pick(rng, THEMES)
    one, other = (between(rng, *span) for span in theme.sides_m)
    size = (*pick(rng, ((one, other), (other, one))), between(rng, 2.3, 2.7 + 0.06 * (one + other)))
    walls = tiles(rng) if basin in theme.needed and rng.random() < 0.7 else wall(rng)
    shell, openings = _shell(rng, size, walls)
    stand = between(rng, 0.35, size[0] - 0.35), between(rng, 0.35, size[1] - 0.35)
    taken = [*(before for before, _ in openings), body((*stand, HIGH_M[0]), up_to=size[2])]
    lamps, pieces = _hang_lamps(rng, size)
    for x, y, z in (lamp.position for lamp in lamps):
        # A lamp inside a wardrobe would light nothing.
        taken.append(((x - 0.2, y - 0.2, z - 0.2), (x + 0.2, y + 0.2, size[2])))

    draws: list[Draw] = [door, *theme.needed, switch, switch]
    if rng.random() < 0.3:
        draws.insert(0, lambda rng: [block(walls, between(rng, 0.3, 1.2), (0, between(rng, 0.2, 0.8)), (0, size[2]))])
    draws += [pick(rng, (picture, picture, window)) for _ in range(1 + int(rng.random() * 3))]
    draws += [pick(rng, theme.menu) for _ in range(16 + int(rng.random() * (10 + 1.5 * size[0] * size[1])))]
    for draw in draws[: MOST_PIECES - len(pieces)]:
        against_wall = draw not in FREE or rng.random() < 0.3
        piece = place(rng, tuple(draw(rng)), size, taken, against_wall=against_wall)
        if piece:
            pieces.append(piece)
            taken.append(piece.bounds)
    camera = look(rng, size, pieces, stand)
    for _, beyond in openings:
        pieces += _furnish(rng, theme.menu, beyond)
    level = between(rng, 0.08, 0.35)
    red, green, blue = (level * between(rng, 0.9, 1.0) * (0.4 + 0.6 * c) for c in walls.colour)
    return Room(size, shell, tuple(pieces), lamps, (red, green, blue), camera, _load_film(rng), between(rng, 0, 0.03))


def _furnish(rng: Rng, menu: Sequence[Draw], bounds: Bounds) -> list[Piece]:
    """Put some pieces into the next room, as far as it is built."""
    (x, y, _), high = bounds
    size, pieces = (high[0] - x, high[1] - y, high[2]), list[Piece]()
    for _ in range(6):
        draw = pick(rng, menu)
        piece = place(rng, tuple(draw(rng)), size, [each.bounds for each in pieces], against_wall=draw not in FREE)
        if piece:
            pieces.append(piece)
    return [piece.put((piece.origin[0] + x, piece.origin[1] + y, 0.0), piece.yaw_deg) for piece in pieces]


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


def _shell(rng: Rng, size: Vec3, walls: Material) -> tuple[Piece, list[tuple[Bounds, Bounds]]]:
    """Close the room: floor, ceiling, walls of which one may be another colour, two may open into the next rooms.

    Also return of each opening what must stay free of furniture, so that it can be seen, and the room behind it.
    """
    (w, d, h), t, ground = size, WALL_THICKNESS_M, floor(rng)
    accent = wall(rng) if rng.random() < 0.25 else walls
    white = Material(*WHITE, size_m=1.0)
    panels = Material(*WHITE, "tiles", 0.6)
    boxes = [
        Box((-t, -t, -t), (w + t, d + t, 0), tiles(rng) if walls.pattern == "tiles" else ground),
        Box((-t, -t, h), (w + t, d + t, h + t), panels if w * d > 16 and rng.random() < 0.4 else white),
    ]
    opened, openings = {int(rng.random() * 8), int(rng.random() * 8)} & set(range(4)), []
    for side in range(4):
        surface = accent if side == 1 else walls
        if side in opened:
            parts, before, beyond = _open(rng, size, side, surface, white, wider=len(opened) == 1)
            boxes += parts
            openings.append((before, beyond))
        else:
            boxes.append(_across(size, side, (0, t), (-t, size[1 - side // 2] + t), (0, h), surface))
    if rng.random() < 0.7:
        # Thinner than the gap behind furniture, so that they do not cut into it.
        top, edge, trim = between(rng, 0.05, 0.12), 0.8 * GAP_M, pick(rng, (white, wood(rng)))
        boxes += [
            _across(size, side, (-edge, 0), (0, size[1 - side // 2]), (0, top), trim)
            for side in range(4)
            if side not in opened
        ]
    return Piece(tuple(boxes)), openings


def _across(size: Vec3, side: int, out: Span, along: Span, z: Span, surface: Material) -> Box:
    """Cut a box at a wall, so far out of the room, so far along it. Sides 0 to 3 are x = 0, x = w, y = 0, y = d."""
    axis = side // 2
    reach = sorted(size[axis] + each if side % 2 else -each for each in out)
    x, y = (reach, along) if axis == 0 else (along, reach)
    return Box((x[0], y[0], z[0]), (x[1], y[1], z[1]), surface)


def _open(
    rng: Rng, size: Vec3, side: int, surface: Material, white: Material, *, wider: bool
) -> tuple[list[Box], Bounds, Bounds]:
    """Build a wall with a doorway or a wide opening, and the room behind it; also what stays free before it.

    The next room may be wider than this one, unless two of them would then cut into each other.
    """
    length, h, t = size[1 - side // 2], size[2], WALL_THICKNESS_M
    half = min(pick(rng, (0.42, 0.48, between(rng, 0.5, 1.6))), 0.4 * length)
    middle, top = between(rng, half, length - half), pick(rng, (2.05, 2.05, h - 0.15))
    low, high, far = middle - half - between(rng, 0, 2), middle + half + between(rng, 0, 2), between(rng, 1.0, 5.0)
    if not wider:
        low, high = max(low, 0.0), min(high, length)
    other = replace(wall(rng), glow=between(rng, 0, 0.3))
    part = partial(_across, size, side)
    boxes = [
        part((0, t), (-t, middle - half), (0, h), surface),
        part((0, t), (middle + half, length + t), (0, h), surface),
        part((0, t), (middle - half, middle + half), (top, h), surface),
        part((0, far), (low, high), (-t, 0), floor(rng)),
        part((0, far), (low, high), (h, h + t), white),
        part((t, far), (low - t, low), (0, h), other),
        part((t, far), (high, high + t), (0, h), other),
        part((far, far + t), (low - t, high + t), (0, h), other),
    ]
    before = part((-0.5, 0), (middle - half, middle + half), (0, top), white)
    beyond = part((t, far), (low, high), (0, h), white)
    return boxes, (before.low, before.high), (beyond.low, beyond.high)


def _load_film(rng: Rng) -> Film:
    shaken = rng.random() < 0.3
    right, down = (between(rng, -0.01, 0.01) * shaken for _ in range(2))
    return Film(
        brightness=between(rng, 0.03, 0.16),
        balance=(between(rng, 0.85, 1.5), 1.0, between(rng, 0.8, 1.45)),
        saturation=between(rng, 0.45, 1.0),
        vignetting=between(rng, 0.0, 0.4),
        contrast=between(rng, 0.3, 1.0),
        black=between(rng, 0.0, 0.15),
        white=between(rng, 0.75, 1.0),
        blur=between(rng, 0.0, 0.2),
        grain=between(rng, 0.005, 0.03),
        border=0.01 if rng.random() < 0.5 else 0.0,
        motion=(right, down),
        quality=50 + int(rng.random() * 51),
        seed=int(rng.random() * 2**31),
    )
