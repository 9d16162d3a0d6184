import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from tiny import CPU, METRIC, content_of, make_batch, make_network, make_state, train
from torch import nn

from src.conventions import Batch, UserError
from src.network import DepthNet
from src.scoring.metrics import relative_depth, ssim_mse
from src.training import checkpoint
from src.training.engine import (
    MAX_SKIPPED_STEPS,
    Precision,
    Units,
    choose_precision,
    finalize_swa,
    train_epoch,
    validate,
)
from src.training.losses import mse
from src.training.state import State


class Scale(nn.Module):
    """Depth is a multiple of the mean brightness; its norm has no effect but has statistics that a batch can spoil."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))
        self.norm = nn.BatchNorm2d(3, affine=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        no_effect = 0 * self.norm(image.clamp(max=1)).mean()
        return self.weight * nn.functional.avg_pool2d(image.mean(dim=1, keepdim=True), 4) + no_effect


def make_scale() -> State:
    """A state whose steps are half the gradient."""
    network = Scale()
    return make_state(network, optimizer=torch.optim.SGD(network.parameters(), lr=0.5))


def weight_of(state: State) -> float:
    return state.network.weight.item()


def bad_batch(kind: str) -> Batch:
    """A batch whose loss, or only whose gradient, is not finite."""
    batch = make_batch()
    if kind == "loss":
        return batch._replace(image=torch.full_like(batch.image, torch.nan))
    # 1e25 squared is more than a float32 holds; the target is as large, so that the loss is small.
    return batch._replace(image=torch.full_like(batch.image, 1e25), depth_m=torch.full_like(batch.depth_m, 1e26))


def test_one_batch_is_overfitted() -> None:
    torch.manual_seed(0)
    state = make_state(DepthNet(pretrained=False))
    batch = make_batch(count=2, size=64)
    losses = [train(state, [batch]) for _ in range(20)]
    assert losses[-1] < losses[0] / 5


def test_the_next_batch_is_loaded_before_the_host_waits_for_a_step() -> None:
    events = []

    def batches() -> Iterator[Batch]:
        for number in range(3):
            events.append(f"load {number}")
            yield make_batch(number)

    train(make_state(), batches(), after_step=lambda: events.append("step"))
    assert events == ["load 0", "load 1", "step", "load 2", "step", "step"]


def test_one_clipped_step_by_hand() -> None:
    state, batch = make_scale(), make_batch()
    features = nn.functional.avg_pool2d(batch.image.mean(dim=1, keepdim=True), 4)
    error = features - batch.depth_m / 10
    gradient = (2 * error * features)[batch.valid].mean()
    assert gradient.abs() > 0.1
    assert train(state, [batch], clip=0.1) == pytest.approx((error[batch.valid] ** 2).mean().item(), rel=1e-5)
    assert weight_of(state) == pytest.approx((1 - 0.5 * 0.1 * gradient.sign()).item(), rel=1e-4)
    # Gradients are unscaled before they are clipped.
    scaled = make_scale()
    scaled.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    train(scaled, [batch], clip=0.1)
    assert weight_of(scaled) == pytest.approx(weight_of(state), rel=1e-5)


@pytest.mark.parametrize("kind", ["loss", "gradient"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_bad_step_changes_nothing_but_its_count(kind: str, accumulate: int) -> None:
    spoilt, clean = make_scale(), make_scale()
    step = [make_batch(n) for n in range(accumulate)]
    mean = train(spoilt, [*step, *step[1:], bad_batch(kind), *step], accumulate=accumulate)
    expected = train(clean, [*step, *step], accumulate=accumulate)
    assert (spoilt.skipped, spoilt.streak, clean.skipped) == (1, 0, 0)
    assert spoilt.schedule.last_epoch == clean.schedule.last_epoch == 2
    assert checkpoint.digest(spoilt.weights()) == checkpoint.digest(clean.weights())
    assert mean == pytest.approx(expected)


def test_too_many_bad_steps_in_a_row_end_the_run_and_name_the_frames() -> None:
    state = make_scale()
    almost = [make_batch(), *[bad_batch("loss")] * (MAX_SKIPPED_STEPS - 1)]
    train(state, almost * 2)
    assert state.skipped == 2 * MAX_SKIPPED_STEPS - 2
    weight = weight_of(state)
    with pytest.raises(UserError, match=r"epoch 2: .* 25 steps in a row, the last time on a\.jpg, b\.jpg"):
        train(state, [bad_batch("loss")], name_batch=lambda index: "a.jpg, b.jpg" if index == 0 else "others")
    assert weight_of(state) == weight


@pytest.mark.parametrize(("optimizer", "accumulate"), [("adan", 1), ("adamw", 2)])
def test_a_run_is_resumed_after_any_step_bit_for_bit(optimizer: str, accumulate: int) -> None:
    # Two epochs of seven batches; with accumulation, one of them is left over each time. One is bad.
    epochs = [[make_batch(10 * epoch + n, count=2, size=32) for n in range(7)] for epoch in range(2)]
    epochs[0][3] = bad_batch("loss")

    def start() -> State:
        state = make_state(make_network(dropout=0.5), optimizer=optimizer, steps=14 // accumulate, swa_start=3)
        state.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
        return state

    def run(state: State, after_step: Callable[[], None] = lambda: None) -> list[float]:
        means = []
        while state.epoch < 2:
            rest = epochs[state.epoch][state.batch :]
            means.append(train(state, rest, accumulate=accumulate, after_step=after_step))
        return means

    straight, saved = start(), []
    means = run(straight, lambda: saved.append(copy.deepcopy(content_of(straight))))
    assert len(saved) == {1: 14, 2: 6}[accumulate]
    expected = checkpoint.digest(content_of(straight))
    for content in saved:
        resumed = start()
        torch.manual_seed(99)  # another process would have drawn other numbers meanwhile
        resumed.restore(content)
        done = resumed.epoch
        assert run(resumed) == means[done:]
        assert checkpoint.digest(content_of(resumed)) == expected


def test_validation_by_hand_over_uneven_batches() -> None:
    batches = [make_batch(0, 4), make_batch(1, 2)]
    measured = validate(Scale(), batches, loss=mse, units=METRIC, precision=CPU)
    rmse, abs_rel, d1 = [], [], []
    for batch in batches:
        prediction_m = 10 * nn.functional.avg_pool2d(batch.image.mean(dim=1, keepdim=True), 4)
        for p, t, v in zip(prediction_m, batch.depth_m, batch.valid, strict=True):
            p, t = p[v].numpy(), t[v].numpy()
            rmse.append(np.sqrt(np.mean((p - t) ** 2)))
            abs_rel.append(np.mean(np.abs(p - t) / t))
            d1.append(np.mean(np.maximum(p / t, t / p) < 1.25))
    assert measured["rmse_m"] == pytest.approx(np.mean(rmse), rel=1e-5)
    assert measured["abs_rel"] == pytest.approx(np.mean(abs_rel), rel=1e-4)
    assert measured["d1"] == pytest.approx(np.mean(d1), abs=1e-6)
    relative = validate(Scale(), batches, loss=mse, units=Units("relative", 10.0), precision=CPU)
    assert "rmse" in relative and "rmse_m" not in relative


@pytest.mark.parametrize("target", ["metric", "relative"])
def test_validation_measures_ssim_as_the_protocols_do(target: str) -> None:
    batch, network = make_batch(size=64), make_scale().network.eval()
    expected = []
    for prediction, depth_m, valid in zip(network(batch.image), batch.depth_m, batch.valid, strict=True):
        measured_m = depth_m[0] * valid[0]
        scaled = relative_depth(measured_m) if target == "relative" else measured_m / 10
        expected.append(ssim_mse(prediction[0].detach(), scaled, valid[0])["ssim"])
    measured = validate(network, [batch], loss=mse, units=Units(target, 10.0), precision=CPU)
    assert measured["ssim"] == pytest.approx(np.mean(expected), abs=1e-5)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_training_logs_what_validation_would_measure_and_the_gradient(accumulate: int) -> None:
    batches, state = [make_batch(seed) for seed in range(2)], make_scale()
    frozen = torch.optim.SGD(state.network.parameters(), lr=0)
    options = {"loss": mse, "units": METRIC, "precision": CPU}
    still = make_state(state.network, optimizer=frozen)
    trained = train_epoch(still, batches, clip=0.1, accumulate=accumulate, **options)
    measured = validate(state.network, batches, **options)
    gradients = []
    for batch in batches:
        features = nn.functional.avg_pool2d(batch.image.mean(dim=1, keepdim=True), 4)
        gradients.append((2 * (features - batch.depth_m / 10) * features)[batch.valid].mean().item())
    norm = np.mean(np.abs(gradients)) if accumulate == 1 else np.abs(np.mean(gradients))
    assert trained.pop("grad_norm") == pytest.approx(norm, rel=1e-4)
    assert trained == pytest.approx(measured, rel=1e-4)


def test_swa_averages_the_steps_after_its_start_and_measures_its_own_statistics() -> None:
    state = make_state(swa_start=2)
    kernel = state.network[0].weight
    batches = [make_batch(seed) for seed in range(5)]
    late = []
    for batch in batches:
        train(state, [batch])
        late.append(kernel.detach().clone())
        assert state.has_swa == (len(late) > 2) and state.weights()["swa"] is None
    assert int(state.swa.n_averaged) == 3
    torch.testing.assert_close(state.swa.module[0].weight, torch.stack(late[2:]).mean(dim=0))
    averaged = finalize_swa(state, batches, CPU)
    with torch.no_grad():
        means = [averaged[0](batch.image).mean(dim=(0, 2, 3)) for batch in batches]
    torch.testing.assert_close(averaged[1].running_mean, torch.stack(means).mean(dim=0))
    assert state.weights()["swa"] is not None


def test_a_swa_that_now_starts_later_is_averaged_anew() -> None:
    old, same, later = make_state(swa_start=2), make_state(swa_start=2), make_state(swa_start=5)
    train(old, [make_batch(seed) for seed in range(4)])
    for state in (same, later):
        state.restore(content_of(old))
    assert int(same.swa.n_averaged) == 2
    train(later, [make_batch(seed) for seed in range(4, 7)])
    assert int(later.swa.n_averaged) == 2  # steps 6 and 7


class FrozenNorm(nn.BatchNorm2d):
    def train(self, mode: bool = True) -> "FrozenNorm":
        return super().train(False)


def test_frozen_norms_keep_their_statistics_in_swa() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), FrozenNorm(4), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))
    network[1].running_mean.fill_(0.25)
    state = make_state(network)
    batches = [make_batch(seed) for seed in range(2)]
    train(state, batches)
    averaged = finalize_swa(state, batches, CPU)
    assert averaged[1].track_running_stats and (averaged[1].running_mean == 0.25).all()
    assert int(averaged[2].num_batches_tracked) == 2


def test_precision_follows_the_device() -> None:
    assert choose_precision("cpu", "auto") == CPU
    assert choose_precision("auto", "off").dtype is None
    assert choose_precision("cpu", "bf16").dtype is torch.bfloat16
    assert choose_precision("cpu", "fp16").dtype is torch.float16
    assert choose_precision("cpu", "fp16").exact == CPU
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="--device cuda"):
            choose_precision("cuda", "auto")


T4_BUILD = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]


@pytest.mark.parametrize(
    ("capability", "built_for", "runs"),
    [
        ((6, 0), T4_BUILD, False),  # P100
        ((7, 5), T4_BUILD, True),
        ((8, 9), T4_BUILD, True),  # the machine code of sm_86 runs there
        ((13, 0), T4_BUILD, False),
        ((13, 0), [*T4_BUILD, "compute_120"], True),  # compiled there from PTX
        ((6, 0), [*T4_BUILD, "compute_120"], False),
        ((9, 0), ["sm_90a"], True),
        ((9, 0), ["gfx90a"], True),  # another maker's
    ],
)
def test_gpus_without_kernels(monkeypatch: pytest.MonkeyPatch, capability: tuple, built_for: list, runs: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built_for)
    if runs:
        assert choose_precision("auto", "off") == Precision(torch.device("cuda"), None)
    else:
        with pytest.raises(UserError, match=rf"^.*no kernels for a GPU \(sm_{capability[0]}0\), .*--device cpu\.$"):
            choose_precision("auto", "off")


def test_validation_measures_metres_of_the_frames_own_camera() -> None:
    network, batch = make_scale().network, make_batch()

    def measure(target: str, scale: float) -> dict[str, float]:
        scaled = batch._replace(scale=torch.full((4,), scale))
        return validate(network, [scaled], loss=mse, units=Units(target, 10.0), precision=CPU)

    near, far = measure("metric", 1.0), measure("metric", 2.0)
    assert (far["rmse_m"], far["abs_rel"]) == (pytest.approx(2 * near["rmse_m"]), near["abs_rel"])
    assert measure("relative", 1.0) == measure("relative", 2.0)


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
