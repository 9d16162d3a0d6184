import pytest

from src.conventions import UserError
from src.data.allowance import Allowance, allowed_bad
from src.data.frame import Refused


@pytest.mark.parametrize(
    ("max_bad", "count", "allowed"),
    [
        (None, 6, 10),
        (None, 10_000, 10),
        (None, 50_688, 50),
        (0, 50_688, 0),
        (20, 6, 20),
        (0.005, 1000, 5),
        (0.005, 1199, 5),
        (0.29, 100, 29),  # 0.29 * 100 is 28.999… to the computer
        (1.0, 7, 7),
    ],
)
def test_a_number_a_share_or_the_larger_of_ten_and_a_thousandth(
    max_bad: int | float | None, count: int, allowed: int
) -> None:
    assert allowed_bad(max_bad, count) == allowed


def test_each_bad_frame_is_reported_once_and_one_too_many_is_an_error() -> None:
    said: list[str] = []
    allowance = Allowance(1000, 2, said.append)
    for index in (4, 7):
        allowance.leave_out(index, UserError(f"{index}.png: got nothing. Replace the file."))
    assert said == [f"{n}.png: got nothing. Replace the file. The frame is left out." for n in (4, 7)]
    assert allowance.reasons == {n: f"{n}.png: got nothing. Replace the file." for n in (4, 7)}
    with pytest.raises(UserError) as caught:
        allowance.leave_out(9, UserError("9.png: got nothing. Replace the file."))
    assert str(caught.value) == (
        "At least 3 of 1000 frames cannot be used, and --max-bad allows 2. Mend them, or allow more. "
        "The last: 9.png: got nothing. Replace the file."
    )
    assert len(said) == 2


def test_a_source_of_nothing_but_bad_frames_is_an_error() -> None:
    allowance = Allowance(2)
    allowance.leave_out(0, UserError("0.png: no."))
    with pytest.raises(UserError, match=r"None of the 2 frames can be used. The last: 1\.png: no\."):
        allowance.leave_out(1, UserError("1.png: no."))


def test_what_must_not_be_read_is_never_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    allowance = Allowance(1000)
    with pytest.raises(Refused, match="outside"):
        allowance.leave_out(0, Refused("0.png: outside."))
    assert allowance.reasons == {}
    allowance.leave_out(0, UserError("0.png: no."))
    assert capsys.readouterr().err == "0.png: no. The frame is left out.\n"
