"""Rooms without one of their ingredients, to measure what it brings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from src.rooms.exposure import Film
from src.rooms.lighting import Room
from src.rooms.raycast import Box, Piece
from src.rooms.textures import Material

CLUTTER_M = 0.35
"""Whatever is smaller than this along all its sides is clutter: books, bottles, handles, switches."""


def leave_out(room: Room, ingredient: str) -> Room:
    """Take one of `INGREDIENTS` out of a room; all else stays as it is."""
    return INGREDIENTS[ingredient](room)


def _without_furniture(room: Room) -> Room:
    return replace(room, pieces=())


def _without_clutter(room: Room) -> Room:
    tidied = [tuple(box for box in piece.boxes if not _is_clutter(box)) for piece in room.pieces]
    kept = [replace(piece, boxes=boxes) for piece, boxes in zip(room.pieces, tidied, strict=True) if boxes]
    return replace(room, pieces=tuple(kept))


def _is_clutter(box: Box) -> bool:
    return all(high - low < CLUTTER_M for low, high in zip(box.low, box.high, strict=True))


def _without_round_shapes(room: Room) -> Room:
    return _change_boxes(room, lambda box: box._replace(shape="box"))


def _without_patterns(room: Room) -> Room:
    """Paint every box in one dull colour."""

    def paint(box: Box) -> Box:
        return box._replace(material=Material(box.material.colour, box.material.colour, glow=box.material.glow))

    return _change_boxes(room, paint)


def _without_lamps(room: Room) -> Room:
    """Light it evenly: no falloff, no shadow, no highlight."""
    return replace(room, lamps=(), ambient=(1.0, 1.0, 1.0))


def _without_film(room: Room) -> Room:
    """Expose evenly, with true colours, and sharply: no noise, no file."""
    neutral = Film(brightness=0.09, balance=(1, 1, 1), vignetting=0, contrast=0.6, blur=0, grain=0, seed=0)
    return replace(room, film=neutral)


def _without_gaze(room: Room) -> Room:
    """Look anywhere, not at furniture from as far as people do."""
    return replace(room, camera=replace(room.camera, heading_deg=float(room.film.seed % 360)))


def _change_boxes(room: Room, change: Callable[[Box], Box]) -> Room:
    shell, *pieces = (_change(piece, change) for piece in (room.shell, *room.pieces))
    return replace(room, shell=shell, pieces=tuple(pieces))


def _change(piece: Piece, change: Callable[[Box], Box]) -> Piece:
    return replace(piece, boxes=tuple(map(change, piece.boxes)))


INGREDIENTS: dict[str, Callable[[Room], Room]] = {
    "furniture": _without_furniture,
    "clutter": _without_clutter,
    "round": _without_round_shapes,
    "patterns": _without_patterns,
    "lamps": _without_lamps,
    "film": _without_film,
    "gaze": _without_gaze,
}
