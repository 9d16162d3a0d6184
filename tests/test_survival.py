"""Real runs that are killed, stopped and restarted end as undisturbed ones, bit for bit."""

import itertools
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, TRAINED, Trained

from src.training import checkpoint

TRAIN = str(ROOT / "scripts" / "train.py")
RUN = (*TRAINED, "--checkpoint-every", 1)
STATE = ("network", "ema", "swa", "progress")
PAIR = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]


class Runs:
    def __init__(self, folder: Path, trained: Trained, environment: dict[str, str]) -> None:
        self.folder, self.trained = folder, trained
        self.environment = {**os.environ, **environment}

    def start(self, *command: object) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
        return subprocess.Popen(list(map(str, command)), cwd=self.folder, env=self.environment, **pipes)

    def command(self, name: str, epochs: int, *more: object) -> list[object]:
        average = ("--swa", "0.4") if epochs > 2 else ()
        return [TRAIN, "--data-dir", self.trained.nyu, "--out", name, *RUN, "--epochs", epochs, *average, *more]

    def finish(self, *command: object) -> str:
        process = self.start(*command)
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, (out + err)[-3000:]
        assert "Traceback" not in err
        return out

    def undisturbed(self, epochs: int, *launcher: object, workers: int = 2) -> Any:
        """Return the result of a run that nothing disturbs, which is made once; one process, 2 epochs: `trained`."""
        if (epochs, len(launcher)) == (2, 1):
            return self.result(self.trained.run)
        name = f"undisturbed-{epochs}-{workers}-{len(launcher)}"
        if not (self.folder / name).exists():
            self.finish(*launcher, *self.command(name, epochs, "--workers", workers))
        return self.result(name)

    def result(self, name: str | Path) -> Any:
        """Checksums of the best weights and of the state, and all figures but the clock's."""
        contents = (checkpoint.load(self.folder / name / file) for file in ("best.pt", "last.pt"))
        sums = [checkpoint.digest([content.get(part) for part in STATE]) for content in contents]
        lines = [json.loads(line) for line in (self.folder / name / "metrics.jsonl").read_text().splitlines()]
        return sums, [{k: v for k, v in line.items() if k != "train_images_per_s"} for line in lines]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, trained: Trained, offline: dict[str, str]) -> Runs:
    return Runs(tmp_path_factory.mktemp("survival"), trained, offline)


def wait_for_save(run: Path, process: subprocess.Popen[str], *, unfinished: bool = False) -> None:
    """Wait until a new `last.pt` has been written, or is being written."""

    def inode() -> int:
        try:
            return (run / (".last.pt.unfinished" if unfinished else "last.pt")).stat().st_ino
        except OSError:
            return 0

    before, until = 0 if unfinished else inode(), time.monotonic() + 120
    while inode() in (0, before):
        assert process.poll() is None, "the run ended before: give it more epochs"
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.0005)


def interrupt(process: subprocess.Popen[str], run: Path) -> None:
    """Send Ctrl-C after a save, to a run whose output goes to a `tee`, which the same Ctrl-C ends first."""
    assert process.stdout and process.stderr
    wait_for_save(run, process)
    process.stdout.close()
    process.stderr.close()
    newest = (run / "last.pt").stat().st_ino
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert (run / "last.pt").stat().st_ino != newest


def stop(process: subprocess.Popen[str], run: Path) -> list[str]:
    """Send SIGTERM after a save; return the command that the run prints to resume it."""
    wait_for_save(run, process)
    os.killpg(process.pid, signal.SIGTERM)  # the loader's workers get it too, as from a cluster
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "Traceback" not in err
    assert "a second signal stops at once" in err
    assert not list(run.glob("evaluation*"))
    (printed,) = re.findall(r"^  (python .+)", out, re.MULTILINE)
    return [sys.executable, *shlex.split(printed)[1:]]


def kill(moment: object, process: subprocess.Popen[str], run: Path, chance: random.Random) -> None:
    """Send SIGKILL at a moment of the given kind."""
    if moment == "anywhere":  # also while Python starts, frames are decoded or figures are validated
        time.sleep(chance.uniform(0, 8))
    else:
        wait_for_save(run, process, unfinished=moment == "while saving")
        time.sleep(chance.uniform(0, 0.2))
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run ended before: give it more epochs"


MOMENTS = ("while saving", signal.SIGINT, signal.SIGTERM, "anywhere", "after saving")


@pytest.mark.parametrize(
    ("times", "epochs", "workers"),
    [(3, 2, 2), pytest.param(25, 24, 0, marks=pytest.mark.long), pytest.param(10, 12, 2, marks=pytest.mark.long)],
)
def test_a_run_killed_and_stopped_ends_as_an_undisturbed_one(runs: Runs, times: int, epochs: int, workers: int) -> None:
    run = runs.folder / f"killed-{epochs}-{workers}"
    command = [sys.executable, *runs.command(run.name, epochs, "--workers", workers), "--resume", "auto"]
    chance = random.Random(times)
    for moment in itertools.islice(itertools.cycle(MOMENTS), times):
        process = runs.start(*command)
        if moment == signal.SIGINT:
            interrupt(process, run)
        elif moment == signal.SIGTERM:
            command = stop(process, run)
        else:
            kill(moment, process, run, chance)
    runs.finish(*command)
    assert runs.result(run.name) == runs.undisturbed(epochs, sys.executable, workers=workers)


@pytest.mark.parametrize(("kills", "epochs"), [(1, 1), pytest.param(6, 12, marks=pytest.mark.long)])
def test_torchrun_restarts_two_processes_when_one_is_killed(runs: Runs, kills: int, epochs: int) -> None:
    run = runs.folder / f"pair-{kills}"
    command = runs.command(run.name, epochs, "--workers", 1)
    process = runs.start(*PAIR, "--max-restarts", kills, *command)  # a restart resumes without --resume
    for number in range(kills):
        wait_for_save(run, process)
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        os.kill(int(children[(number + 1) % 2]), signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    assert "forcefully" not in err  # the one that was not killed ends soon, despite its loader's workers
    assert out.count("resumed after epoch") == kills
    assert runs.result(run.name) == runs.undisturbed(epochs, *PAIR, workers=0)  # which change no result
