"""What rooms are for."""

from src.rooms.fittings import door
from src.rooms.themes import FREE, THEMES


def test_rooms_go_from_bathrooms_to_shops_and_corridors() -> None:
    sides = [span for theme in THEMES for span in theme.sides_m]
    assert min(low for low, _ in sides) < 1.5
    assert max(high for _, high in sides) == 12
    assert any(one[1] < other[0] for one, other in (theme.sides_m for theme in THEMES))


def test_some_needed_pieces_stand_at_a_wall() -> None:
    assert {draw for theme in THEMES for draw in theme.needed} - {door} - set(FREE)
