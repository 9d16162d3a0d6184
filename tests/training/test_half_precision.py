"""Mixed precision from the loss scaler to the resumed run: on the CPU always, on a GPU where there is one.

`test_train.py` runs the same with the whole network on the CPU, where fp16 is slow.
"""

import copy
from pathlib import Path

import pytest
import torch
from conftest import ABOUT, wavy_frame
from torch import nn

from src.conventions import Batch, Frame
from src.data.augment import Augmentation
from src.data.batches import TrainingBatches
from src.data.packed import Sizes, pack
from src.training import checkpoint
from src.training.engine import Precision, Units, settle_swa, train_epoch, validate
from src.training.losses import mse
from src.training.optim import make_ema, make_optimizer, make_schedule, make_swa
from src.training.state import State

METRIC = Units("metric", 10.0)
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
DEVICES = ["cpu", pytest.param("cuda", marks=cuda)]
HALVES = [torch.float16, torch.bfloat16]


def batch(seed: int, device: str = "cpu") -> Batch:
    g = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 3, 64, 64, generator=g)
    depth_m = 1 + 4 * nn.functional.avg_pool2d(image.mean(dim=1, keepdim=True), 4)
    return Batch(*(each.to(device) for each in (image, depth_m, depth_m > 0)))


def make_state(precision: Precision, *, optimizer: str = "adamw", scale: float = 2.0**16) -> State:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 4, stride=4, bias=False), nn.BatchNorm2d(8), nn.GELU(), nn.Conv2d(8, 1, 1)
    network = nn.Sequential(*layers).to(precision.device, memory_format=torch.channels_last)
    moved_by = make_optimizer(network, optimizer, lr=1e-2, weight_decay=1e-2)
    schedule = make_schedule(moved_by, steps=100, warmup_steps=1)
    scaler = torch.amp.GradScaler(precision.device.type, init_scale=scale, enabled=precision.dtype is torch.float16)
    return State(network, moved_by, schedule, scaler, make_ema(network, 0.9), make_swa(network), swa_start=0)


def train(state: State, precision: Precision, seeds: range) -> float:
    batches = [batch(seed, precision.device.type) for seed in seeds]
    mean = train_epoch(state, batches, loss=mse, units=METRIC, precision=precision)
    state.end_epoch()
    return mean


@pytest.mark.parametrize("device", DEVICES)
def test_a_loss_scale_that_overflows_fp16_falls_until_steps_are_made(device: str) -> None:
    precision = Precision(torch.device(device), torch.float16)
    state = make_state(precision, scale=2.0**30)
    before = copy.deepcopy(state.network.state_dict())
    train(state, precision, range(1))
    assert (state.skipped, state.streak, state.schedule.last_epoch) == (1, 1, 0)
    assert state.scaler.get_scale() == 2.0**29
    assert not state.has_swa
    for network in (state.network, state.average.module, state.swa.module):
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    train(state, precision, range(1, 24))
    assert state.streak == 0
    assert 0 < state.schedule.last_epoch == 24 - state.skipped == int(state.swa.n_averaged)
    assert int(state.average.n_averaged) == state.schedule.last_epoch


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("optimizer", ["adan", "adamw"])
def test_half_precision_learns_as_float32_does(device: str, dtype: torch.dtype, optimizer: str) -> None:
    losses = []
    for precision in (Precision(torch.device(device), dtype), Precision(torch.device(device), None)):
        state = make_state(precision, optimizer=optimizer)
        first = train(state, precision, range(1))
        for _ in range(5):
            train(state, precision, range(2))
        losses.append(train(state, precision, range(1)))
        assert losses[-1] < first / 2
        assert all(parameter.dtype is torch.float32 for parameter in state.network.parameters())
        # The averages are of float32 weights, and are judged in float32.
        batches = [batch(seed, device) for seed in range(2)]
        for judged in (state.judged, settle_swa(state, batches, precision)):
            measured = validate(judged, batches, loss=mse, units=METRIC, precision=precision.exact)
            assert measured["loss"] < 1
    assert losses[0] == pytest.approx(losses[1], rel=0.5)


ROUTES = [
    ("cpu", None, "cpu", torch.float16),
    ("cpu", torch.bfloat16, "cpu", torch.float16),
    ("cpu", torch.float16, "cpu", None),
    ("cpu", torch.float16, "cpu", torch.float16),
    pytest.param("cpu", None, "cuda", torch.float16, marks=cuda),
    pytest.param("cuda", torch.float16, "cpu", None, marks=cuda),
]


@pytest.mark.parametrize(("device", "dtype", "next_device", "next_dtype"), ROUTES)
def test_a_run_is_resumed_on_another_device_and_in_another_type(
    tmp_path: Path, device: str, dtype: torch.dtype | None, next_device: str, next_dtype: torch.dtype | None
) -> None:
    before, after = Precision(torch.device(device), dtype), Precision(torch.device(next_device), next_dtype)
    old = make_state(before, scale=2.0**10)
    train(old, before, range(3))
    checkpoint.save(tmp_path / "last.pt", about=ABOUT, **old.weights(), progress=old.progress())
    new = make_state(after)
    new.restore(checkpoint.load(tmp_path / "last.pt"))
    for key, value in old.network.state_dict().items():
        assert torch.equal(new.network.state_dict()[key].cpu(), value.cpu()), key
    if torch.float16 in (dtype, next_dtype):
        both = dtype is next_dtype
        assert new.scaler.get_scale() == (2.0**10 if both else 2.0**16 if next_dtype is torch.float16 else 1)
    made = old.schedule.last_epoch
    mean = train(new, after, range(3, 6))
    assert mean == pytest.approx(train(old, before, range(3, 6)), rel=0.1)
    assert new.schedule.last_epoch + new.skipped - old.skipped == made + 3


@cuda
def test_batches_come_through_pinned_memory_as_they_are_on_the_cpu(tmp_path: Path) -> None:
    class Waves:
        names = scenes = tuple("abcdefgh")
        fingerprint = identity = "waves"

        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> Frame:
            image, depth_m = wavy_frame(index)
            return Frame(image, depth_m, depth_m > 0)

        def encoding(self, index: int) -> str:
            return "metres"

    packed = pack(Waves(), tmp_path, Sizes(64, 32), max_depth_m=10)
    options = {"augmentation": Augmentation(), "seed": 0}
    epochs = [TrainingBatches(packed, 4, device=torch.device(each), **options).epoch(0) for each in ("cpu", "cuda")]
    for here, there in zip(*epochs, strict=True):
        assert there.image.device.type == "cuda"
        for one, other in zip(here, there, strict=True):
            torch.testing.assert_close(one.float(), other.cpu().float(), atol=1e-3, rtol=1e-3)
