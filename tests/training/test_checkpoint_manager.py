import math
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import ABOUT, SmallDisk
from tiny import make_state
from torch import nn

from src.conventions import UserError
from src.training import checkpoint
from src.training.checkpoint_manager import CheckpointManager, find_newest, load_newest
from src.training.interruption import Interruption, Stopped


def make_manager(folder: Path, every: str = "1", network: nn.Module | None = None) -> CheckpointManager:
    return CheckpointManager(folder, make_state(network), dict(ABOUT), every=every, interruption=Interruption())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def step(manager: CheckpointManager, count: int = 1) -> None:
    for _ in range(count):
        manager.state.batch += 1
        manager.after_step()


def saved(path: Path) -> int:
    return checkpoint.load(path)["progress"]["batch"] if path.exists() else 0


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_it_saves_every_few_steps_and_keeps_the_previous_state(tmp_path: Path) -> None:
    manager = make_manager(tmp_path, every="2")
    step(manager, 3)
    assert (saved(tmp_path / "last.pt"), saved(tmp_path / "previous.pt")) == (2, 0)
    step(manager, 3)
    assert (saved(tmp_path / "last.pt"), saved(tmp_path / "previous.pt")) == (6, 4)
    assert names(tmp_path) == {"last.pt", "previous.pt"}


def test_it_saves_every_few_minutes(tmp_path: Path, clock: list[float]) -> None:
    manager = make_manager(tmp_path, every="2m")
    found = []
    for clock[0] in (60, 119, 121, 180, 240, 242):
        step(manager)
        found.append(saved(tmp_path / "last.pt"))
    assert found == [0, 0, 3, 3, 3, 6]


def test_a_state_after_a_skipped_step_replaces_no_good_one(tmp_path: Path) -> None:
    manager = make_manager(tmp_path)
    step(manager)
    manager.state.streak = 1
    step(manager, 2)
    manager.save()
    assert not manager.save_best({}, "raw")
    assert saved(tmp_path / "last.pt") == 1
    manager.state.streak = 0
    step(manager)
    assert saved(tmp_path / "last.pt") == 4


def test_a_signal_saves_and_stops(tmp_path: Path) -> None:
    manager = make_manager(tmp_path, every="100")
    step(manager, 2)
    manager.interruption.signum = signal.SIGTERM
    with pytest.raises(Stopped) as caught:
        step(manager)
    assert caught.value.status == 143
    assert saved(tmp_path / "last.pt") == 3
    for stop in (lambda: list(manager.interruptible([1])), manager.stop_if_requested):
        manager.state.batch += 1
        manager._steps = 1
        with pytest.raises(Stopped):
            stop()
        assert saved(tmp_path / "last.pt") == manager.state.batch


def test_it_stops_before_the_time_limit(tmp_path: Path, clock: list[float]) -> None:
    manager = make_manager(tmp_path, every="100")
    manager.interruption.limit_s = 100
    clock[0] = 60
    manager.save()  # the time spent on validation before is no step
    (tmp_path / "last.pt").unlink()
    for clock[0] in (61, 70, 80):  # a step of ten seconds fits in twice
        step(manager)
    manager.stop_if_requested(19)
    assert names(tmp_path) == set()
    with pytest.raises(Stopped) as caught:
        manager.stop_if_requested(21)
    assert caught.value.status == 0
    clock[0] = 90
    with pytest.raises(Stopped):
        step(manager)
    assert saved(tmp_path / "last.pt") == 4


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 0.5])
def test_only_smaller_finite_errors_are_the_best(tmp_path: Path, bad: float) -> None:
    manager = make_manager(tmp_path)
    assert manager.save_best({"rmse_m": 0.4}, "raw")
    before = (tmp_path / "best.pt").read_bytes()
    assert not manager.save_best({"rmse_m": bad}, "raw")
    assert (tmp_path / "best.pt").read_bytes() == before
    assert manager.state.best == 0.4
    assert manager.save_best({"rmse": 0.3}, "raw")
    assert checkpoint.load(tmp_path / "best.pt")["about"]["validation"] == {"rmse": 0.3}


def test_swa_weights_that_are_not_the_best_leave_the_last_epochs_figures(tmp_path: Path) -> None:
    manager = make_manager(tmp_path)
    # Without validation the newest weights are the best, and leave no error to beat.
    assert all(manager.save_best({}, weights) for weights in ("raw", "raw", "swa"))
    assert manager.save_best({"rmse_m": 0.5}, "ema")
    assert not manager.save_best({"rmse_m": 0.6}, "swa")
    manager.save()
    about = checkpoint.load(tmp_path / "last.pt")["about"]
    assert (about["weights"], about["validation"]) == ("ema", {"rmse_m": 0.5})
    assert manager.save_best({"rmse_m": 0.4}, "swa")
    assert checkpoint.load(tmp_path / "best.pt")["about"]["weights"] == "swa"


def test_of_a_damaged_state_the_previous_one_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manager, newest, previous = make_manager(tmp_path), tmp_path / "last.pt", tmp_path / "previous.pt"
    step(manager, 3)
    whole = newest.read_bytes()
    newest.write_bytes(whole[: len(whole) // 2])
    assert load_newest(newest)["progress"]["batch"] == 2
    assert "last.pt: " in capsys.readouterr().out
    assert (tmp_path / "damaged.pt").stat().st_size == len(whole) // 2
    assert find_newest(tmp_path) == previous
    step(manager)  # the good one survives the next save
    assert (saved(newest), saved(previous)) == (4, 2)
    for path in (newest, previous):
        path.write_bytes(b"gone")
    with pytest.raises(UserError, match=r"last\.pt: .*previous\.pt: "):
        load_newest(newest)
    assert newest.exists() and previous.exists()


def test_a_crash_between_two_renames_costs_one_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager, newest = make_manager(tmp_path), tmp_path / "last.pt"
    step(manager, 2)

    def killed(source: Path, target: Path) -> None:
        if target == newest:
            raise KeyboardInterrupt
        shutil.move(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            step(manager)
    assert not newest.exists()
    assert load_newest(newest)["progress"]["batch"] == 2


@pytest.mark.parametrize("fault", ["No space left", "Read-only"])
def test_a_failing_disk_costs_one_line_and_no_earlier_state(small_disk: SmallDisk, fault: str) -> None:
    disk = small_disk(1_000_000)
    manager = make_manager(disk / "run", network=nn.Conv2d(3, 100, 3))
    step(manager, 2)
    if fault == "Read-only":
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    else:
        (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free))
    with pytest.raises(UserError, match=fault) as caught:
        step(manager)
    assert "\n" not in str(caught.value)
    assert (saved(disk / "run" / "last.pt"), saved(disk / "run" / "previous.pt")) == (2, 1)
    assert names(disk / "run") == {"last.pt", "previous.pt"}
