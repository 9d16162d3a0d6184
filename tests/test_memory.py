"""Memory and open files stay flat over many passes: `python tests/test_memory.py FOLDER_OF_NYU ROUNDS PASSES`."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

MAX_GROWTH_MB, MAX_OPENED = 24, 4
"""In the second half of the rounds. One batch kept per pass adds 36 MB; a worker's pipe may close a moment late."""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from Linux's /proc")
@pytest.mark.parametrize(("rounds", "passes"), [(4, 3), pytest.param(5, 40, marks=pytest.mark.long)])
def test_memory_and_open_files_stay_flat(nyu_folder: Path, rounds: int, passes: int) -> None:
    # In a separate process, whose heap holds nothing of other tests.
    command = [sys.executable, __file__, str(nyu_folder), str(rounds), str(passes)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/tests/training"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    grown_mb, opened = zip(*json.loads(done.stdout), strict=True)
    assert sum(grown_mb[rounds // 2 :]) < MAX_GROWTH_MB
    assert sum(opened[rounds // 2 :]) <= MAX_OPENED


def measure(folder: Path, rounds: int, passes: int) -> list[tuple[float, int]]:
    """Return by how much memory (MB) and open files grew in each round: an epoch and so many validation passes."""
    from tiny import CPU, METRIC, make_state, train

    from src.data.augment import Augmentation
    from src.data.batches import TrainingBatches, ValidationBatches
    from src.data.nyu import open_nyu
    from src.data.packed import TRAINING_SIZES, VALIDATION_SIZES, pack
    from src.training.allocator import keep_freed_memory
    from src.training.engine import validate
    from src.training.losses import mse

    frames = open_nyu(folder / "nyu_data", "train", validation=0)
    packs = [pack(frames, folder / "cache", sizes, max_depth_m=10) for sizes in (TRAINING_SIZES, VALIDATION_SIZES)]
    batches = TrainingBatches(packs[0], 6, augmentation=Augmentation(), seed=0, device=CPU.device, workers=2)
    validation = ValidationBatches(packs[1], 6, device=CPU.device, workers=2)
    state = make_state()

    keep_freed_memory()
    used = []
    for _ in range(rounds + 1):
        train(state, batches.epoch(state.epoch))
        for _ in range(passes):
            validate(state.eval_network, validation, loss=mse, units=METRIC, precision=CPU)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        used.append((pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir("/proc/self/fd"))))
    return [(round(after[0] - before[0], 1), after[1] - before[1]) for before, after in pairwise(used)]


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
