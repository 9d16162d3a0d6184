import json
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import SmallDisk
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.conventions import UserError
from src.training.logbook import Logbook, check_writable
from src.training.provenance import revision


def test_metrics_stand_in_text_and_on_the_board(tmp_path: Path) -> None:
    book = Logbook(tmp_path / "run", {"lr": 0.002, "augment": True})
    book.record(10, epoch=1, val_rmse_m=0.7)
    book.record(20, epoch=2, val_rmse_m=0.6)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert lines[1] == {"step": 20, "epoch": 2, "val_rmse_m": 0.6}
    board = EventAccumulator(str(tmp_path / "run"))
    board.Reload()
    assert [(event.step, round(event.value, 3)) for event in board.Scalars("val/rmse_m")] == [(10, 0.7), (20, 0.6)]


def test_options_and_environment_are_kept(tmp_path: Path) -> None:
    Logbook(tmp_path, {"lr": 0.002, "limit": None})
    assert yaml.safe_load((tmp_path / "options.yaml").read_text()) == {"lr": 0.002, "limit": None}
    facts = json.loads((tmp_path / "environment.json").read_text())
    assert facts["torch"][0].isdigit()
    assert facts["revision"] == revision()


def test_a_resumed_run_appends(tmp_path: Path) -> None:
    for epoch in (1, 2):
        book = Logbook(tmp_path, {}, epochs=epoch - 1)
        book.record(epoch, epoch=epoch)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for use in (check_writable, lambda folder: Logbook(folder, {})):
        with pytest.raises(UserError, match="cannot be written"):
            use(tmp_path / "file" / "run")
    check_writable(tmp_path / "new" / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_comes_again_after_going_on_is_dropped_first(tmp_path: Path) -> None:
    book = Logbook(tmp_path, {})
    for epoch in (1, 2, 3):
        book.record(10 * epoch, epoch=epoch, train_loss=epoch)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10, "epoch": 1, "train_lo')  # a crash in the middle of a line
    again = Logbook(tmp_path, {}, epochs=2)
    again.record(30, epoch=3, train_loss=7)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["train_loss"]) for line in lines] == [(10, 1), (20, 2), (30, 7)]
    board = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in board.Scalars("train/loss")] == [(10, 1), (20, 2), (30, 7)]


def test_a_folder_that_vanished_is_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book = Logbook(tmp_path / "run", {})
    shutil.rmtree(tmp_path / "run")
    book.record(1, epoch=1, train_loss=1)
    assert "has vanished, and is made anew" in capsys.readouterr().out
    assert (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_full_disk_costs_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str], small_disk: SmallDisk) -> None:
    disk = small_disk(100_000)
    book = Logbook(disk / "run", {})
    book.record(1, epoch=1, train_loss=1)
    (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free))
    with pytest.raises(UserError, match="No space left"):
        for step in range(2, 2000):
            book.record(step, epoch=1, train_loss=1)
    assert "Traceback" not in capfd.readouterr().err
