"""Endless furnished rooms: a photo and its exact depth from a seed."""

from collections.abc import Sequence

import numpy as np

from src.choices import SPLITS
from src.conventions import NYU_INTRINSICS, Frame, Intrinsics
from src.rooms.ablation import REMOVALS
from src.rooms.exposure import Exposure
from src.rooms.fittings import door, picture, switch, window
from src.rooms.furniture import basin
from src.rooms.kernels.compilation import Vec3
from src.rooms.lighting import Lamp, Room, render
from src.rooms.parts import WHITE, block
from src.rooms.placing import HEIGHT_M, Bounds, choose_camera, clearance, place_piece
from src.rooms.raycast import Piece
from src.rooms.shell import build_shell
from src.rooms.textures import Material, Rng, pick, tiles, uniform, wall
from src.rooms.themes import FREE, THEMES, Draw

VERSION = 6  # increase it when a seed gives other bytes than before: caches and published figures depend on it
MOST_PIECES = 60


class RoomPairs:
    """Generated rooms as frames; the splits share no room, and item i depends only on split, seed and i.

    `without` leaves out an ingredient.
    """

    def __init__(
        self,
        count: int,
        *,
        split: str = "train",
        seed: int = 0,
        intrinsics: Intrinsics = NYU_INTRINSICS,
        without: str | None = None,
    ) -> None:
        self._key, self._seed = (VERSION, SPLITS.index(split)), seed
        self._without = without
        self.names: Sequence[str] = [f"rooms/{split}/{index:06d}" for index in range(count)]
        self.scenes = self.names
        options = f" without {without}" if without else ""
        self.fingerprint = f"rooms version={VERSION} count={count} split={split} seed={seed} {intrinsics}{options}"
        self.identity, self.keys = self.fingerprint, list[str]()
        self.cameras, self.summary = [intrinsics], ""

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Frame:
        if not 0 <= index < len(self):
            raise IndexError(f"rooms: got index {index}, expected 0 to {len(self) - 1}")
        # A large seed takes several words of entropy, so it comes last: no two keys give the same words.
        stream = np.random.SeedSequence((*self._key, index, self._seed))
        room = make_room(np.random.Generator(np.random.PCG64(stream)))
        if self._without:
            room = REMOVALS[self._without](room)
        return render(room, self.cameras[0])


def make_room(rng: Rng) -> Room:
    """Draw a room: size, theme, lamps, pieces wherever they fit, and a view of them."""
    theme = pick(rng, THEMES)
    a, b = (uniform(rng, *span) for span in theme.sides_m)
    size = (*pick(rng, ((a, b), (b, a))), uniform(rng, 2.3, 2.7 + 0.06 * (a + b)))
    walls = tiles(rng) if basin in theme.required and rng.random() < 0.7 else wall(rng)
    shell, openings = build_shell(rng, size, walls)
    free_place = uniform(rng, 0.35, size[0] - 0.35), uniform(rng, 0.35, size[1] - 0.35)
    taken = [*(opening.before for opening in openings), clearance((*free_place, HEIGHT_M[0]), up_to=size[2])]
    lamps, pieces = _hang_lamps(rng, size)
    for x, y, z in (lamp.position for lamp in lamps):
        # A lamp inside a wardrobe would light nothing.
        taken.append(((x - 0.2, y - 0.2, z - 0.2), (x + 0.2, y + 0.2, size[2])))

    draws: list[Draw] = [door, *theme.required, switch, switch]
    if rng.random() < 0.3:
        draws.insert(0, lambda rng: [block(walls, uniform(rng, 0.3, 1.2), (0, uniform(rng, 0.2, 0.8)), (0, size[2]))])
    draws += [pick(rng, (picture, picture, window)) for _ in range(1 + int(rng.random() * 3))]
    draws += [pick(rng, theme.optional) for _ in range(16 + int(rng.random() * (10 + 1.5 * size[0] * size[1])))]
    for draw in draws[: MOST_PIECES - len(pieces)]:
        against_wall = draw not in FREE or rng.random() < 0.3
        piece = place_piece(rng, tuple(draw(rng)), size, taken, against_wall=against_wall)
        if piece:
            pieces.append(piece)
            taken.append(piece.bounds)
    camera = choose_camera(rng, size, pieces, free_place)
    for opening in openings:
        pieces += _furnish(rng, theme.optional, opening.beyond)
    level = uniform(rng, 0.08, 0.35)
    red, green, blue = (level * uniform(rng, 0.9, 1.0) * (0.4 + 0.6 * c) for c in walls.colour)
    exposure, softness = _draw_exposure(rng), uniform(rng, 0, 0.03)
    return Room(size, shell, tuple(pieces), lamps, (red, green, blue), camera, exposure, softness)


def _furnish(rng: Rng, draws: Sequence[Draw], bounds: Bounds) -> list[Piece]:
    """Place some pieces in the next room."""
    (x, y, _), high = bounds
    size, pieces = (high[0] - x, high[1] - y, high[2]), list[Piece]()
    for _ in range(6):
        draw, taken = pick(rng, draws), [piece.bounds for piece in pieces]
        piece = place_piece(rng, tuple(draw(rng)), size, taken, against_wall=draw not in FREE)
        if piece:
            pieces.append(piece)
    return [piece.moved((piece.origin[0] + x, piece.origin[1] + y, 0.0), piece.yaw_deg) for piece in pieces]


def _hang_lamps(rng: Rng, size: Vec3) -> tuple[tuple[Lamp, ...], list[Piece]]:
    """Draw one to three lamps below the ceiling, some under a visible fixture."""
    count, warmth = 1 + int(rng.random() * 3), uniform(rng, 0.6, 1.0)
    lamps, fixtures = [], []
    for _ in range(count):
        x, y = size[0] * uniform(rng, 0.2, 0.8), size[1] * uniform(rng, 0.2, 0.8)
        power = uniform(rng, 1.2, 3.0) * (0.6 + 0.05 * size[0] * size[1]) / count
        z = size[2] - uniform(rng, 0.2, 0.5)
        lamps.append(Lamp((x, y, z), (power, power * (0.5 + 0.5 * warmth), power * warmth)))
        if rng.random() < 0.6:
            side = uniform(rng, 0.15, min(0.7, 0.38 * min(size[:2])))
            fixture = block(Material(*WHITE, emission=5.0), side, (-side / 2, side / 2), (-0.06, 0.0))
            fixtures.append(Piece((fixture,), (x, y, size[2])))
    return tuple(lamps), fixtures


def _draw_exposure(rng: Rng) -> Exposure:
    moving = rng.random() < 0.3
    right, down = (uniform(rng, -0.01, 0.01) * moving for _ in range(2))
    return Exposure(
        brightness=uniform(rng, 0.03, 0.16),
        balance=(uniform(rng, 0.85, 1.5), 1.0, uniform(rng, 0.8, 1.45)),
        saturation=uniform(rng, 0.45, 1.0),
        vignetting=uniform(rng, 0.0, 0.4),
        contrast=uniform(rng, 0.3, 1.0),
        black=uniform(rng, 0.0, 0.15),
        white=uniform(rng, 0.75, 1.0),
        blur=uniform(rng, 0.0, 0.2),
        grain=uniform(rng, 0.005, 0.03),
        border=0.01 if rng.random() < 0.5 else 0.0,
        motion=(right, down),
        quality=50 + int(rng.random() * 51),
        seed=int(rng.random() * 2**31),
    )
