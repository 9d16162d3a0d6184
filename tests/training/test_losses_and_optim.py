import itertools
import math

import numpy as np
import pytest
import torch
from adan_pytorch import Adan
from torch import nn
from torch.optim import AdamW

from src.ssim import ssim
from src.training.losses import LOSS_FUNCTIONS, make_target, mse
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
    for key, parameter in network.named_parameters():
        rate = 0.025 if key.startswith("encoder.") else 0.1
        decay = 0.5 if key in ("encoder.0.weight", "output.weight") else 0.0
        assert settings[id(parameter)] == (rate, decay), key


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
    constant = make_schedule(optimizer, "constant", steps=60, warmup_steps=1).lr_lambdas[0]
    assert {constant(step) for step in (0, 1, 59, 99)} == {1.0}


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


Maps = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture
def maps() -> Maps:
    """Prediction with gradients, target, and 70 % valid pixels."""
    g = torch.Generator().manual_seed(0)
    prediction, target = torch.rand(2, 2, 1, 8, 8, generator=g) + 0.1
    return prediction.requires_grad_(), target, torch.rand(2, 1, 8, 8, generator=g) > 0.3


@pytest.mark.parametrize(
    ("name", "invariance", "squared", "dissimilarity"),
    [("mixed", 0.5, 0, 0), ("mixed+mse", 0.5, 10, 0), ("mixed+mse+ssim", 0.5, 10, 0.5), ("log+mse", 0, 10, 0)],
)
def test_losses_by_hand(maps: Maps, name: str, invariance: float, squared: float, dissimilarity: float) -> None:
    p, t, v = (tensor.detach().numpy() for tensor in maps)
    p, t = p.astype(np.float64), t.astype(np.float64)
    assert mse(*maps).item() == pytest.approx(np.mean((p[v] - t[v]) ** 2), rel=1e-5)
    logs = []
    for i in range(2):
        e = np.log(p[i][v[i]]) - np.log(t[i][v[i]])
        logs.append(np.sqrt(np.mean(e**2) - invariance * np.mean(e) ** 2 + 1e-6))
    error = p - t
    across, both_across = np.diff(error, axis=3), v[..., 1:] & v[..., :-1]
    down, both_down = np.diff(error, axis=2), v[:, :, 1:] & v[:, :, :-1]
    expected = np.mean(logs) + 2 * np.abs(error[v]).mean()
    expected += np.abs(across[both_across]).mean() + np.abs(down[both_down]).mean()
    expected += squared * np.mean(error[v] ** 2) + dissimilarity * (1 - ssim(*maps).mean().item())
    assert LOSS_FUNCTIONS[name](*maps).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", LOSS_FUNCTIONS.values())
def test_invalid_pixels_have_no_influence(maps: Maps, loss) -> None:
    prediction, target, valid = maps
    value = loss(prediction, target, valid)
    torch.testing.assert_close(value, loss(prediction, torch.where(valid, target, 1e9), valid))
    (gradient,) = torch.autograd.grad(value, prediction)
    assert (gradient[~valid] == 0).all()
    assert (gradient[valid] != 0).float().mean() > 0.9
    none = loss(prediction, target, torch.zeros_like(valid))
    assert none.isfinite()
    assert torch.autograd.grad(none, prediction)[0].isfinite().all()


def test_targets() -> None:
    depth_m = torch.tensor([[2.0, 4.0], [8.0, 9.0]]).view(1, 1, 2, 2)
    valid = depth_m < 9
    assert make_target(depth_m, valid, "metric", 10.0).flatten().tolist() == pytest.approx([0.2, 0.4, 0.8, 0.9])
    assert make_target(depth_m, valid, "relative", 10.0)[valid].tolist() == pytest.approx([0.25, 0.5, 1.0])
