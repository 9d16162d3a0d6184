"""Memory and open files stay flat over many passes, loader workers included."""

import os
from pathlib import Path

import pytest
import torch

from src.data.augment import Augmentation
from src.data.batches import TrainingBatches, ValidationBatches
from src.data.nyu import open_nyu
from src.data.packed import TRAINING_SIZES, VALIDATION_SIZES, pack
from src.network import DepthNet
from src.training.engine import Precision, Units, train_epoch, validate
from src.training.losses import mse
from src.training.optim import make_ema, make_optimizer, make_schedule
from src.training.state import State

CPU = Precision(torch.device("cpu"), None)
METRIC = Units("metric", 10.0)

MOST_GROWTH_MB = 24
"""Between the first passes, which fill the allocator's and torch's own stores, and the last."""


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from Linux's /proc")
@pytest.mark.parametrize(("epochs", "passes"), [(2, 20), pytest.param(5, 200, marks=pytest.mark.long)])
def test_memory_and_open_files_stay_flat(nyu_folder: Path, tmp_path: Path, epochs: int, passes: int) -> None:
    frames = open_nyu(nyu_folder / "nyu_data", "train", validation=0)
    packs = [pack(frames, tmp_path / "cache", sizes, max_depth_m=10) for sizes in (TRAINING_SIZES, VALIDATION_SIZES)]
    batches = TrainingBatches(packs[0], 6, augmentation=Augmentation(), seed=0, device=CPU.device, workers=2)
    validation = ValidationBatches(packs[1], 6, device=CPU.device, workers=2)
    network = DepthNet(pretrained=False)
    optimizer = make_optimizer(network, "adan", lr=1e-4, weight_decay=0)
    schedule = make_schedule(optimizer, steps=100, warmup_steps=1)
    state = State(network, optimizer, schedule, CPU.scaler(), make_ema(network, 0.9))

    def work(epochs: int, passes: int) -> None:
        for _ in range(epochs):
            train_epoch(state, batches.epoch(state.epoch), loss=mse, units=METRIC, precision=CPU)
            state.end_epoch()
        for _ in range(passes):
            validate(state.judged, validation, loss=mse, units=METRIC, precision=CPU)

    work(1, 3)
    before = resident_mb(), open_files()
    work(epochs, passes)
    grown = resident_mb() - before[0]
    print(f"\n{epochs} epochs and {passes} validation passes: {grown:+.1f} MB, {open_files() - before[1]:+} open files")
    assert grown < MOST_GROWTH_MB
    assert open_files() == before[1]
