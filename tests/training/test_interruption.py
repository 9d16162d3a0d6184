import os
import signal

import pytest

from src.training.interruption import Interruption, Stopped


@pytest.mark.parametrize(
    ("signum", "status", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_a_signal_waits_for_patience_to_end(signum: int, status: int, name: str) -> None:
    reached = []
    with Interruption() as interruption:
        with pytest.raises(Stopped, match=f"stopped by {name}") as caught, interruption.patience():
            os.kill(os.getpid(), signum)
            reached.append(interruption.signum)
        assert caught.value.status == status
    assert reached == [signum]


def test_without_patience_and_at_the_second_time_it_stops_at_once() -> None:
    with Interruption(), pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGTERM)
    reached = []
    with Interruption() as interruption, pytest.raises(Stopped), interruption.patience():
        os.kill(os.getpid(), signal.SIGTERM)
        reached.append(1)
        os.kill(os.getpid(), signal.SIGINT)
        reached.append(2)
    assert reached == [1]


def test_signals_are_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interruption():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_the_clock() -> None:
    interruption = Interruption()
    assert not interruption.is_late(1e9)
    interruption.limit_s = 60
    assert not interruption.is_late(50)
    assert interruption.is_late(61)
    assert Stopped().status == 0
