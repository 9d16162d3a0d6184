import itertools
import math

import pytest
import torch
from adan_pytorch import Adan
from torch import nn
from torch.optim import AdamW

from src.training.optim import make_ema, make_optimizer, make_schedule


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.weights = nn.Parameter(torch.ones(2, 3))
        self.output = nn.Conv2d(4, 1, 1)


@pytest.mark.parametrize(("name", "kind"), [("adan", Adan), ("adamw", AdamW)])
def test_only_kernels_decay_and_the_encoder_has_its_own_rate(name: str, kind: type) -> None:
    network = Small()
    optimizer = make_optimizer(network, name, lr=0.1, weight_decay=0.5, encoder_lr_scale=0.25)
    assert isinstance(optimizer, kind)
    settings = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert {key: settings[id(p)] for key, p in network.named_parameters()} == {
        "encoder.0.weight": (0.025, 0.5),
        "encoder.0.bias": (0.025, 0.0),
        "encoder.1.weight": (0.025, 0.0),
        "encoder.1.bias": (0.025, 0.0),
        "output.weight": (0.1, 0.5),
        "output.bias": (0.1, 0.0),
        "weights": (0.1, 0.0),
    }


@pytest.mark.parametrize("floor", [0.0, 0.25])
def test_the_rate_warms_up_then_decays_to_its_floor(floor: float) -> None:
    optimizer = torch.optim.SGD(Small().parameters(), lr=1.0)
    schedule = make_schedule(optimizer, steps=60, warmup_steps=10, floor=floor)
    rates = []
    for _ in range(80):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[:11] == pytest.approx([*((n + 1) / 10 for n in range(10)), 1])
    assert rates[20] == pytest.approx(floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi / 5)))
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert rates[60:] == pytest.approx([floor] * 20)


def test_ema_by_hand() -> None:
    network, expected = Small(), 1.0
    ema = make_ema(network, decay=0.5)
    for n, value in enumerate((1.0, 2.0, 4.0, 8.0)):
        nn.init.constant_(network.output.bias, value)
        network.encoder[1].running_mean.fill_(value)
        ema.update_parameters(network)
        if n:
            decay = min(0.5, (1 + n) / (10 + n))
            expected = decay * expected + (1 - decay) * value
    assert ema.module.output.bias.item() == pytest.approx(expected)
    assert ema.module.encoder[1].running_mean[0].item() == pytest.approx(expected)  # norm statistics too
