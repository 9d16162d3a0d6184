"""sweep.py, inspect_data.py and benchmark.py."""

import concurrent.futures
import json
import runpy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, Mock

import numpy as np
import pytest
import yaml
from conftest import ROOT, Script, Trained
from PIL import Image

import sweep
from src.benchmarks import inference, reading, time_to, training
from src.benchmarks.peers import PEERS
from src.data.nyu import open_nyu
from src.network import summarize


@pytest.fixture
def runs_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a script that starts another one run it in this process."""
    start = subprocess.Popen

    def run_inside(command: list[str], *arguments: Any, **options: Any) -> Any:
        if command[0] != sys.executable:
            return start(command, *arguments, **options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", command[1:])
            try:
                runpy.run_path(command[1], run_name="__main__")
                status = 0
            except SystemExit as exit_:
                status = int(exit_.code or 0)
        ended = MagicMock(**{"wait.return_value": status})
        ended.__enter__.return_value = ended
        return ended

    monkeypatch.setattr(subprocess, "Popen", run_inside)


def test_a_sweep_reports_resumes_and_skips(runs_inside: None, script: Script, trained: Trained, tmp_path: Path) -> None:
    Path("presets/short").mkdir(parents=True)
    for name, swa in (("lr-2e-3", 0), ("lr-2e-3-swa", 0.5), ("short/output-relu", 0)):
        preset = f"lr: 0.002\ntarget: relative\nbatch-size: 4\nema: 0\naugment: [flip]\nswa: {swa}\nvalidation: 0.3\n"
        Path(f"presets/{name}.yaml").write_text(preset)
    command = ("sweep.py", "--presets", "presets", "--data-dir", trained.nyu, "--limit", 1, "--out", "out")
    command += ("--short-epochs", 1, "--batch-size", 1, "--patience", 3)
    script(*command, "--epochs", 2)
    out = Path("out")
    swa_result = out / "lr-2e-3-swa" / "swa" / "evaluation-nyu-test.json"
    assert json.loads(swa_result.read_text())["weights"] == "swa"
    for name in ("curves.png", "curves-short.png"):
        Image.open(out / name).verify()
    report = (out / "report.md").read_text()
    figure = json.loads((out / "lr-2e-3/evaluation-nyu-test.json").read_text())["protocols"]["relative"]["ssim"]
    assert f"{figure:.4f}" in report
    assert "](curves.png)" in report and "](curves-short.png)" in report
    assert "--data-dir path/to/nyu --limit=1 --epochs=2 --short-epochs=1 --batch-size=1 --patience=3`" in report
    assert str(tmp_path) not in report
    made = {name: yaml.safe_load((out / name / "options.yaml").read_text()) for name in ("lr-2e-3-swa", "output-relu")}
    assert [(made[name]["epochs"], made[name]["batch_size"]) for name in made] == [(2, 1), (1, 1)]
    assert [made[name]["patience"] for name in made] == [0, 3]
    assert {made[name]["validation"] for name in made} == {0.3}  # the presets' own

    before = (out / "lr-2e-3/best.pt").stat().st_mtime_ns
    swa_result.unlink()
    script(*command, "--epochs", 2, "--workers", 1)  # which changes no result
    assert (out / "lr-2e-3/best.pt").stat().st_mtime_ns == before
    assert swa_result.exists()
    assert "--epochs 2, got 3" in script(*command, "--epochs", 3, status=2).stderr
    assert "--epochs 2, got None" in script(*command, status=2).stderr
    Path("empty").mkdir()
    assert "--presets empty" in script("sweep.py", "--presets", "empty", status=2).stderr
    idle = script("sweep.py", "--presets", "presets/short", "--short-epochs", 1, status=2)
    assert "--short-epochs: got no .yaml file in presets/short/short" in idle.stderr
    own = ("--data", "csv", "--data-dir", tmp_path / "pairs.csv", "--validation", 0, "--out", "own")
    Image.new("RGB", (64, 48)).save("x.png")
    np.save("x.npy", np.full((48, 64), 2.0))
    Path("pairs.csv").write_text("x.png,x.npy\n")
    refused = script("sweep.py", "--presets", "presets", *own, status=2)
    assert "--validation 0: these data have no test frames" in refused.stderr


def test_runs_are_sorted_by_rate_then_plain_augmented_averaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    presets = sorted((ROOT / "configs" / "original").glob("*.yaml"), key=sweep.sort_key)
    names = ["lr-2e-4", "lr-2e-3-plain", "lr-2e-3", "lr-2e-3-swa", "lr-8e-3"]
    assert [preset.stem for preset in presets] == names
    Path("x.yaml").write_text("swa: null\n")
    assert sweep.sort_key(Path("x.yaml")) == (0.002, 0, False, "x")


def test_a_run_that_diverges_does_not_end_the_sweep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sweep, "run_script", Mock(side_effect=sweep.Diverged("train.py ended with status 3")))
    preset = ROOT / "configs" / "original" / "lr-8e-3.yaml"
    run = sweep.train_and_score(preset, tmp_path / "run", {}, "result.json")
    assert run == sweep.Run("lr-8e-3", [], None)
    assert "![" not in sweep.describe([run], tmp_path / "curves.png", "Short")


def test_inspecting_a_good_source_and_one_with_a_damaged_file(script: Script, nyu_folder: Path) -> None:
    Path("file").touch()
    done = script("inspect_data.py", "--data-dir", nyu_folder, "--out", "file/x.png", status=2)
    assert "--out file: cannot be written" in done.stderr and not done.stdout
    done = script("inspect_data.py", "--data-dir", nyu_folder)
    assert "train: 15 frames of 5 scenes" in done.stdout
    assert "16-bit, 1000 units a metre: " in done.stdout
    for name in ("contact_sheet.png", "contact_sheet-augmentation.png"):
        Image.open(name).verify()
    assert "\nval: " not in script("inspect_data.py", "--data-dir", nyu_folder, "--validation", 0).stdout
    (nyu_folder / "nyu_data/data/nyu2_test/00001_colors.png").write_bytes(b"no")
    done = script("inspect_data.py", "--data-dir", nyu_folder, status=2)
    assert "00001_colors.png" in done.stdout
    assert "error: 1 problems" in done.stderr
    training = open_nyu(nyu_folder / "nyu_data", "train", validation=0.1)
    for row in (0, 4, 9, 14):  # those whose augmentation is drawn
        (nyu_folder / "nyu_data" / training.names[row]).write_bytes(b"no")
    done = script("inspect_data.py", "--data-dir", nyu_folder, status=2)
    assert "augmentation    not drawn: None of the 4 frames can be used" in done.stdout
    assert "error: 5 problems" in done.stderr


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the benchmark train on two images a step, in this process."""
    monkeypatch.setattr(training, "OUR_BATCH", 2)
    monkeypatch.setattr(training, "ORIGINAL_BATCH", 2)
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", lambda count, **_: ThreadPoolExecutor(count))


def benchmark(script: Script, *words: object) -> list[dict[str, Any]]:
    """Run one round of the benchmark and return its rows, which it also prints."""
    done = script("benchmark.py", *words, "--rounds", 1, "--json", "x.json")
    rows = json.loads(Path("x.json").read_text())["rows"]
    assert all(str(next(iter(row.values()))) in done.stdout for row in rows)
    return rows


def test_the_benchmark_compares_training(small_batches: None, script: Script) -> None:
    rows = benchmark(script, "train", "--steps", 1)
    assert [row["loop"] for row in rows] == ["ours", "original's recipe"]
    assert rows[0]["ratio"] > 0


def test_the_benchmark_compares_inference(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "PEERS", {"FastDepth": PEERS["FastDepth"]})
    monkeypatch.setattr(inference, "CALLS", 1)
    monkeypatch.setattr(inference, "BATCH", 2)
    rows = {(row["network"], row["form"]): row for row in benchmark(script, "infer", "--threads", 1)}
    assert rows["FastDepth", "float32"]["ratio, 1 threads"] == 1
    assert rows["FastDepth", "float32"]["M MACs"] == 737
    assert round(summarize(PEERS["original network"]())[-1].macs / 1e6) == 765
    if sys.platform == "linux":
        assert rows["FastDepth", "float32"]["memory MB"] > rows["FastDepth", "float32"]["file MB"]
    assert rows["ours", "int8"]["file MB"] < rows["ours", "float32"]["file MB"] / 3
    assert all(row["ms, 1 threads"] > 0 for row in rows.values())


def test_the_benchmark_reads_frames_from_files_and_from_the_cache(
    small_batches: None, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FILES": 2, "BATCH": 4, "BATCHES": 1}.items():
        monkeypatch.setattr(reading, name, value)
    rows = benchmark(script, "data", "--rows", 200, 400, "--steps", 1)
    expected = [("Pillow", 200), ("packed", 200), ("Pillow", 400), ("packed", 400)]
    assert [(row["reader"], row["rows"]) for row in rows] == expected
    assert all(row["ratio"] > 1 for row in rows if row["reader"] == "packed")


def test_the_benchmark_times_trainings_until_an_error_is_reached(
    runs_inside: None, script: Script, monkeypatch: pytest.MonkeyPatch, nyu_folder: Path
) -> None:
    never = time_to.Recipe("never", ("--preset", "nyu.yaml", "--epochs", "9", "--max-minutes", "0.001"))
    monkeypatch.setattr(time_to, "ORIGINAL", never)
    words = ["--data-dir", nyu_folder, "--epochs", 1, "--max-minutes", 5]
    ours, other = benchmark(script, "time-to", *words, "--rmse-m", 9)
    assert ours["epochs"] == 1
    assert ours["to 9 m"] == ours["minutes"] < 5
    assert ours["test RMSE, m"] > 0
    assert (other["epochs"], other["to 9 m"], other["test RMSE, m"]) == (0, "not reached", "")
