"""sweep.py, inspect_data.py and benchmark.py."""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Script, Trained
from PIL import Image

import sweep
from src.data.nyu import open_nyu


@pytest.fixture
def runs_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a script that starts another one run it in this process."""
    run = subprocess.run

    def run_inside(command: list[str], **options: Any) -> Any:
        if command[0] != sys.executable:
            return run(command, **options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", command[1:])
            runpy.run_path(command[1], run_name="__main__")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run_inside)


def test_a_sweep_reports_resumes_and_skips(
    runs_inside: None, script_inside: Script, trained: Trained, tmp_path: Path
) -> None:
    (tmp_path / "presets").mkdir()
    for name, swa in (("lr-2e-3", 0), ("lr-2e-3-swa", 0.5)):
        preset = f"lr: 0.002\ntarget: relative\nbatch-size: 2\nema: 0\naugment: true\nswa: {swa}\n"
        (tmp_path / "presets" / f"{name}.yaml").write_text(preset)
    command = ("sweep.py", "--presets", "presets", "--data-dir", trained.nyu, "--limit", 2, "--out", "out")
    script_inside(*command, "--epochs", 1)
    out = tmp_path / "out"
    swa_result = out / "lr-2e-3-swa" / "swa" / "evaluation-nyu-test.json"
    assert json.loads(swa_result.read_text())["weights"] == "swa"
    for name in ("curves.png", "predictions.png"):
        Image.open(out / name).verify()
    report = (out / "report.md").read_text()
    figure = json.loads((out / "lr-2e-3/evaluation-nyu-test.json").read_text())["protocols"]["relative"]["ssim"]
    assert f"{figure:.4f}" in report
    assert "](curves.png)" in report and "](predictions.png)" in report

    before = (out / "lr-2e-3/best.pt").stat().st_mtime_ns
    swa_result.unlink()
    done = script_inside(*command, "--epochs", 1)
    assert (out / "lr-2e-3/best.pt").stat().st_mtime_ns == before
    assert swa_result.exists()
    assert "[1/2]" not in done.stdout
    refused = script_inside(*command, "--epochs", 2, status=2)
    assert "--epochs 1, got 2" in refused.stderr
    (tmp_path / "empty").mkdir()
    assert "--presets empty" in script_inside("sweep.py", "--presets", "empty", status=2).stderr


def test_runs_are_sorted_by_rate_then_plain_augmented_averaged() -> None:
    presets = [{"lr": 2e-4}, {"lr": 2e-3}, {"lr": 2e-3, "augment": True}, {"lr": 2e-3, "swa": 0.4}, {"lr": 8e-3}]
    assert sorted(reversed(presets), key=sweep.sort_key) == presets


def test_inspecting_a_good_source_and_one_with_a_damaged_file(
    script_inside: Script, nyu_folder: Path, tmp_path: Path
) -> None:
    done = script_inside("inspect_data.py", "--data-dir", nyu_folder)
    assert "train: 15 frames of 5 scenes" in done.stdout
    assert "16-bit, 1000 units a metre: 3" in done.stdout
    for name in ("contact_sheet.png", "contact_sheet-augmentation.png"):
        Image.open(tmp_path / name).verify()
    (nyu_folder / "nyu_data/data/nyu2_test/00001_colors.png").write_bytes(b"no")
    done = script_inside("inspect_data.py", "--data-dir", nyu_folder, "--all-scenes", status=2)
    assert "00001_colors.png" in done.stdout
    assert "error: 1 problems" in done.stderr
    assert all(f"office_{scene:04}_out 3" in done.stdout for scene in range(6))
    training = open_nyu(nyu_folder / "nyu_data", "train", validation=0.1)
    for row in (0, 4, 9, 14):  # those whose augmentation is drawn
        (nyu_folder / "nyu_data" / training.names[row]).write_bytes(b"no")
    done = script_inside("inspect_data.py", "--data-dir", nyu_folder, status=2)
    assert "augmentation    not drawn: None of the 4 frames can be used" in done.stdout
    assert "error: 5 problems" in done.stderr


def test_the_benchmark_compares_both_loops(script: Script) -> None:
    done = script("benchmark.py", "--rounds", 1, "--steps", 1, "--batch-size", 2)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["ours", "plain", "ratio"]
    assert float(lines[2].split()[-1]) > 0
