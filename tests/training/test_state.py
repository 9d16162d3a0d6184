import math
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from src.conventions import UserError
from src.training import checkpoint
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


def test_a_run_goes_on_in_another_type() -> None:
    def scaled(enabled: bool) -> State:
        state = make(ema=True)
        state.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, enabled=enabled)
        return state

    exact, half = scaled(False), scaled(True)
    half.restore({**exact.weights(), "progress": exact.progress()})
    assert half.scaler.get_scale() == 8
    half.scaler.scale(torch.zeros(1))  # which brings its scale to the device
    half.scaler.update(2.0)
    exact.restore({**half.weights(), "progress": half.progress()})
    again = scaled(True)
    again.restore({**half.weights(), "progress": half.progress()})
    assert again.scaler.get_scale() == 2


def test_a_run_without_average_goes_on_with_one_and_back() -> None:
    for before, after in ((False, True), (True, False)):
        old, new = make(before), make(after)
        old.epoch, old.best, old.batch, old.losses = 3, 0.7, 5, torch.tensor([2.5, 4])
        old.skipped, old.streak = 7, 2
        new.restore({**old.weights(), "progress": old.progress()})
        assert (new.epoch, new.best, new.batch, new.skipped, new.streak) == (3, 0.7, 5, 7, 2)
        assert new.losses.tolist() == [2.5, 4]
        assert torch.equal(new.network.weight, old.network.weight)


def test_a_state_of_another_network_is_refused() -> None:
    state, other = make(ema=True), make(ema=True)
    other.network = nn.Conv2d(2, 3, 1)
    with pytest.raises(UserError, match="does not fit these options"):
        other.restore({**state.weights(), "progress": state.progress()})
    for name, value in (("epoch", "3"), ("best", None), ("losses", 5), ("schedule", [])):
        with pytest.raises(UserError, match="does not fit"):
            make(ema=True).restore({**state.weights(), "progress": {**state.progress(), name: value}})
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


def test_an_swa_that_took_in_no_step_is_not_shown() -> None:
    state = make(ema=False)
    state.swa, state.swa_settled = make_swa(state.network), True
    assert not state.has_swa
    assert state.weights()["swa"] is None


def test_what_older_versions_kept_as_best_without_validation_is_no_error_to_beat() -> None:
    old, new = make(ema=False), make(ema=False)
    old.best = -7.0
    new.restore({**old.weights(), "progress": old.progress()})
    assert new.best == math.inf


def test_an_epoch_ends_where_the_next_one_begins() -> None:
    state = make(ema=False)
    state.batch, state.losses = 5, torch.tensor([2.5, 4])
    state.end_epoch()
    assert (state.epoch, state.batch, state.losses.tolist()) == (1, 0, [0, 0])


def test_a_state_of_format_1_goes_on_at_its_epochs_edge() -> None:
    """Format 1 knew no position within an epoch. The file was written at commit 6a4c03b and is kept for ever."""
    content = checkpoint.load(Path(__file__).parent / "fixtures" / "format-1.pt")
    layers = {"encoder": nn.Conv2d(3, 2, 4, stride=4), "norm": nn.BatchNorm2d(2), "output": nn.Conv2d(2, 1, 1)}
    network = nn.Sequential(OrderedDict(layers))
    optimizer = make_optimizer(network, "adan", lr=1, weight_decay=1)
    schedule = make_schedule(optimizer, steps=8, warmup_steps=2)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    state = State(network, optimizer, schedule, scaler, make_ema(network, 0.9), make_swa(network), swa_start=2)
    state.restore(content)
    assert (state.epoch, state.batch, state.best, state.skipped) == (2, 0, 0.75, 0)
    assert schedule.last_epoch == 4
    assert int(state.average.n_averaged) == 4
    assert int(state.swa.n_averaged) == 2
    assert network.output.bias.item() == content["network"]["output.bias"].item() != 0
    assert all(len(kept) > 1 for kept in optimizer.state.values())
    assert checkpoint.choose_weights(content)[1] == "ema"
    assert content["about"]["options"]["optimizer"] == "adan"
