"""Memory and open files stay flat over many passes, loader workers included.

Measured in a process of its own, since what other tests left in this one's heap would blur the figures:
`python tests/test_memory.py FOLDER ROUNDS PASSES`, FOLDER holding NYU, a round being an epoch and so many passes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

MOST_GROWTH_MB, MOST_OPENED = 24, 4
"""In the later half of the rounds. Before, the heap may still grow, when more batches than ever happen to lie in it at
once; and a worker's pipe may close a moment late. One batch kept per pass adds 36 MB and more."""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from Linux's /proc")
@pytest.mark.parametrize(("rounds", "passes"), [(4, 5), pytest.param(5, 40, marks=pytest.mark.long)])
def test_memory_and_open_files_stay_flat(nyu_folder: Path, rounds: int, passes: int) -> None:
    command = [sys.executable, __file__, str(nyu_folder), str(rounds), str(passes)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    grown_mb, opened = zip(*json.loads(done.stdout), strict=True)
    print(f"\n{rounds} epochs, each with {passes} validation passes: {grown_mb} MB, {opened} open files")
    assert sum(grown_mb[rounds // 2 :]) < MOST_GROWTH_MB
    assert sum(opened[rounds // 2 :]) <= MOST_OPENED


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def measure(folder: Path, rounds: int, passes: int) -> list[tuple[float, int]]:
    """Train and validate as often as asked; return by how much memory and open files grew in each round."""
    import torch

    from src.data.augment import Augmentation
    from src.data.batches import TrainingBatches, ValidationBatches
    from src.data.nyu import open_nyu
    from src.data.packed import TRAINING_SIZES, VALIDATION_SIZES, pack
    from src.network import DepthNet
    from src.training.allocator import keep_freed_memory
    from src.training.engine import Precision, Units, train_epoch, validate
    from src.training.losses import mse
    from src.training.optim import make_ema, make_optimizer, make_schedule
    from src.training.state import State

    keep_freed_memory()
    cpu, metric = Precision(torch.device("cpu"), None), Units("metric", 10.0)
    frames = open_nyu(folder / "nyu_data", "train", validation=0)
    packs = [pack(frames, folder / "cache", sizes, max_depth_m=10) for sizes in (TRAINING_SIZES, VALIDATION_SIZES)]
    batches = TrainingBatches(packs[0], 6, augmentation=Augmentation(), seed=0, device=cpu.device, workers=2)
    validation = ValidationBatches(packs[1], 6, device=cpu.device, workers=2)
    network = DepthNet(pretrained=False)
    optimizer = make_optimizer(network, "adan", lr=1e-4, weight_decay=0)
    schedule = make_schedule(optimizer, steps=100, warmup_steps=1)
    state = State(network, optimizer, schedule, cpu.scaler(), make_ema(network, 0.9))

    def work(passes: int) -> tuple[float, int]:
        before = resident_mb(), open_files()
        train_epoch(state, batches.epoch(state.epoch), loss=mse, units=metric, precision=cpu)
        state.end_epoch()
        for _ in range(passes):
            validate(state.eval_network, validation, loss=mse, units=metric, precision=cpu)
        return round(resident_mb() - before[0], 1), open_files() - before[1]

    work(5)
    return [work(passes) for _ in range(rounds)]


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
