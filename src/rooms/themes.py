"""Themes of rooms: their size, the pieces they must have and those they may have."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from src.rooms.fittings import (
    assembly,
    basket,
    board,
    cartons,
    clutter,
    door,
    garment,
    heap,
    lamp,
    ledge,
    picture,
    plant,
    rug,
    window,
)
from src.rooms.furniture import (
    aisle,
    basin,
    bath,
    bed,
    chair,
    chest,
    desk,
    dining,
    island,
    kitchen,
    shelf,
    sofa,
    table,
    toilet,
    wardrobe,
)
from src.rooms.raycast import Box
from src.rooms.textures import Rng, Span

Draw = Callable[[Rng], list[Box]]
FREE = table, dining, island, aisle, chair, cartons, lamp, rug, clutter, plant, basket, heap, assembly
"""Pieces that need no wall."""

COMMON: tuple[Draw, ...] = (clutter, cartons, plant, basket, heap, assembly, chair, chest, wardrobe, window, garment)


class Theme(NamedTuple):
    """A use of rooms: the range of either side, the pieces it must have, the pieces it may have."""

    sides_m: tuple[Span, Span]
    required: tuple[Draw, ...]
    optional: tuple[Draw, ...]


def _square(low: float, high: float) -> tuple[Span, Span]:
    return (low, high), (low, high)


KITCHEN: tuple[Draw, ...] = (kitchen, table, chair, ledge, picture, window, assembly)
"""Optional pieces of kitchens."""

THEMES = (
    Theme(_square(2.6, 5.2), (bed, wardrobe), (chest, chest, desk, shelf, lamp, chair, rug, picture, ledge, *COMMON)),
    Theme(_square(3.2, 7.0), (sofa, table), (sofa, shelf, chest, lamp, chair, rug, picture, table, ledge, *COMMON)),
    Theme(_square(2.4, 5.5), (kitchen, kitchen, kitchen), KITCHEN),
    Theme(_square(2.6, 5.2), (bed, chest), (chest, desk, shelf, lamp, chair, rug, picture, window, *COMMON)),
    Theme(_square(3.2, 7.0), (sofa, sofa, table), (sofa, shelf, shelf, chest, lamp, rug, picture, ledge, *COMMON)),
    Theme(_square(2.0, 4.5), (kitchen, kitchen, kitchen), KITCHEN),
    Theme(
        _square(3.5, 7.0),
        (kitchen, kitchen, island, dining),
        (kitchen, sofa, table, chest, shelf, picture, ledge, *COMMON),
    ),
    Theme(_square(2.4, 6.0), (desk, shelf), (desk, shelf, wardrobe, chest, chair, sofa, board, picture, *COMMON)),
    Theme(_square(2.4, 5.0), (desk, desk, shelf), (desk, shelf, cartons, ledge, board, picture, assembly)),
    Theme(_square(3.2, 7.0), (dining, chest), (table, chair, chest, shelf, picture, lamp, rug, picture, *COMMON)),
    Theme(_square(5.0, 10.0), (table, table, shelf), (table, table, desk, desk, chair, board, board, shelf, *COMMON)),
    Theme(_square(6.0, 12.0), (aisle, aisle, shelf), (aisle, aisle, shelf, table, board, *COMMON)),
    Theme(_square(1.4, 3.0), (basin, toilet), (bath, chest, shelf, ledge, picture, basket, assembly)),
    Theme(_square(1.5, 3.2), (bath, basin, toilet), (chest, shelf, ledge, picture, basket, assembly)),
    Theme(((1.3, 2.4), (4.0, 9.0)), (door, picture), (chest, shelf, wardrobe, door, picture, board, *COMMON)),
)
