import math
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import ABOUT, SmallDisk
from torch import nn

from src.conventions import UserError
from src.training import checkpoint
from src.training.interruption import Interruption, Stopped
from src.training.keeper import Keeper, find_newest, load_newest
from src.training.optim import make_optimizer, make_schedule
from src.training.state import State


def make_state() -> State:
    network = nn.Conv2d(3, 100, 3)
    optimizer = make_optimizer(network, "adamw", lr=0.1, weight_decay=0)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    return State(network, optimizer, make_schedule(optimizer, steps=10, warmup_steps=1), scaler)


def make_keeper(folder: Path, every: str = "1") -> Keeper:
    return Keeper(folder, make_state(), dict(ABOUT), every=every, interruption=Interruption())


def step(keeper: Keeper, count: int = 1) -> None:
    for _ in range(count):
        keeper.state.batch += 1
        keeper.after_step()


def saved(path: Path) -> int:
    return checkpoint.load(path)["progress"]["batch"]


def test_it_saves_every_few_steps_and_keeps_the_state_before(tmp_path: Path) -> None:
    keeper = make_keeper(tmp_path, every="2")
    step(keeper, 3)
    assert saved(tmp_path / "last.pt") == 2
    assert not (tmp_path / "previous.pt").exists()
    step(keeper, 3)
    assert (saved(tmp_path / "last.pt"), saved(tmp_path / "previous.pt")) == (6, 4)
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt", "previous.pt"}


def test_it_saves_every_few_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    keeper = make_keeper(tmp_path, every="2m")
    found = []
    for clock[0] in (60, 119, 121, 180, 240, 242):
        step(keeper)
        found.append(saved(tmp_path / "last.pt") if (tmp_path / "last.pt").exists() else 0)
    assert found == [0, 0, 3, 3, 3, 6]


def test_a_state_whose_losses_are_not_finite_pushes_no_good_one_out(tmp_path: Path) -> None:
    keeper = make_keeper(tmp_path)
    step(keeper)
    keeper.state.streak = 1
    step(keeper, 2)
    keeper.save()
    assert not keeper.judge({}, "raw")
    assert saved(tmp_path / "last.pt") == 1
    keeper.state.streak = 0
    step(keeper)
    assert saved(tmp_path / "last.pt") == 4


def test_a_signal_saves_and_stops(tmp_path: Path) -> None:
    keeper = make_keeper(tmp_path, every="100")
    step(keeper, 2)
    keeper.interruption.signum = signal.SIGTERM
    with pytest.raises(Stopped) as caught:
        step(keeper)
    assert caught.value.status == 143
    assert saved(tmp_path / "last.pt") == 3
    for place in ("validation", "between"):
        keeper.state.batch += 1
        keeper._steps = 1
        with pytest.raises(Stopped):
            list(keeper.watch([1])) if place == "validation" else keeper.stop_if_asked()
    assert saved(tmp_path / "last.pt") == 5


def test_it_stops_when_what_comes_next_would_take_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    keeper = make_keeper(tmp_path, every="100")
    keeper.interruption.limit_s = 100
    for clock[0] in (10, 20, 30, 40, 50, 60, 70, 80):  # a step of ten seconds fits in twice
        step(keeper)
    keeper.stop_if_asked(19)
    assert not (tmp_path / "last.pt").exists()
    with pytest.raises(Stopped) as caught:
        keeper.stop_if_asked(21)
    assert caught.value.status == 0
    clock[0] = 90
    with pytest.raises(Stopped):
        step(keeper)
    assert saved(tmp_path / "last.pt") == 9


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 0.5])
def test_only_smaller_finite_errors_are_the_best(tmp_path: Path, bad: float) -> None:
    keeper = make_keeper(tmp_path)
    assert keeper.judge({"rmse_m": 0.4}, "raw")
    before = (tmp_path / "best.pt").read_bytes()
    assert not keeper.judge({"rmse_m": bad}, "raw")
    assert (tmp_path / "best.pt").read_bytes() == before
    assert keeper.state.best == 0.4
    assert keeper.judge({"rmse_m": 0.3}, "raw")
    assert checkpoint.load(tmp_path / "best.pt")["about"]["validation"] == {"rmse_m": 0.3}


def test_without_validation_the_newest_weights_are_the_best(tmp_path: Path) -> None:
    keeper = make_keeper(tmp_path)
    for _ in range(2):
        keeper.state.end_epoch()
        assert keeper.judge({}, "raw")
    assert keeper.judge({}, "swa")
    # Validation that begins later, in a resumed run, has no error to beat yet.
    assert keeper.judge({"rmse_m": 0.9}, "raw")
    assert not keeper.judge({"rmse_m": 0.95}, "raw")


def test_averaged_weights_that_lose_leave_the_last_state_its_own_name(tmp_path: Path) -> None:
    keeper = make_keeper(tmp_path)
    assert keeper.judge({"rmse_m": 0.5}, "ema")
    assert not keeper.judge({"rmse_m": 0.6}, "swa")
    keeper.save()
    about = checkpoint.load(tmp_path / "last.pt")["about"]
    assert (about["weights"], about["validation"]) == ("ema", {"rmse_m": 0.5})
    assert keeper.judge({"rmse_m": 0.4}, "swa")
    assert checkpoint.load(tmp_path / "best.pt")["about"]["weights"] == "swa"


def test_a_damaged_newest_state_is_named_and_the_one_before_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keeper, newest = make_keeper(tmp_path), tmp_path / "last.pt"
    step(keeper, 3)
    whole = newest.read_bytes()
    newest.write_bytes(whole[: len(whole) // 2])
    assert load_newest(newest)["progress"]["batch"] == 2
    assert "last.pt: " in capsys.readouterr().out
    assert (tmp_path / "damaged.pt").stat().st_size == len(whole) // 2
    # The good one survives the next save, and a crash between the two moves of a save.
    assert find_newest(tmp_path) == tmp_path / "previous.pt"
    step(keeper)
    assert (saved(newest), saved(tmp_path / "previous.pt")) == (4, 2)


def test_a_crash_between_the_two_moves_of_a_save_costs_one_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, newest = make_keeper(tmp_path), tmp_path / "last.pt"
    step(keeper, 2)

    def killed(source: Path, target: Path) -> None:
        if target == newest:
            raise KeyboardInterrupt
        shutil.move(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            step(keeper)
    assert not newest.exists()
    assert load_newest(newest)["progress"]["batch"] == 2


def test_nothing_sound_left_is_an_error(tmp_path: Path) -> None:
    step(make_keeper(tmp_path), 2)
    for name in ("last.pt", "previous.pt"):
        (tmp_path / name).write_bytes(b"gone")
    with pytest.raises(UserError, match=r"last\.pt: .*previous\.pt: "):
        load_newest(tmp_path / "last.pt")
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt", "previous.pt"}


@pytest.mark.parametrize("fault", ["No space left", "Read-only"])
def test_a_disk_that_refuses_costs_one_line_and_no_earlier_state(small_disk: SmallDisk, fault: str) -> None:
    disk = small_disk(1_000_000)
    keeper = make_keeper(disk / "run")
    step(keeper, 2)
    if fault == "Read-only":
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    else:
        (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free))
    with pytest.raises(UserError, match=fault) as caught:
        step(keeper)
    assert "\n" not in str(caught.value)
    assert (saved(disk / "run" / "last.pt"), saved(disk / "run" / "previous.pt")) == (2, 1)
    assert {path.name for path in (disk / "run").iterdir()} == {"last.pt", "previous.pt"}
