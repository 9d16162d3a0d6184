"""The hand-written loop: autocast, scale, unscale, clip, step; and the pass that validates."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim.swa_utils import update_bn

from src.conventions import UserError
from src.training import distributed
from src.training.losses import Loss, make_target, masked_mean
from src.training.state import State

AMP = ("auto", "off", "bf16", "fp16")
DEVICES = ("auto", "cpu", "cuda", "mps")
HOST_READ_BATCHES = 20
"""Sums stay on the device; the host reads them once in so many batches, since a read waits for the device."""

PATIENCE_STEPS = 25
"""So many skipped steps in a row end a run. fp16's scale, halved from 2^16, meets its floor of 1 after 16."""

LEAST_SCALE = 1.0


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
    forward: nn.Module | None = None,
    clip: float = 0.5,
    accumulate: int = 1,
    on_read: Callable[[float], None] = lambda mean_loss: None,
    after_step: Callable[[], None] = lambda: None,
    name_batch: Callable[[int], str] = "batch {}".format,
) -> float:
    """Train on the batches that are left of an epoch, from `state.batch` on, and return the epoch's mean loss.

    Gradients of `accumulate` batches make one step; batches left over at the end are dropped. A step whose loss or
    gradient is not finite, as when fp16 overflows, is skipped: weights, norm statistics, schedule and averages stay
    as they were before it. `forward` is the network as it is called, where that is a wrapper around `state.network`.
    `on_read` hears the mean loss so far each time the host reads it; `after_step` may save, or end it all by raising.

    **Raises**: UserError after `PATIENCE_STEPS` skipped steps in a row; `name_batch` tells which frames came last.
    """
    network, optimizer, scaler = state.network.train(), state.optimizer, state.scaler
    forward = forward or network
    statistics = list(network.buffers())
    before = [buffer.clone() for buffer in statistics]
    state.losses = state.losses.to(precision.device)
    optimizer.zero_grad(set_to_none=True)
    tally = torch.zeros(3, device=precision.device)  # a step's losses: their sum, how many, and how many unsound ones
    for batch in batches:
        target = make_target(batch.depth_m, batch.valid, units.target, units.max_depth_m)
        with precision.autocast():
            prediction = forward(batch.image.contiguous(memory_format=torch.channels_last))
        value = loss(prediction.float(), target, batch.valid, distributed.mean)
        scaler.scale(value / accumulate).backward()
        finite = value.detach().isfinite()
        tally += torch.stack([value.detach().where(finite, 0), finite, ~finite])
        state.batch += 1
        if state.batch % accumulate == 0:
            scaler.unscale_(optimizer)
            norm = nn.utils.clip_grad_norm_(network.parameters(), clip)
            tally[2] += ~norm.isfinite()
            tally = distributed.total(tally)
            state.losses += tally[:2]
            if tally[2].item() == 0:  # the one value that the host waits for at each step: whether to make it
                scaler.step(optimizer)
                state.advance()
                _copy(statistics, before)
            else:
                _copy(before, statistics)
                state.skipped, state.streak = state.skipped + 1, state.streak + 1
            scaler.update()
            if state.streak:
                _hold_scale(scaler)
            if state.streak == PATIENCE_STEPS:
                raise UserError(
                    f"epoch {state.epoch + 1}: loss or gradient was not finite in {PATIENCE_STEPS} steps in a row, the "
                    f"last time on {name_batch(state.batch - 1)}. Look at these frames, or try a lower --lr."
                )
            tally.zero_()
            optimizer.zero_grad(set_to_none=True)
            after_step()
        if state.batch % HOST_READ_BATCHES == 0:
            on_read(_mean_loss(state))
    return _mean_loss(state)


def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    if source:
        torch._foreach_copy_(target, source)


def _mean_loss(state: State) -> float:
    total, count = state.losses.tolist()
    return total / count if count else math.nan


def _hold_scale(scaler: GradScaler) -> None:
    """Keep the scale from falling below where fp16 has any use of it; a division by 0 would follow."""
    if scaler.is_enabled() and scaler.get_scale() < LEAST_SCALE:
        scaler.update(LEAST_SCALE)


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

    Where several processes each have a share of the frames, all get the figures of all frames.

    **Units**: `rmse_m` in metres; under the relative target it is `rmse`, a share of the image's own maximum.
    """
    network.eval()
    images = [torch.zeros(5, 0, device=precision.device)]
    for batch in batches:
        target = make_target(batch.depth_m, batch.valid, units.target, units.max_depth_m)
        prediction = predict(network, batch.image, precision)
        value = loss(prediction, target, batch.valid).expand(len(target))
        ratio = prediction.clamp(min=1e-3) / target.clamp(min=1e-3)
        errors = (prediction - target) ** 2, (ratio - 1).abs(), (torch.maximum(ratio, 1 / ratio) < 1.25).float()
        squared, relative, close = (masked_mean(each, batch.valid, (1, 2, 3)) for each in errors)
        images.append(torch.stack([value, squared.sqrt(), relative, close, torch.ones_like(value)]))
    # Processes may have unlike numbers of frames.
    *sums, count = distributed.total(torch.cat(images, dim=1).cpu().double().sum(dim=1)).tolist()
    mean_loss, rmse, abs_rel, d1 = (each / count for each in sums)
    return {
        "loss": mean_loss,
        **({"rmse_m": rmse * units.max_depth_m} if units.target == "metric" else {"rmse": rmse}),
        "abs_rel": abs_rel,
        "d1": d1,
    }


@torch.inference_mode()
def predict(network: nn.Module, image: Tensor, precision: Precision) -> Tensor:
    """Estimate depth in the network's units, in float32: (B, 3, H, W) -> (B, 1, H/4, W/4)."""
    with precision.autocast():
        return network(image.contiguous(memory_format=torch.channels_last)).float()
