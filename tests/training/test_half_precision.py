"""Mixed precision from the loss scaler to the resumed run: on the CPU always, on a GPU where there is one.

`test_train.py` runs the same with the whole network on the CPU, where fp16 is slow.
"""

from pathlib import Path

import pytest
import torch
from conftest import ABOUT
from tiny import CPU, METRIC, content_of, make_batch, make_state, train

from src.data.augment import Augmentation
from src.data.batches import TrainingBatches
from src.data.nyu import open_nyu
from src.data.packed import Sizes, pack
from src.training import checkpoint
from src.training.engine import Precision, finalize_swa, validate
from src.training.losses import mse

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
DEVICES = ["cpu", pytest.param("cuda", marks=cuda)]
HALF = Precision(torch.device("cpu"), torch.float16)
BATCHES = [make_batch(seed, count=2) for seed in range(24)]


@pytest.mark.parametrize("device", DEVICES)
def test_a_loss_scale_that_overflows_fp16_decreases_until_steps_are_made(device: str) -> None:
    precision = Precision(torch.device(device), torch.float16)
    state = make_state(precision=precision, scale=2.0**30)
    before = checkpoint.digest([state.network.state_dict(), state.average.state_dict(), state.swa.state_dict()])
    train(state, BATCHES[:1], precision=precision)
    assert (state.skipped, state.streak, state.schedule.last_epoch) == (1, 1, 0)
    assert state.scaler.get_scale() == 2.0**29
    after = checkpoint.digest([state.network.state_dict(), state.average.state_dict(), state.swa.state_dict()])
    assert after == before
    train(state, BATCHES[1:], precision=precision)
    assert state.streak == 0
    assert 0 < state.schedule.last_epoch == 24 - state.skipped == int(state.swa.n_averaged)
    assert int(state.average.n_averaged) == state.schedule.last_epoch


def test_the_loss_scale_never_falls_below_its_minimum() -> None:
    state, scales = make_state(precision=HALF, scale=4.0), []
    bad = BATCHES[0]._replace(depth_m=torch.full_like(BATCHES[0].depth_m, torch.nan))
    train(state, [bad] * 5, precision=HALF, after_step=lambda: scales.append(state.scaler.get_scale()))
    assert scales == [2, 1, 1, 1, 1]
    train(state, BATCHES[:1], precision=HALF)
    assert state.schedule.last_epoch == 1


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("optimizer", ["adan", "adamw"])
def test_half_precision_learns_as_float32_does(device: str, dtype: torch.dtype, optimizer: str) -> None:
    last = []
    for precision in (Precision(torch.device(device), dtype), Precision(torch.device(device), None)):
        state = make_state(precision=precision, optimizer=optimizer)
        losses = [train(state, BATCHES[:2], precision=precision) for _ in range(7)]
        assert losses[-1] < losses[0] / 2
        last.append(losses[-1])
        assert all(parameter.dtype is torch.float32 for parameter in state.network.parameters())
        # The averages are of float32 weights, and are validated in float32.
        batches = [batch.to(device) for batch in BATCHES[:2]]
        for network in (state.eval_network, finalize_swa(state, batches, precision)):
            assert validate(network, batches, loss=mse, units=METRIC, precision=precision.exact)["loss"] < 1
    assert last[0] == pytest.approx(last[1], rel=0.5)


def test_in_bf16_the_network_computes_and_the_loss_does_not() -> None:
    state, seen = make_state(), []
    state.network.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))

    def loss(prediction: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append(prediction.dtype)
        return mse(prediction, *rest)

    train(state, BATCHES[:1], precision=Precision(torch.device("cpu"), torch.bfloat16), loss=loss)
    assert seen == [torch.bfloat16, torch.float32]


@pytest.mark.parametrize(
    ("before", "after", "scale"),
    [
        (HALF, HALF, 2**9),
        (Precision(torch.device("cpu"), torch.bfloat16), HALF, 2**16),
        (HALF, CPU, 1),
        pytest.param(CPU, Precision(torch.device("cuda"), torch.float16), 2**16, marks=cuda),
        pytest.param(Precision(torch.device("cuda"), torch.float16), CPU, 1, marks=cuda),
    ],
)
def test_a_run_resumes_in_any_precision(tmp_path: Path, before: Precision, after: Precision, scale: int) -> None:
    old = make_state(precision=before, scale=2.0**8)
    train(old, BATCHES[:3], precision=before)
    checkpoint.save(tmp_path / "last.pt", about=ABOUT, **content_of(old))
    new = make_state(precision=after)
    new.restore(checkpoint.load(tmp_path / "last.pt"))
    assert checkpoint.digest(new.network.state_dict()) == checkpoint.digest(old.network.state_dict())
    assert new.scaler.get_scale() == scale
    mean = train(new, BATCHES[3:6], precision=after)
    assert mean == pytest.approx(train(old, BATCHES[3:6], precision=before), rel=0.1)
    assert new.schedule.last_epoch + new.skipped == 6


@cuda
def test_batches_come_through_pinned_memory_as_they_are_on_the_cpu(nyu_folder: Path) -> None:
    packed = pack(open_nyu(nyu_folder / "nyu_data", "train", validation=0), nyu_folder, Sizes(64, 32), max_depth_m=10)
    options = {"augmentation": Augmentation(), "seed": 0}
    epochs = [TrainingBatches(packed, 4, device=torch.device(name), **options).epoch(0) for name in ("cpu", "cuda")]
    for on_cpu, on_gpu in zip(*epochs, strict=True):
        assert on_gpu.image.device.type == "cuda"
        for expected, tensor in zip(on_cpu, on_gpu, strict=True):
            torch.testing.assert_close(tensor.cpu().float(), expected.float(), atol=1e-3, rtol=1e-3)
