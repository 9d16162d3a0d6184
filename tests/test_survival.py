"""Real runs that are killed, stopped and restarted end as if nothing had happened, bit for bit."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ROOT, make_nyu

TRAIN = str(ROOT / "scripts" / "train.py")
RUN = ("--batch-size", "2", "--augment", "--swa", "0.4", "--checkpoint-every", "1", "--resume", "auto")


class Place:
    """A folder with data, and runs in it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.data = folder, make_nyu(folder)
        self.environment = {**os.environ, **environment, "OMP_NUM_THREADS": "1"}

    def start(self, *command: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            list(map(str, command)),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def command(self, name: str, epochs: int, *more: object) -> list[object]:
        return [sys.executable, TRAIN, "--data-dir", self.data, "--out", name, "--epochs", epochs, *RUN, *more]

    def finish(self, *command: object, status: int = 0) -> str:
        process = self.start(*command)
        out, err = process.communicate(timeout=600)
        assert process.returncode == status, (out + err)[-3000:]
        assert "Traceback" not in err
        return out

    def calm(self, epochs: int, workers: int) -> str:
        """Make a run that nothing disturbs, once; return its name."""
        name = f"calm-{epochs}-{workers}"
        if not (self.folder / name).exists():
            self.finish(*self.command(name, epochs, "--workers", workers))
        return name

    def result(self, name: str) -> tuple[str, str, list[dict[str, float]]]:
        """Checksums of the best weights and of the whole state, and all figures but the clock's."""
        sums = [torch.load(self.folder / name / file, weights_only=True)["sha256"] for file in ("best.pt", "last.pt")]
        lines = [json.loads(line) for line in (self.folder / name / "metrics.jsonl").read_text().splitlines()]
        return sums[0], sums[1], [{k: v for k, v in line.items() if k != "train_images_per_s"} for line in lines]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, offline: dict[str, str]) -> Place:
    return Place(tmp_path_factory.mktemp("survival"), offline)


def wait_for(what: Callable[[], object], process: subprocess.Popen[str], patience_s: float = 120) -> bool:
    """Wait until something is the case; False when the process ended before."""
    until = time.monotonic() + patience_s
    while not what():
        if process.poll() is not None:
            return False
        assert time.monotonic() < until, f"{what}: did not come"
        time.sleep(0.0005)
    return True


def inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def kill_somewhere(process: subprocess.Popen[str], run: Path, mode: str, chance: random.Random) -> bool:
    """Send SIGKILL at a moment of the given kind; False when the process ended before."""
    if mode == "anywhere":  # also while Python starts, frames are decoded or figures are validated
        time.sleep(chance.uniform(0, 12))
    elif mode == "while saving":
        if not wait_for((run / ".last.pt.unfinished").exists, process):
            return False
        time.sleep(chance.uniform(0, 0.2))
    else:
        before = inode(run / "last.pt")
        if not wait_for(lambda: inode(run / "last.pt") not in (0, before), process):
            return False
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("kills", "epochs", "workers"),
    [(3, 2, 2), pytest.param(25, 12, 0, marks=pytest.mark.long), pytest.param(10, 6, 2, marks=pytest.mark.long)],
)
def test_killed_anywhere_a_run_ends_as_an_undisturbed_one(place: Place, kills: int, epochs: int, workers: int) -> None:
    calm, name = place.calm(epochs, workers), f"killed-{epochs}-{workers}"
    killed = place.command(name, epochs, "--workers", workers)
    chance, counts = random.Random(kills), dict.fromkeys(("while saving", "after saving", "anywhere"), 0)
    for number in range(kills):
        mode = list(counts)[number % 3]
        process = place.start(*killed)
        if not kill_somewhere(process, place.folder / name, mode, chance):
            pytest.fail(f"the run ended after {counts} kills: give it more epochs")
        counts[mode] += 1
    place.finish(*killed)
    assert place.result(name) == place.result(calm)
    print(f"\nkilled {counts}, and still the same weights")


def test_stopped_by_signals_and_the_clock_it_goes_on_by_the_printed_command(place: Place) -> None:
    calm, run = place.calm(2, 2), place.folder / "stopped"
    command = place.command("stopped", 2, "--workers", 2, "--max-minutes", 60)
    for signum, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        before = inode(run / "last.pt")
        process = place.start(*command)
        assert wait_for(lambda before=before: inode(run / "last.pt") not in (0, before), process)
        os.killpg(process.pid, signum)  # the loader's workers hear it too, as from a terminal or a cluster
        out, err = process.communicate(timeout=60)
        assert process.returncode == status, err
        assert "Traceback" not in err
        assert "a second signal stops at once" in err
        (printed,) = re.findall(r"All is saved; go on with:\n  (.+)", out)
        assert "--max-minutes 60" in printed
        command = [sys.executable, *shlex.split(printed)[1:]]
    out = place.finish(*command, "--max-minutes", 0.0001)
    assert "stopped by --max-minutes" in out
    assert not list(run.glob("evaluation*"))
    place.finish(*command)
    assert list(run.glob("evaluation*.json"))
    assert place.result("stopped") == place.result(calm)


@pytest.mark.parametrize(("kills", "epochs"), [(1, 2), pytest.param(6, 6, marks=pytest.mark.long)])
def test_two_processes_end_as_one_and_torchrun_brings_killed_ones_back(place: Place, kills: int, epochs: int) -> None:
    calm, run = place.calm(epochs, 2), place.folder / f"together-{kills}"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]
    script = [word for word in place.command(run.name, epochs)[1:] if word not in ("--resume", "auto")]
    process = place.start(*torchrun, "--max-restarts", kills, *script)  # a restart goes on by itself
    for number in range(kills):
        before = inode(run / "last.pt")
        assert wait_for(lambda before=before: inode(run / "last.pt") not in (0, before), process)
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        os.kill(int(children[(number + 1) % 2]), signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    assert "forcefully" not in err  # the one that was not killed ends soon, for all its loader's workers
    assert out.count("resumed after epoch") == kills
    (_, _, alone), (_, _, together) = place.result(calm), place.result(run.name)
    assert [line["epoch"] for line in together] == list(range(1, epochs + 1))
    for ours, theirs in zip(together, alone, strict=True):
        assert ours == pytest.approx(theirs, rel=0.01 * 2 ** ours["epoch"])  # differences of rounding grow
    # From two processes to one, between two epochs.
    out = place.finish(sys.executable, TRAIN, "--resume", run, "--epochs", epochs + 1)
    assert re.search(r"now on 1 x cpu .*, before on 2 x cpu .*: .* not bit for bit", out)
