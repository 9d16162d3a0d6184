import json
import shutil
import time
from pathlib import Path

import pytest
import yaml
from conftest import SmallDisk
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.conventions import UserError
from src.training.logbook import Logbook, check_writable
from src.training.provenance import revision


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    board = EventAccumulator(str(folder)).Reload()
    return [(event.step, pytest.approx(event.value)) for event in board.Scalars(tag)]


def test_a_runs_options_environment_and_metrics_are_kept(tmp_path: Path) -> None:
    book = Logbook(tmp_path / "run", {"lr": 0.002, "limit": None})
    book.record(10, epoch=1, val_rmse_m=0.7)
    book.record(20, epoch=2, val_rmse_m=0.6)
    # Of a run that is killed now, all is on disk already.
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert lines[1] == {"step": 20, "epoch": 2, "val_rmse_m": 0.6}
    assert points(tmp_path / "run", "val/rmse_m") == [(10, 0.7), (20, 0.6)]
    assert yaml.safe_load((tmp_path / "run/options.yaml").read_text()) == {"lr": 0.002, "limit": None}
    facts = json.loads((tmp_path / "run/environment.json").read_text())
    assert facts["torch"][0].isdigit()
    assert facts["revision"] == revision()


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for use in (check_writable, lambda folder: Logbook(folder, {})):
        with pytest.raises(UserError, match="file/run"):
            use(tmp_path / "file" / "run")
    check_writable(tmp_path / "new" / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_resumed_run_keeps_what_came_before_and_shows_no_later_step_twice(tmp_path: Path) -> None:
    book = Logbook(tmp_path, {})
    for epoch in (1, 2, 3):
        book.record(10 * epoch, epoch=epoch, train_loss=epoch)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10, "epoch": 1, "train_lo')  # a crash in the middle of a line
    time.sleep(1)  # TensorBoard reads files in the order of the second in which they were created
    again = Logbook(tmp_path, {}, epochs=2)
    again.record(30, epoch=3, train_loss=7)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["train_loss"]) for line in lines] == [(10, 1), (20, 2), (30, 7)]
    assert points(tmp_path, "train/loss") == [(10, 1), (20, 2), (30, 7)]


# TensorBoard's own thread may print its error, too.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_full_disk_ends_in_one_line(tmp_path: Path, small_disk: SmallDisk) -> None:
    disk = small_disk(100_000)
    book = Logbook(disk / "run", {})
    book.record(1, epoch=1, train_loss=1)
    (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free))
    with pytest.raises(UserError, match=r"metrics\.jsonl: .*No space left") as caught:
        for step in range(2, 2000):
            book.record(step, epoch=1, train_loss=1)
    assert "\n" not in str(caught.value)
