"""The hand-written loop: autocast, scale, unscale, clip, step; and the pass that validates."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim.swa_utils import update_bn

from src.conventions import UserError
from src.training.losses import Loss, make_target, masked_mean
from src.training.state import State

AMP = ("auto", "off", "bf16", "fp16")
DEVICES = ("auto", "cpu", "cuda", "mps")
HOST_READ_BATCHES = 20
"""Sums stay on the device; the host reads them once in so many batches, since a read waits for the device."""


class Batch(Protocol):
    """What the loop needs of a batch: see `src.data.packed.Batch`."""

    @property
    def image(self) -> Tensor: ...
    @property
    def depth_m(self) -> Tensor: ...
    @property
    def valid(self) -> Tensor: ...


class Units(NamedTuple):
    """What the network's numbers mean: the target's kind, and the depth in metres that is 1."""

    target: str
    max_depth_m: float


class Precision(NamedTuple):
    """How the forward pass computes: on which device, and in which short type if any."""

    device: torch.device
    dtype: torch.dtype | None

    @property
    def name(self) -> str:
        """Device and type in words."""
        return f"{self.device.type} in {str(self.dtype or torch.float32).removeprefix('torch.')}"

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """Compute in the short type within this context."""
        return torch.autocast(self.device.type, dtype=self.dtype) if self.dtype else contextlib.nullcontext()

    def scaler(self) -> GradScaler:
        """Make a loss scaler. Only fp16 needs one; for other types it passes everything through."""
        return GradScaler(self.device.type, enabled=self.dtype is torch.float16)


def choose_precision(device: str, amp: str) -> Precision:
    """Settle on device and type. `auto` takes the GPU, bf16 where it computes it natively, else fp16; off on a CPU.

    **Raises**: UserError when the device is not there, or fp16 is asked of a CPU.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[device]:
        raise UserError(f"--device {device}: torch finds none here. Take --device auto.")
    if amp == "auto":
        amp = "off"
        if device == "cuda":
            amp = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if amp == "fp16" and device != "cuda":
        raise UserError(f"--amp fp16: needs a CUDA GPU, got {device}. Take --amp auto.")
    return Precision(torch.device(device), {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[amp])


def train_epoch(
    state: State,
    batches: Iterable[Batch],
    *,
    loss: Loss,
    units: Units,
    precision: Precision,
    clip: float = 0.5,
    accumulate: int = 1,
    on_read: Callable[[float], None] = lambda mean_loss: None,
) -> float:
    """Train on all batches once and return the mean loss.

    Gradients of `accumulate` batches make one step; batches left over at the end are dropped. When fp16 overflows,
    the scaler skips the step, and the schedule and the average wait with it.
    `on_read` hears the mean loss so far each time the host reads it.
    """
    network, optimizer, scaler = state.network.train(), state.optimizer, state.scaler
    optimizer.zero_grad(set_to_none=True)
    total, count = torch.zeros((), device=precision.device), 0
    for count, batch in enumerate(batches, 1):
        target = make_target(batch.depth_m, batch.valid, units.target, units.max_depth_m)
        with precision.autocast():
            prediction = network(batch.image.contiguous(memory_format=torch.channels_last))
        value = loss(prediction.float(), target, batch.valid)
        scaler.scale(value / accumulate).backward()
        total += value.detach()
        if count % accumulate == 0:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(network.parameters(), clip)
            scale = scaler.get_scale()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
            skipped = scaler.get_scale() < scale
            if not skipped:
                state.schedule.step()
                if state.average is not None:
                    state.average.update_parameters(network)
                if state.swa is not None and state.schedule.last_epoch > state.swa_start:
                    state.swa.update_parameters(network)
        if count % HOST_READ_BATCHES == 0:
            on_read(total.item() / count)
    state.epoch += 1
    return total.item() / max(count, 1)


def settle_swa(state: State, batches: Iterable[Batch], precision: Precision) -> nn.Module:
    """Measure the norm statistics of the averaged weights over one pass of training batches; return their network.

    The average of weights has other activations than any of the weights it averages.

    **Source**: Izmailov et al. 2018, arXiv 1803.05407, section 3.2.
    """
    assert state.swa is not None
    update_bn(batches, state.swa, device=precision.device)
    state.swa_settled = True
    return state.swa.module


@torch.inference_mode()
def validate(
    network: nn.Module, batches: Iterable[Batch], *, loss: Loss, units: Units, precision: Precision
) -> dict[str, float]:
    """Return the mean loss and, per image and then averaged, RMSE, AbsRel and d1 at the network's output size.

    **Units**: `rmse_m` in metres; under the relative target it is `rmse`, a share of the image's own maximum.
    """
    network.eval()
    losses, images = [], []
    for batch in batches:
        target = make_target(batch.depth_m, batch.valid, units.target, units.max_depth_m)
        prediction = predict(network, batch.image, precision)
        losses.append(loss(prediction, target, batch.valid) * len(target))
        ratio = prediction.clamp(min=1e-3) / target.clamp(min=1e-3)
        measures = (prediction - target) ** 2, (ratio - 1).abs(), (torch.maximum(ratio, 1 / ratio) < 1.25).float()
        images.append(torch.stack([masked_mean(each, batch.valid, (1, 2, 3)) for each in measures]))
    squared, abs_rel, d1 = torch.cat(images, dim=1).cpu()
    rmse = squared.sqrt().mean().item()
    return {
        "loss": torch.stack(losses).sum().item() / len(squared),
        **({"rmse_m": rmse * units.max_depth_m} if units.target == "metric" else {"rmse": rmse}),
        "abs_rel": abs_rel.mean().item(),
        "d1": d1.mean().item(),
    }


@torch.inference_mode()
def predict(network: nn.Module, image: Tensor, precision: Precision) -> Tensor:
    """Estimate depth in the network's units, in float32: (B, 3, H, W) -> (B, 1, H/4, W/4)."""
    with precision.autocast():
        return network(image.contiguous(memory_format=torch.channels_last)).float()
