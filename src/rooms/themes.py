"""Themes of rooms: their size, the pieces they must have and those they may have."""

from collections.abc import Callable
from typing import NamedTuple

from src.rooms import fittings, furniture
from src.rooms.raycast import Box
from src.rooms.textures import Rng, Span

Draw = Callable[[Rng], list[Box]]


class Theme(NamedTuple):
    """A use of rooms: the range of either side, the pieces it must have, the pieces it may have."""

    sides_m: tuple[Span, Span]
    required: tuple[Draw, ...]
    optional: tuple[Draw, ...]


def _draws(names: str) -> tuple[Draw, ...]:
    """Return the functions of those names, from `furniture` or `fittings`."""
    return tuple(getattr(furniture, name, None) or getattr(fittings, name) for name in names.split())


def _theme(side_m: Span, required: str, optional: str, other_m: Span | None = None) -> Theme:
    return Theme((side_m, other_m or side_m), _draws(required), _draws(optional))


FREE = _draws("table dining island aisle chair cartons lamp rug clutter plant basket heap assembly")
"""Pieces that need no wall."""

COMMON = "clutter cartons plant basket heap assembly chair chest wardrobe window garment"
KITCHEN = "kitchen table chair ledge picture window assembly"

THEMES = (
    _theme((2.6, 5.2), "bed wardrobe", f"chest chest desk shelf lamp chair rug picture ledge {COMMON}"),
    _theme((3.2, 7.0), "sofa table", f"sofa shelf chest lamp chair rug picture table ledge {COMMON}"),
    _theme((2.4, 5.5), "kitchen kitchen kitchen", KITCHEN),
    _theme((2.6, 5.2), "bed chest", f"chest desk shelf lamp chair rug picture window {COMMON}"),
    _theme((3.2, 7.0), "sofa sofa table", f"sofa shelf shelf chest lamp rug picture ledge {COMMON}"),
    _theme((2.0, 4.5), "kitchen kitchen kitchen", KITCHEN),
    _theme((3.5, 7.0), "kitchen kitchen island dining", f"kitchen sofa table chest shelf picture ledge {COMMON}"),
    _theme((2.4, 6.0), "desk shelf", f"desk shelf wardrobe chest chair sofa board picture {COMMON}"),
    _theme((2.4, 5.0), "desk desk shelf", "desk shelf cartons ledge board picture assembly"),
    _theme((3.2, 7.0), "dining chest", f"table chair chest shelf picture lamp rug picture {COMMON}"),
    _theme((5.0, 10.0), "table table shelf", f"table table desk desk chair board board shelf {COMMON}"),
    _theme((6.0, 12.0), "aisle aisle shelf", f"aisle aisle shelf table board {COMMON}"),
    _theme((1.4, 3.0), "basin toilet", "bath chest shelf ledge picture basket assembly"),
    _theme((1.5, 3.2), "bath basin toilet", "chest shelf ledge picture basket assembly"),
    _theme((1.3, 2.4), "door picture", f"chest shelf wardrobe door picture board {COMMON}", other_m=(4.0, 9.0)),
)
