"""What rooms are for."""

from src.data.themes import THEMES


def test_rooms_go_from_bathrooms_to_classrooms_and_corridors() -> None:
    sides = [span for theme in THEMES for span in theme.sides_m]
    assert min(low for low, _ in sides) < 1.5
    assert max(high for _, high in sides) == 10
    assert any(one[1] < other[0] for one, other in (theme.sides_m for theme in THEMES))
