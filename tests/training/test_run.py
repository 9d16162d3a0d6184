"""What surrounds a run: signals and the clock, its log, where it ran."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT, SmallDisk
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.conventions import UserError
from src.training import provenance
from src.training.interruption import Interruption, Stopped
from src.training.run_log import RunLog, check_run_folder, lock_folder


@pytest.mark.parametrize(("signum", "status", "name"), [(2, 130, "Ctrl-C"), (15, 143, "SIGTERM")])
def test_in_a_deferred_block_only_a_second_signal_stops_at_once(signum: int, status: int, name: str) -> None:
    before, reached = signal.getsignal(signum), []
    with Interruption() as interruption:
        with pytest.raises(Stopped, match=f"stopped by {name}") as caught, interruption.deferred():
            signal.raise_signal(signum)
            reached.append(interruption.signum)
        with pytest.raises(Stopped), interruption.deferred():
            signal.raise_signal(signum)
            reached.append("after a second signal")
    with Interruption(), pytest.raises(Stopped):
        signal.raise_signal(signum)
    assert signal.getsignal(signum) == before
    assert (caught.value.status, reached) == (status, [signum])


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    board = EventAccumulator(str(folder)).Reload()
    return [(event.step, pytest.approx(event.value)) for event in board.Scalars(tag)]


def test_a_resumed_log_keeps_earlier_epochs_and_repeats_no_step(tmp_path: Path) -> None:
    log = RunLog(tmp_path, {"lr": 0.002, "limit": None})
    for epoch in (1, 2, 3):
        log.record(10 * epoch, epoch, skipped=0, train={"loss": epoch}, val={})
    # A run that is killed now has all of it on disk.
    assert points(tmp_path, "train/loss") == [(10, 1), (20, 2), (30, 3)]
    assert yaml.safe_load((tmp_path / "options.yaml").read_text()) == {"lr": 0.002, "limit": None}
    facts = json.loads((tmp_path / "environment.json").read_text())
    assert facts["torch"] == torch.__version__.partition("+")[0]
    assert facts["revision"] == provenance.revision()
    assert facts["processor"].endswith("threads")
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10, "epoch": 1, "train_lo')  # a crash in the middle of a line
    time.sleep(1)  # TensorBoard sorts files by the second in which they were created
    RunLog(tmp_path, {}, epochs=2).record(30, 3, skipped=0, train={"loss": 7}, val={})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["epoch"], line["train_loss"]) for line in lines] == [(10, 1, 1), (20, 2, 2), (30, 3, 7)]
    assert points(tmp_path, "train/loss") == [(10, 1), (20, 2), (30, 7)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no locks of POSIX")
def test_two_processes_cannot_write_one_folder(tmp_path: Path) -> None:
    lock_folder(tmp_path)
    lock_folder(tmp_path)  # in this process it is no other run
    if child := os.fork():
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        return
    try:
        lock_folder(tmp_path)
    except UserError:
        os._exit(7)
    os._exit(0)


def test_an_unwritable_folder_is_named_and_nothing_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for use in (check_run_folder, lambda folder: RunLog(folder, {})):
        with pytest.raises(UserError, match="file/run"):
            use(tmp_path / "file" / "run")
    with pytest.raises(UserError, match="UTF-8"):
        check_run_folder(tmp_path / "\udcff")
    check_run_folder(tmp_path / "new" / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# TensorBoard's own thread may print its error, too.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_full_disk_ends_in_one_line(small_disk: SmallDisk) -> None:
    disk = small_disk(100_000)
    log = RunLog(disk / "run", {})
    (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free))
    with pytest.raises(UserError, match=r"metrics\.jsonl: .*No space left") as caught:
        for step in range(2000):
            log.record(step, 1, skipped=0, train={"loss": 1}, val={})
    assert "\n" not in str(caught.value)


def test_the_revision_marks_changed_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    def revision() -> str:
        provenance.revision.cache_clear()
        return provenance.revision()

    monkeypatch.setattr(provenance, "REPOSITORY", tmp_path)
    monkeypatch.setenv("GIT_DIR", str(ROOT / ".git"))  # as in a hook of another repository
    assert revision() == "unknown"
    monkeypatch.undo()
    monkeypatch.setattr(provenance, "REPOSITORY", tmp_path)
    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-qm", "one")
    commit = git("rev-parse", "HEAD")[:12]
    assert revision() == commit
    (tmp_path / "file").write_text("two")
    assert provenance.revision() == commit  # as at the first call
    assert revision() == f"{commit}+changes"
    git("worktree", "add", "-q", "worktree", "HEAD")
    for folder, expected in (("worktree", commit), ("unpacked", "unknown")):
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.setattr(provenance, "REPOSITORY", tmp_path / folder)
        assert revision() == expected
    monkeypatch.undo()
    provenance.revision.cache_clear()
