import math
from typing import Any

import pytest
import torch
from tiny import content_of, make_state
from torch import nn

from src.conventions import UserError


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
