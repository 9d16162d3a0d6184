import copy
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from src.conventions import UserError
from src.network import DepthNet
from src.training import checkpoint
from src.training.engine import (
    PATIENCE_STEPS,
    Precision,
    Units,
    choose_precision,
    settle_swa,
    train_epoch,
    validate,
)
from src.training.losses import mse
from src.training.optim import make_ema, make_optimizer, make_schedule, make_swa
from src.training.state import State

METRIC = Units("metric", 10.0)
CPU = Precision(torch.device("cpu"), None)


class Batch(NamedTuple):
    image: torch.Tensor
    depth_m: torch.Tensor
    valid: torch.Tensor


class Scale(nn.Module):
    """The smallest network: depth is a multiple of the mean brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.weight * nn.functional.avg_pool2d(image.mean(dim=1, keepdim=True), 4)


def batch(seed: int = 0, count: int = 4, size: int = 32) -> Batch:
    g = torch.Generator().manual_seed(seed)
    image = torch.rand(count, 3, size, size, generator=g)
    depth_m = 5 * nn.functional.avg_pool2d(image.mean(dim=1, keepdim=True), 4)
    return Batch(image, depth_m, torch.rand(depth_m.shape, generator=g) > 0.2)


def make_state(network: nn.Module, *, optimizer: torch.optim.Optimizer | None = None, steps: int = 100) -> State:
    optimizer = optimizer or torch.optim.SGD(network.parameters(), lr=0.5)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1, total_iters=steps)
    return State(network, optimizer, schedule, CPU.scaler(), make_ema(network, 0.9))


def train(state: State, batches: list[Batch], **options: object) -> float:
    mean = train_epoch(state, batches, loss=mse, units=METRIC, precision=CPU, **options)  # type: ignore[arg-type]
    state.end_epoch()
    return mean


def test_one_batch_is_overfitted() -> None:
    torch.manual_seed(0)
    network = DepthNet(pretrained=False)
    one = batch(size=64)
    state = make_state(network, optimizer=torch.optim.AdamW(network.parameters(), lr=2e-3))
    first = train(state, [one])
    last = train(state, [one] * 30)
    last = train(state, [one] * 3)
    assert last < first / 5


def test_one_step_by_hand_with_clipping() -> None:
    network, one = Scale(), batch()
    features = nn.functional.avg_pool2d(one.image.mean(dim=1, keepdim=True), 4)
    error = features - one.depth_m / 10
    gradient = (2 * error * features)[one.valid].mean()
    clipped = gradient * (0.1 / abs(gradient)).clamp(max=1)
    assert abs(gradient) > 0.1
    loss = train(make_state(network), [one], clip=0.1)
    assert loss == pytest.approx((error[one.valid] ** 2).mean().item(), rel=1e-5)
    assert network.weight.item() == pytest.approx((1 - 0.5 * clipped).item(), rel=1e-4)


def test_accumulated_halves_make_the_step_of_the_whole() -> None:
    whole = batch(count=4)._replace(valid=torch.ones(4, 1, 8, 8, dtype=torch.bool))
    halves = [Batch(*(tensor[half] for tensor in whole)) for half in (slice(0, 2), slice(2, 4))]
    one, two = Scale(), Scale()
    train(make_state(one), [whole])
    state = make_state(two)
    train(state, halves, accumulate=2)
    assert two.weight.item() == pytest.approx(one.weight.item(), rel=1e-5)
    assert state.schedule.last_epoch == 1


def poisoned(what: str, seed: int = 0) -> Batch:
    """A batch whose loss, or only whose gradient, is not finite."""
    one = batch(seed)
    if what == "loss":
        return one._replace(image=torch.full_like(one.image, torch.nan))
    # 1e25 squared is more than a float32 holds; the target is as large, so that the loss is small.
    return one._replace(image=torch.full_like(one.image, 1e25), depth_m=torch.full_like(one.depth_m, 1e26))


class Normed(Scale):
    """With statistics that a bad batch can spoil."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3, affine=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(image) + 0 * self.norm(image.clamp(max=1)).mean()


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing_but_its_count(what: str) -> None:
    spoilt, clean = make_state(Normed()), make_state(Normed())
    mean = train(spoilt, [batch(1), poisoned(what), batch(2)])
    expected = train(clean, [batch(1), batch(2)])
    assert (spoilt.skipped, spoilt.streak, clean.skipped) == (1, 0, 0)
    assert spoilt.schedule.last_epoch == clean.schedule.last_epoch == 2
    for ours, theirs in ((spoilt.network, clean.network), (spoilt.average, clean.average)):
        for key, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[key], value), key
    assert mean == pytest.approx(expected) if what == "loss" else np.isfinite(mean)


def test_a_loss_can_be_bad_though_its_gradient_is_not() -> None:
    def infinite(*arguments: object) -> torch.Tensor:
        return mse(*arguments) + torch.inf

    state = make_state(Scale())
    train_epoch(state, [batch()], loss=infinite, units=METRIC, precision=CPU)
    assert (state.skipped, state.network.weight.item()) == (1, 1)


def test_a_bad_half_spoils_the_whole_accumulated_step() -> None:
    state = make_state(Scale())
    train(state, [batch(1), poisoned("loss"), batch(2), batch(3)], accumulate=2)
    assert (state.skipped, state.schedule.last_epoch) == (1, 1)


def test_fp16s_scale_falls_with_a_skipped_step_but_never_below_its_floor() -> None:
    state = make_state(Scale())
    state.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scales = []
    train(state, [poisoned("loss")] * 5, after_step=lambda: scales.append(state.scaler.get_scale()))
    assert scales == [2, 1, 1, 1, 1]
    train(state, [batch()])
    assert state.schedule.last_epoch == 1


def test_gradients_are_unscaled_before_they_are_clipped() -> None:
    plain, scaled = Scale(), Scale()
    train(make_state(plain), [batch()], clip=0.1)
    state = make_state(scaled)
    state.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    train(state, [batch()], clip=0.1)
    assert scaled.weight.item() == pytest.approx(plain.weight.item(), rel=1e-5)


def test_too_many_bad_steps_in_a_row_end_the_run_and_name_the_frames() -> None:
    state = make_state(Scale())
    fatal = [batch(), *[poisoned("loss")] * PATIENCE_STEPS]
    train(state, fatal[:-1])
    weight = state.network.weight.item()
    with pytest.raises(UserError, match=r"epoch 2: .* 25 steps in a row, the last time on a\.jpg, b\.jpg"):
        train(state, [poisoned("loss")], name_batch=lambda index: "a.jpg, b.jpg" if index == 0 else "others")
    assert state.network.weight.item() == weight
    rescued = make_state(Scale())
    train(rescued, [*fatal[:-1], batch(), *fatal[1:-1]])
    assert rescued.skipped == 2 * PATIENCE_STEPS - 2


def test_autocast_trains_in_bf16_and_keeps_the_loss_in_float32() -> None:
    torch.manual_seed(0)
    network = DepthNet(pretrained=False)
    seen = []
    network.refine.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    precision = Precision(torch.device("cpu"), torch.bfloat16)

    def loss(prediction: torch.Tensor, target: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append(prediction.dtype)
        return mse(prediction, target, *rest)

    state = make_state(network)
    train_epoch(state, [batch(size=64)], loss=loss, units=METRIC, precision=precision)
    assert seen == [torch.bfloat16, torch.float32]


@pytest.mark.parametrize("kind", ["adan", "adamw"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_is_saved_after_any_step_goes_on_bit_for_bit(kind: str, accumulate: int) -> None:
    def fresh() -> State:
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 4, 4, stride=4), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 1, 1)
        network = nn.Sequential(*layers)
        optimizer = make_optimizer(network, kind, lr=2e-2, weight_decay=1e-4)
        schedule = make_schedule(optimizer, steps=14 // accumulate, warmup_steps=2)
        average, scaler = make_ema(network, 0.9), torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
        return State(network, optimizer, schedule, scaler, average, make_swa(network), swa_start=3)

    # Two epochs of seven batches; with accumulation, one of them is left over each time. One is bad.
    epochs = [[batch(10 * epoch + n, count=2, size=16) for n in range(7)] for epoch in range(2)]
    epochs[0][3] = poisoned("loss")

    def run(state: State, after_step: Callable[[], None] = lambda: None) -> list[float]:
        means = []
        while state.epoch < 2:
            rest = epochs[state.epoch][state.batch :]
            means.append(train(state, rest, accumulate=accumulate, after_step=after_step))
        return means

    straight, saved = fresh(), []

    def save() -> None:
        saved.append(copy.deepcopy({**straight.weights(), "progress": straight.progress()}))

    means = run(straight, save)
    assert len(saved) == 14 // accumulate - (accumulate == 2) * 1
    for content in saved:
        resumed = fresh()
        torch.manual_seed(99)  # another process would have drawn other numbers meanwhile
        resumed.restore(content)
        done = resumed.epoch
        assert run(resumed) == means[done:]
        ours, theirs = ({**state.weights(), "progress": state.progress()} for state in (resumed, straight))
        assert checkpoint.digest(ours) == checkpoint.digest(theirs)


def test_validation_by_hand_over_uneven_batches() -> None:
    batches = [batch(0, 4), batch(1, 2)]
    measured = validate(Scale(), batches, loss=mse, units=METRIC, precision=CPU)
    rmse, abs_rel, d1 = [], [], []
    for one in batches:
        prediction_m = 10 * nn.functional.avg_pool2d(one.image.mean(dim=1, keepdim=True), 4)
        for p, t, v in zip(prediction_m, one.depth_m, one.valid, strict=True):
            p, t = p[v].numpy(), t[v].numpy()
            rmse.append(np.sqrt(np.mean((p - t) ** 2)))
            abs_rel.append(np.mean(np.abs(p - t) / t))
            d1.append(np.mean(np.maximum(p / t, t / p) < 1.25))
    assert measured["rmse_m"] == pytest.approx(np.mean(rmse), rel=1e-5)
    assert measured["abs_rel"] == pytest.approx(np.mean(abs_rel), rel=1e-4)
    assert measured["d1"] == pytest.approx(np.mean(d1), abs=1e-6)
    relative = validate(Scale(), batches, loss=mse, units=Units("relative", 10.0), precision=CPU)
    assert "rmse" in relative
    assert "rmse_m" not in relative


def test_precision_follows_the_device() -> None:
    assert choose_precision("cpu", "auto") == CPU
    assert choose_precision("cpu", "bf16").dtype is torch.bfloat16
    assert choose_precision("auto", "off").dtype is None
    assert choose_precision("cpu", "fp16").dtype is torch.float16
    assert choose_precision("cpu", "fp16").exact == CPU
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="--device cuda"):
            choose_precision("cuda", "auto")


T4_BUILD = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]


@pytest.mark.parametrize(
    ("name", "capability", "built_for", "runs"),
    [
        ("Tesla P100-PCIE-16GB", (6, 0), T4_BUILD, False),
        ("Tesla T4", (7, 5), T4_BUILD, True),
        ("NVIDIA L4", (8, 9), T4_BUILD, True),  # the machine code of sm_86 runs there
        ("a GPU of tomorrow", (13, 0), T4_BUILD, False),
        ("a GPU of tomorrow", (13, 0), [*T4_BUILD, "compute_120"], True),  # compiled there from PTX
        ("Tesla P100-PCIE-16GB", (6, 0), [*T4_BUILD, "compute_120"], False),
        ("NVIDIA H100", (9, 0), ["sm_90a"], True),
        ("another maker's", (9, 0), ["gfx90a"], True),
    ],
)
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_gpu_without_kernels_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, device: str, name: str, capability: tuple, built_for: list, runs: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built_for)
    if runs:
        assert choose_precision(device, "off").device.type == "cuda"
        return
    with pytest.raises(UserError, match=rf"no kernels for {name} \(sm_{capability[0]}0\), .*--device cpu") as caught:
        choose_precision(device, "off")
    assert "\n" not in str(caught.value)
    assert choose_precision("cpu", "off") == CPU


def test_swa_takes_in_the_steps_after_its_start_and_measures_its_own_statistics() -> None:
    network = nn.Sequential(nn.Conv2d(3, 1, 4, stride=4), nn.BatchNorm2d(1))
    state = make_state(network)
    state.swa, state.swa_start = make_swa(network), 2
    batches = [batch(seed) for seed in range(5)]
    late = []
    for one in batches:
        train(state, [one])
        late.append(network[0].weight.detach().clone())
    assert int(state.swa.n_averaged) == 3
    assert torch.allclose(state.swa.module[0].weight, torch.stack(late[2:]).mean(dim=0), atol=1e-6)

    judged = settle_swa(state, batches, CPU)
    with torch.no_grad():
        means = [judged[0](one.image).mean() for one in batches]
    assert judged[1].running_mean.item() == pytest.approx(torch.stack(means).mean().item(), abs=1e-5)
    assert state.weights()["swa"] is not None


@pytest.mark.parametrize("keeps_norms", [True, False])
def test_norms_that_keep_their_statistics_keep_them_in_swa(keeps_norms: bool) -> None:
    network = DepthNet(pretrained=False)
    network.encoder.keeps_norms = keeps_norms
    network.encoder.freeze(0 if keeps_norms else 2)
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.fill_(0.25)
    state = make_state(network)
    state.swa, state.swa_start = make_swa(network), 0
    batches = [batch(seed, count=2, size=64) for seed in range(2)]
    train(state, batches)
    judged = settle_swa(state, batches, CPU)
    kept = judged.encoder if keeps_norms else judged.encoder.body.blocks[:2]
    norms = {key: value for key, value in kept.state_dict().items() if key.endswith("running_mean")}
    assert len(norms) > 5
    assert all((value == 0.25).all() for value in norms.values())
    assert not (judged.inception.open[1].running_mean == 0.25).any()
    assert all(module.track_running_stats for module in judged.modules() if isinstance(module, nn.BatchNorm2d))
