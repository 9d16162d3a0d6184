"""An epoch of training (autocast, scale, unscale, clip, step), and a validation pass."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from src.choices import AMP
from src.conventions import Batch, Diverged, UserError
from src.training import distributed
from src.training.losses import Loss, make_target
from src.training.measures import MEASURES, measure_images
from src.training.state import State

READ_LOSS_BATCHES = 20  # how often the host reads the mean loss: a read waits for the device

MAX_SKIPPED_STEPS = 25
"""In a row; then the run ends. fp16's scale, halved from 2^16, reaches `MIN_SCALE` after 16."""

MIN_SCALE = 1.0  # of fp16's loss scaler, which would else reach 0 and be divided by


class Units(NamedTuple):
    """The kind of target, and the depth in metres that it calls 1."""

    target: str
    max_depth_m: float

    def metres(self, scale: Tensor | float) -> Tensor | float:
        """Return what turns the network's output into metres; 1 under the relative target."""
        return scale * self.max_depth_m if self.target == "metric" else 1.0

    def name_measures(self, sums: Sequence[float], count: float) -> dict[str, float]:
        """Name the means of the loss, of `MEASURES`, and of what follows them; NaN where nothing was counted.

        **Units**: `rmse_m` in metres; under the relative target `rmse`, a share of the image's maximum.
        """
        rmse = {"rmse": "rmse_m"} if self.target == "metric" else {}
        names = ("loss", *(rmse.get(name, name) for name in MEASURES), "grad_norm")
        return {name: value / count if count else math.nan for name, value in zip(names, sums, strict=False)}


class Precision(NamedTuple):
    """The device and the autocast type of the forward pass; None is float32."""

    device: torch.device
    dtype: torch.dtype | None

    @property
    def type_name(self) -> str:
        """The type, for messages."""
        return str(self.dtype or torch.float32).removeprefix("torch.")

    @property
    def name(self) -> str:
        """Device and type, for messages."""
        return f"{self.device.type} in {self.type_name}"

    @property
    def exact(self) -> Precision:
        """The same device in float32, for validation and scoring."""
        return Precision(self.device, None)

    def autocast(self) -> torch.autocast:
        """Compute in the autocast type within this context."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)

    def scaler(self) -> GradScaler:
        """Make a loss scaler, which is enabled for fp16 only."""
        return GradScaler(self.device.type, enabled=self.dtype is torch.float16)


def choose_precision(device: str, amp: str, *, training: bool = False) -> Precision:
    """Choose device and type. `auto` takes a GPU where there is one, with bf16 where it is native, else fp16.

    For `training`, whose sizes do not change, cuDNN takes the fastest kernels for them.

    **Raises**: UserError when the device is missing, has no kernels in this torch, or does not support fp16.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        device = next(name for name in available if available[name])
    if not available.get(device):
        reason = "torch finds none here" if device in available else f"expected auto, {', '.join(available)}"
        raise UserError(f"--device {device}: {reason}. Take --device auto.")
    if amp not in AMP:
        raise UserError(f"--amp {amp}: expected one of {', '.join(AMP)}.")
    if device == "cuda":
        check_kernels()
        torch.backends.cudnn.benchmark |= training
    if amp == "auto" and device == "cuda":
        amp = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if amp == "fp16" and device == "mps":
        raise UserError("--amp fp16: torch has no loss scaler for mps. Take --amp auto.")
    return Precision(torch.device(device), {"bf16": torch.bfloat16, "fp16": torch.float16}.get(amp))


def check_kernels() -> None:
    """Refuse a GPU that this torch was not built for: it counts as available, but its first operation fails.

    Machine code (`sm_75`) runs on GPUs of the same major capability and at least its minor one, PTX (`compute_75`) on
    all later ones. Builds for other makers' GPUs list neither.

    **Raises**: UserError that names the GPU and what to choose.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about the same over many lines
        name, (major, minor) = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    built_for = " ".join(torch.cuda.get_arch_list())
    kernels = [(kind, int(number)) for kind, number in re.findall(r"\b(sm|compute)_(\d+)", built_for)]
    gpu = 10 * major + minor
    if kernels and not any(n <= gpu and (kind == "compute" or n // 10 == major) for kind, n in kernels):
        raise UserError(
            f"--device cuda: torch {torch.__version__} has no kernels for {name} (sm_{gpu}), "
            f"only for {built_for}. Choose another GPU (on Kaggle: T4 x2), or take --device cpu."
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
) -> dict[str, float]:
    """Train on the remaining batches of an epoch, from `state.batch` on; return its mean loss, measures and gradient.

    The measures are of the predictions that made the loss; the gradient's norm is taken before clipping.

    Gradients of `accumulate` batches make one step; batches left over at the end are dropped. A step whose loss or
    gradient is not finite, as when fp16 overflows, is skipped: weights, norm statistics, schedule, averages and means
    stay as they were. `forward` is the wrapper to call in place of `state.network`, such as DDP. `on_read` gets the
    mean loss so far every `READ_LOSS_BATCHES`. `after_step` may save, and may end the training by raising.

    **Raises**: Diverged after `MAX_SKIPPED_STEPS` skipped steps in a row, with `name_batch` of the last one.
    """
    network, optimizer, scaler = state.network.train(), state.optimizer, state.scaler
    forward = forward or network
    statistics = list(network.buffers())
    before = [buffer.clone() for buffer in statistics]
    state.sums = state.sums.to(precision.device)
    optimizer.zero_grad(set_to_none=True)
    tally = torch.zeros_like(state.sums)  # of one step: sums of loss, measures, gradient, and the count of batches
    remaining = iter(batches)
    upcoming = next(remaining, None)
    while upcoming is not None:
        batch = upcoming
        target = make_target(batch.depth_m, batch.valid, units.target, units.max_depth_m)
        with distributed.gradients_kept(forward, (state.batch + 1) % accumulate != 0):
            with precision.autocast():
                prediction = forward(batch.image.contiguous(memory_format=torch.channels_last))
            value = loss(prediction.float(), target, batch.valid, distributed.mean)
            scaler.scale(value / accumulate).backward()
        upcoming = next(remaining, None)  # a GPU computes meanwhile
        measures = measure_images(prediction.detach(), target, batch.valid, units.metres(batch.scale)).mean(dim=1)
        tally[:-2] += torch.cat([value.detach()[None], measures])
        tally[-1] += 1
        state.batch += 1
        if state.batch % accumulate == 0:
            scaler.unscale_(optimizer)
            norm = nn.utils.clip_grad_norm_(network.parameters(), clip)
            tally[-2] = norm * accumulate
            tally = distributed.total(tally)
            if (tally[0] + tally[-2]).isfinite().item():  # a read for which the host waits
                state.sums += tally
                scaler.step(optimizer)
                state.advance()
                torch._foreach_copy_(before, statistics)
            else:
                torch._foreach_copy_(statistics, before)
                state.skipped += 1
                state.streak += 1
            scaler.update()
            if state.streak and scaler.is_enabled() and scaler.get_scale() < MIN_SCALE:
                scaler.update(MIN_SCALE)
            if state.streak == MAX_SKIPPED_STEPS:
                raise Diverged(
                    f"epoch {state.epoch + 1}: loss or gradient was not finite in {MAX_SKIPPED_STEPS} steps in a row, "
                    f"the last time on {name_batch(state.batch - 1)}. Look at these frames, or try a lower --lr."
                )
            tally.zero_()
            optimizer.zero_grad(set_to_none=True)
            after_step()
        if state.batch % READ_LOSS_BATCHES == 0:
            on_read(_means(state, units)["loss"])
    return _means(state, units)


def _means(state: State, units: Units) -> dict[str, float]:
    *sums, count = state.sums.tolist()
    return units.name_measures(sums, count)


def finalize_swa(state: State, batches: Iterable[Batch], precision: Precision) -> nn.Module:
    """Measure the norm statistics of the SWA weights over one pass of training batches; return their network.

    Frozen norms keep their statistics, as in training.

    **Source**: Izmailov et al. 2018, arXiv 1803.05407, section 3.2.
    """
    assert state.swa is not None
    norms = [module for module in state.swa.train().modules() if isinstance(module, _BatchNorm)]
    frozen = [norm for norm in norms if not norm.training]
    for norm in frozen:
        norm.track_running_stats = False  # update_bn resets those that track
    update_bn(batches, state.swa, device=precision.device)
    for norm in frozen:
        norm.track_running_stats = True
    state.swa_finalized = True
    return state.swa.module


@torch.inference_mode()
def validate(
    network: nn.Module, batches: Iterable[Batch], *, loss: Loss, units: Units, precision: Precision
) -> dict[str, float]:
    """Return the mean loss and, per image and then averaged, `MEASURES` at the network's output size.

    Several processes each validate their share of the frames, and all return the figures of all frames.
    """
    distributed.broadcast_statistics(network.eval())
    images = [torch.zeros(len(MEASURES) + 2, 0, device=precision.device)]
    for batch in batches:
        target = make_target(batch.depth_m, batch.valid, units.target, units.max_depth_m)
        prediction = predict(network, batch.image, precision)
        measures = measure_images(prediction, target, batch.valid, units.metres(batch.scale))
        value = loss(prediction, target, batch.valid).expand(1, len(target))
        images.append(torch.cat([value, measures, torch.ones_like(value)]))
    *sums, count = distributed.total(torch.cat(images, dim=1).cpu().double().sum(dim=1)).tolist()
    return units.name_measures(sums, count)


@torch.inference_mode()
def predict(network: nn.Module, image: Tensor, precision: Precision) -> Tensor:
    """Estimate depth in the network's units, in float32: (B, 3, H, W) -> (B, 1, H/4, W/4)."""
    with precision.autocast():
        return network(image.contiguous(memory_format=torch.channels_last)).float()
