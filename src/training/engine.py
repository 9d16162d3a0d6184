"""The hand-written loop: autocast, scale, unscale, clip, step; and the pass that validates."""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from src.conventions import Batch, UserError
from src.training import distributed
from src.training.losses import Loss, make_target, masked_mean
from src.training.state import State

HOST_READ_BATCHES = 20
"""Sums stay on the device; the host reads them once in so many batches, since a read waits for the device."""

PATIENCE_STEPS = 25
"""So many skipped steps in a row end a run. fp16's scale, halved from 2^16, meets its floor of 1 after 16."""

LEAST_SCALE = 1.0


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
        return f"{self.device.type} in {self.type_name}"

    @property
    def type_name(self) -> str:
        """The type in words."""
        return str(self.dtype or torch.float32).removeprefix("torch.")

    @property
    def exact(self) -> Precision:
        """The same device in float32, in which everything is validated and scored."""
        return Precision(self.device, None)

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """Compute in the short type within this context."""
        return torch.autocast(self.device.type, dtype=self.dtype) if self.dtype else contextlib.nullcontext()

    def scaler(self) -> GradScaler:
        """Make a loss scaler. Only fp16 needs one; for other types it passes everything through."""
        return GradScaler(self.device.type, enabled=self.dtype is torch.float16)


def choose_precision(device: str, amp: str) -> Precision:
    """Settle on device and type. `auto` takes the GPU, bf16 where it computes it natively, else fp16; off on a CPU.

    fp16 runs on a CPU as well: slowly, but with the same loss scaler as on a GPU.

    **Raises**: UserError when the device is not there, has no kernels in this torch, or does not compute fp16.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[device]:
        raise UserError(f"--device {device}: torch finds none here. Take --device auto.")
    if device == "cuda":
        check_kernels()
    if amp == "auto":
        amp = "off"
        if device == "cuda":
            amp = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if amp == "fp16" and device == "mps":
        raise UserError("--amp fp16: torch has no loss scaler for mps. Take --amp auto.")
    return Precision(torch.device(device), {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[amp])


def check_kernels() -> None:
    """Refuse a GPU that this torch was not built for: it counts as available, and its first operation fails.

    Machine code (`sm_75`) runs on GPUs of the same major capability from its minor one on, PTX (`compute_75`) on all
    later ones.

    **Raises**: UserError that names the GPU and what to choose.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says the same over many lines
        name, capability = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    built_for = torch.cuda.get_arch_list()
    kernels = re.findall(r"\b(sm|compute)_(\d+)(\d)", " ".join(built_for))
    for kind, major, minor in kernels:
        built = int(major), int(minor)
        if built <= capability and (kind == "compute" or built[0] == capability[0]):
            return
    if kernels:  # none are listed where torch was built for other makers' GPUs
        raise UserError(
            f"--device cuda: torch {torch.__version__} has no kernels for {name} (sm_{capability[0]}{capability[1]}), "
            f"only for {' '.join(built_for)}. Choose another GPU (on Kaggle: T4 x2), or take --device cpu."
        )


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

    The average of weights has other activations than any of the weights it averages. Norms that keep their statistics
    in training, as those of frozen stages do, keep them here.

    **Source**: Izmailov et al. 2018, arXiv 1803.05407, section 3.2.
    """
    assert state.swa is not None
    norms = [module for module in state.swa.train().modules() if isinstance(module, _BatchNorm)]
    kept = [norm for norm in norms if not norm.training]
    for norm in kept:
        norm.track_running_stats = False  # update_bn resets those that track
    update_bn(batches, state.swa, device=precision.device)
    for norm in kept:
        norm.track_running_stats = True
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
