"""What options may say is what the code takes."""

import pytest

from src import choices
from src.choices import parse_every
from src.rooms.ablation import INGREDIENTS
from src.training.losses import LOSSES


def test_every_choice_is_implemented_and_every_implementation_can_be_chosen() -> None:
    assert tuple(sorted(INGREDIENTS)) == choices.INGREDIENTS
    assert tuple(sorted(LOSSES)) == choices.LOSSES


@pytest.mark.parametrize(("text", "expected"), [("500", (500, None)), ("10m", (None, 600)), ("0.5m", (None, 30))])
def test_how_often_is_read(text: str, expected: tuple) -> None:
    assert parse_every(text) == expected


@pytest.mark.parametrize("text", ["", "0", "-3", "m", "0m", "1.5", "infm", "nanm", "10 h"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_every(text)
