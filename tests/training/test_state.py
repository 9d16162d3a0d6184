import pytest
import torch
from torch import nn

from src.conventions import UserError
from src.training.optim import make_ema, make_optimizer, make_schedule, make_swa
from src.training.state import State


def make(ema: bool) -> State:
    network = nn.Conv2d(1, 1, 1)
    optimizer = make_optimizer(network, "adamw", lr=0.1, weight_decay=0)
    average = make_ema(network, 0.9) if ema else None
    schedule = make_schedule(optimizer, steps=10, warmup_steps=1)
    return State(network, optimizer, schedule, torch.amp.GradScaler("cpu", enabled=False), average)


def test_the_averaged_network_is_judged_where_there_is_one() -> None:
    assert make(ema=False).judged.__class__ is nn.Conv2d
    state = make(ema=True)
    assert state.judged is not state.network


def test_a_run_without_average_goes_on_with_one_and_back() -> None:
    for before, after in ((False, True), (True, False)):
        old, new = make(before), make(after)
        old.epoch, old.best = 3, 0.7
        new.restore({**old.weights(), "progress": old.progress()})
        assert (new.epoch, new.best) == (3, 0.7)
        assert torch.equal(new.network.weight, old.network.weight)


def test_a_state_of_another_network_is_refused() -> None:
    state, other = make(ema=True), make(ema=True)
    other.network = nn.Conv2d(2, 3, 1)
    with pytest.raises(UserError, match="does not fit these options"):
        other.restore({**state.weights(), "progress": state.progress()})
    third = make(ema=True)
    third.optimizer = torch.optim.SGD(third.network.parameters(), lr=0.1)
    with pytest.raises(UserError, match="trained with AdamW"):
        third.restore({**state.weights(), "progress": state.progress()})


def test_an_swa_goes_on_where_it_was_and_is_shown_only_when_settled() -> None:
    old, new = make(ema=False), make(ema=False)
    for state in (old, new):
        state.swa = make_swa(state.network)
    for value in (1.0, 3.0):
        nn.init.constant_(old.network.weight, value)
        old.swa.update_parameters(old.network)
    assert old.weights()["swa"] is None
    new.restore({**old.weights(), "progress": old.progress()})
    nn.init.constant_(new.network.weight, 8.0)
    new.swa.update_parameters(new.network)
    new.swa_settled = True
    assert new.weights()["swa"]["weight"].item() == pytest.approx(4)
