import math
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import CPU, content_of, make_state
from torch import nn

from src.conventions import UserError
from src.training import checkpoint
from src.training.optim import make_ema, make_optimizer, make_schedule, make_swa
from src.training.state import State


@pytest.mark.parametrize(("ema", "ema_after"), [(False, True), (True, False)])
def test_a_run_without_average_is_resumed_with_one_and_back(ema: bool, ema_after: bool) -> None:
    old, new = make_state(ema=ema), make_state(ema=ema_after)
    nn.init.constant_(old.network[0].weight, 3)
    old.epoch, old.best, old.batch, old.sums = 3, 0.7, 5, torch.arange(7.0)
    old.skipped, old.streak, old.lowest, old.waited = 7, 2, 0.25, 3
    new.restore(content_of(old))
    assert (new.epoch, new.best, new.batch, new.skipped, new.streak) == (3, 0.7, 5, 7, 2)
    assert (new.lowest, new.waited, new.sums.tolist()) == (0.25, 3, [0, 1, 2, 3, 4, 5, 6])
    assert torch.equal(new.network[0].weight, old.network[0].weight)
    assert (new.eval_network is new.network) == (not ema_after)
    old.best = -7.0  # in early runs without validation
    new.restore(content_of(old))
    assert new.best == math.inf
    new.end_epoch()
    assert (new.epoch, new.batch, new.sums.tolist()) == (4, 0, [0] * 7)


@pytest.mark.parametrize(
    "change", [{"epoch": "3"}, {"best": None}, {"sums": 5}, {"schedule": []}, {"kind": "SGD"}, {"network": {}}]
)
def test_a_state_that_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    content = content_of(make_state())
    (content if "network" in change else content["progress"]).update(change)
    with pytest.raises(UserError, match="trained with SGD" if "kind" in change else "does not fit these options"):
        make_state().restore(content)


def test_epochs_without_an_improvement_are_counted() -> None:
    state, seen = make_state(), []
    state.patience = 2
    for loss in (0.5, 0.4995, 0.4985, 0.498, math.nan, 0.3):
        state.end_epoch(loss)
        seen.append((state.waited, state.has_stalled))
    # The third fell by 0.0015 since the first.
    assert seen == [(0, False), (1, False), (0, False), (1, False), (2, True), (0, False)]
    assert not make_state().has_stalled


def test_format_1_is_resumed_at_the_end_of_its_epoch() -> None:
    """Format 1 had no position within an epoch. The file was written at commit 6a4c03b and stays."""
    content = checkpoint.load(Path(__file__).parent / "fixtures" / "format-1.pt")
    layers = {"encoder": nn.Conv2d(3, 2, 4, stride=4), "norm": nn.BatchNorm2d(2), "output": nn.Conv2d(2, 1, 1)}
    network = nn.Sequential(OrderedDict(layers))
    optimizer = make_optimizer(network, "adan", lr=1, weight_decay=1)
    schedule = make_schedule(optimizer, steps=8, warmup_steps=2)
    state = State(network, optimizer, schedule, CPU.scaler(), make_ema(network, 0.9), make_swa(network), swa_start=2)
    state.restore(content)
    assert (state.epoch, state.batch, state.best, state.skipped) == (2, 0, 0.75, 0)
    assert schedule.last_epoch == int(state.average.n_averaged) == 4
    assert int(state.swa.n_averaged) == 2
    assert network.output.bias.item() == content["network"]["output.bias"].item() != 0
    assert all(len(kept) > 1 for kept in optimizer.state.values())
    assert checkpoint.choose_weights(content)[1] == "ema"
