import json
from pathlib import Path

import pytest
from conftest import Script
from PIL import Image

import sweep

PRESETS = {
    "lr-2e-3": "lr: 0.002\ntarget: relative\nbatch-size: 2\nema: 0\naugment: true\n",
    "lr-2e-3-swa": "lr: 0.002\ntarget: relative\nbatch-size: 2\nema: 0\naugment: true\nswa: 0.5\n",
}


def test_a_sweep_reports_resumes_and_skips(
    script_inside: Script, nyu_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "presets").mkdir()
    for name, text in PRESETS.items():
        (tmp_path / "presets" / f"{name}.yaml").write_text(text)
    command = ("sweep.py", "--presets", "presets", "--data-dir", nyu_folder, "--limit", 4, "--out", "out")
    script_inside(*command, "--epochs", 1)
    out = tmp_path / "out"
    assert json.loads((out / "lr-2e-3-swa/swa/evaluation-nyu-test.json").read_text())["weights"] == "swa"
    for name in ("curves.png", "predictions.png"):
        Image.open(out / name).verify()
    report = (out / "report.md").read_text()
    assert "Stochastic weight averaging changes SSIM" in report
    figure = json.loads((out / "lr-2e-3/evaluation-nyu-test.json").read_text())["protocols"]["relative"]["ssim"]
    assert f"{figure:.4f}" in report
    assert "](curves.png)" in report and "](predictions.png)" in report

    # What is done is not trained again; what is missing is made up for.
    before = (out / "lr-2e-3/best.pt").stat().st_mtime_ns
    (out / "lr-2e-3-swa/swa/evaluation-nyu-test.json").unlink()
    done = script_inside(*command, "--epochs", 1)
    assert (out / "lr-2e-3/best.pt").stat().st_mtime_ns == before
    assert (out / "lr-2e-3-swa/swa/evaluation-nyu-test.json").exists()
    assert "[1/2]" not in done.stdout
    refused = script_inside(*command, "--epochs", 2, status=2)
    assert "holds runs with --epochs 1, got 2" in refused.stderr


def test_presets_stand_in_the_order_of_their_rates() -> None:
    presets = ({"lr": 8e-3}, {"lr": 2e-3, "swa": 0.4}, {"lr": 2e-3, "augment": True}, {"lr": 2e-3}, {"lr": 2e-4})
    ranked = sorted(presets, key=sweep.order)
    assert ranked == list(reversed(presets))


def test_mistakes_cost_one_line(script_inside: Script, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = script_inside("sweep.py", "--presets", "empty", status=2)
    assert "--presets empty: got no .yaml file there" in done.stderr
