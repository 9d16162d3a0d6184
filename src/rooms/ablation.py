"""Rooms without one ingredient, to measure what it contributes."""

from collections.abc import Callable
from dataclasses import replace

from src.rooms.exposure import Exposure
from src.rooms.lighting import Room
from src.rooms.raycast import Box, Piece
from src.rooms.textures import Material

CLUTTER_M = 0.35  # boxes smaller than this along all sides are clutter: books, bottles, handles, switches
PERFECT = Exposure(brightness=0.09, balance=(1, 1, 1), vignetting=0, contrast=0.6, blur=0, grain=0, seed=0)
"""True colours, no blur, no noise, no compression."""


def _without_clutter(room: Room) -> Room:
    def is_large(box: Box) -> bool:
        return any(high - low >= CLUTTER_M for low, high in zip(box.low, box.high, strict=True))

    pieces = [replace(piece, boxes=tuple(filter(is_large, piece.boxes))) for piece in room.pieces]
    return replace(room, pieces=tuple(piece for piece in pieces if piece.boxes))


def _paint_plain(box: Box) -> Box:
    """Give a box one matt colour."""
    return box._replace(material=Material(box.material.colour, box.material.colour, emission=box.material.emission))


def _change_boxes(room: Room, change: Callable[[Box], Box]) -> Room:
    def changed(piece: Piece) -> Piece:
        return replace(piece, boxes=tuple(map(change, piece.boxes)))

    return replace(room, shell=changed(room.shell), pieces=tuple(map(changed, room.pieces)))


REMOVALS: dict[str, Callable[[Room], Room]] = {
    "furniture": lambda room: replace(room, pieces=()),
    "clutter": _without_clutter,
    "round": lambda room: _change_boxes(room, lambda box: box._replace(shape="box")),
    "patterns": lambda room: _change_boxes(room, _paint_plain),
    "lamps": lambda room: replace(room, lamps=(), ambient=(1.0, 1.0, 1.0)),
    "film": lambda room: replace(room, exposure=PERFECT),
    "gaze": lambda room: replace(room, camera=replace(room.camera, heading_deg=float(room.exposure.seed % 360))),
}
"""What `--without` leaves out; everything else stays as it is. Without `gaze`, the camera's heading is random."""
