"""A tiny network with what can go wrong (batch norm, dropout), batches for it, and states that train it."""

from collections.abc import Iterable

import torch
from torch import nn

from src.conventions import Batch
from src.training.engine import Precision, Units, train_epoch
from src.training.losses import mse
from src.training.optim import make_ema, make_optimizer, make_schedule, make_swa
from src.training.state import State

METRIC = Units("metric", 10.0)
CPU = Precision(torch.device("cpu"), None)


def make_network(dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(0)
    norm, output = nn.BatchNorm2d(8), nn.Conv2d(8, 1, 1)
    return nn.Sequential(nn.Conv2d(3, 8, 4, stride=4, bias=False), norm, nn.GELU(), nn.Dropout(dropout), output)


def make_batch(seed: int = 0, count: int = 4, size: int = 32) -> Batch:
    """A batch whose depth follows its brightness."""
    g = torch.Generator().manual_seed(seed)
    image = torch.rand(count, 3, size, size, generator=g)
    depth_m = 5 * nn.functional.avg_pool2d(image.mean(dim=1, keepdim=True), 4)
    return Batch(image, depth_m, torch.rand(depth_m.shape, generator=g) > 0.2)


def make_state(
    network: nn.Module | None = None,
    *,
    precision: Precision = CPU,
    optimizer: str | torch.optim.Optimizer = "adamw",
    steps: int = 100,
    scale: float = 2.0**16,
    ema: bool = True,
    swa_start: int = 0,
) -> State:
    """A state of the tiny network, or of another one."""
    network = (network or make_network()).to(precision.device, memory_format=torch.channels_last)
    if isinstance(optimizer, str):
        optimizer = make_optimizer(network, optimizer, lr=1e-2, weight_decay=1e-2)
    schedule = make_schedule(optimizer, steps=steps, warmup_steps=1)
    enabled = precision.dtype is torch.float16
    scaler = torch.amp.GradScaler(precision.device.type, init_scale=scale, growth_interval=2, enabled=enabled)
    average = make_ema(network, 0.9) if ema else None
    return State(network, optimizer, schedule, scaler, average, make_swa(network), swa_start)


def train(state: State, batches: Iterable[Batch], *, precision: Precision = CPU, **options: object) -> float:
    """Train an epoch on these batches and return its mean loss."""
    on_device = (batch.to(precision.device) for batch in batches)
    options = {"loss": mse, "units": METRIC, "precision": precision, **options}
    means = train_epoch(state, on_device, **options)  # type: ignore[arg-type]
    state.end_epoch()
    return means["loss"]


def content_of(state: State) -> dict:
    """What a checkpoint holds of a state."""
    return {**state.weights(), "progress": state.progress()}
