import json
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.conventions import UserError
from src.training.logbook import Logbook, check_writable
from src.training.provenance import revision


def test_metrics_stand_in_text_and_on_the_board(tmp_path: Path) -> None:
    book = Logbook(tmp_path / "run", {"lr": 0.002, "augment": True})
    book.record(10, epoch=1, val_rmse_m=0.7)
    book.record(20, epoch=2, val_rmse_m=0.6)
    book.close()
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert lines[1] == {"step": 20, "epoch": 2, "val_rmse_m": 0.6}
    board = EventAccumulator(str(tmp_path / "run"))
    board.Reload()
    assert [(event.step, round(event.value, 3)) for event in board.Scalars("val/rmse_m")] == [(10, 0.7), (20, 0.6)]


def test_options_and_environment_are_kept(tmp_path: Path) -> None:
    Logbook(tmp_path, {"lr": 0.002, "limit": None}).close()
    assert yaml.safe_load((tmp_path / "options.yaml").read_text()) == {"lr": 0.002, "limit": None}
    facts = json.loads((tmp_path / "environment.json").read_text())
    assert facts["torch"][0].isdigit()
    assert facts["revision"] == revision()


def test_a_resumed_run_appends(tmp_path: Path) -> None:
    for epoch in (1, 2):
        book = Logbook(tmp_path, {})
        book.record(epoch, epoch=epoch)
        book.close()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for use in (check_writable, lambda folder: Logbook(folder, {})):
        with pytest.raises(UserError, match="--out"):
            use(tmp_path / "file" / "run")
    check_writable(tmp_path / "new" / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
