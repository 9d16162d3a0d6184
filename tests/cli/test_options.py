import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from src.choices import LEAST_CHANGE, USUAL_AUGMENTATIONS
from src.cli.option_groups import idle_options
from src.cli.options import (
    parse_benchmark,
    parse_evaluation,
    parse_export,
    parse_prediction,
    parse_visualization,
    training_parser,
)
from src.cli.parsing import as_preset, read_preset
from src.cli.resume import find_resumable
from src.cli.training import choose_augmentation
from src.conventions import UserError
from src.data.augment import Augmentation

CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
PARSER = training_parser("a test")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_preset_parses(path: Path) -> None:
    options = PARSER.parse_over(read_preset(path), [])
    preset = yaml.safe_load(path.read_text())
    if isinstance(preset.get("augment"), bool):
        preset["augment"] = list(USUAL_AUGMENTATIONS) if preset["augment"] else []
    assert {key: getattr(options, key.replace("-", "_")) for key in preset} == preset


ORIGINAL = """--encoder efficientnet_b0 --pretrained --freeze 0 --target relative --output relu6 --loss mse
--optimizer adan --encoder-lr-scale 1 --schedule constant --warmup 0 --weight-decay 1e-4 --clip 0.5
--batch-size 32 --accumulate 1 --amp auto --epochs 30 --patience 4 --ema 0 --swa 0 --validation 0.3"""
"""From the original project's files; auto is fp16 on the GPUs that it used. Its split is by frames, ours by scenes."""


@pytest.mark.parametrize(("name", "rate"), [("2e-3", 2e-3), ("2e-4", 2e-4), ("8e-3", 8e-3), ("2e-3-plain", 2e-3)])
def test_the_original_runs_have_the_original_options(name: str, rate: float) -> None:
    options = PARSER.parse_over(read_preset(Path(f"original/lr-{name}.yaml")), [])
    augmentation = [] if name.endswith("plain") else ["--augment", "flip"]
    expected = PARSER.parse_args([*ORIGINAL.split(), "--lr", str(rate), *augmentation])
    assert as_preset(options) == as_preset(expected)
    assert LEAST_CHANGE == 1e-3


def test_defaults_then_preset_then_command_line() -> None:
    options = PARSER.parse_over({"lr": 0.5, "epochs": 3, "augment": True}, ["--lr", "0.1"])
    assert (options.lr, options.epochs, options.augment, options.batch_size) == (0.1, 3, [*USUAL_AUGMENTATIONS], 16)
    assert PARSER.parse_over({"augment": True}, ["--no-augment"]).augment == []
    assert PARSER.parse_over({"augment": False}, ["--augment", "light", "flip"]).augment == ["flip", "light"]


def test_saved_options_repeat_the_run_also_those_without_effect(tmp_path: Path) -> None:
    typed = ["--lr", "0.01", "--augment", "--no-pretrained", "--data", "csv", "--data-dir", str(tmp_path / "a.csv")]
    for words in (typed, ["--data", "nyu"], ["--augment", "flip"]):
        options = PARSER.parse_args(words)
        again = PARSER.parse_over(yaml.safe_load(yaml.safe_dump(as_preset(options))), [])
        assert as_preset(again) == as_preset(options)
        assert again.typed == frozenset()
    assert idle_options(PARSER.parse_args(["--rooms", "9", "--seed", "3"]), "nyu") == ["--rooms"]


@pytest.mark.parametrize(
    ("preset", "typed", "message"),
    [
        ({"epoch": 3}, [], "unrecognized arguments: --epoch=3"),
        ({"epochs": "three"}, [], "argument --epochs: got 'three', expected a whole number above 0"),
        ({}, ["--lr", "abc"], "argument --lr: got 'abc', expected a number above 0"),
        ({}, ["--lr", "nan"], "argument --lr: got 'nan'"),
        ({}, ["--validation", "1"], "argument --validation: got '1', expected a number from 0 to below 1"),
        ({}, ["--zoom", "1.1"], "argument --zoom: got '1.1', expected a number above 0, at most 1"),
        ({}, ["--augm"], "unrecognized arguments: --augm"),
        ({}, ["--loss", "mae"], "argument --loss: invalid choice: 'mae'"),
    ],
)
def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str], preset: dict, typed: list, message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        PARSER.parse_over(preset, typed)
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert message in error
    assert error.count("\n") == 1


def test_a_bad_preset_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    with pytest.raises(UserError, match="no such file"):
        read_preset(path)
    for content, message in (("lr: [1", "not YAML"), ("- lr", "got list"), ("resume: auto", "got the key resume")):
        path.write_text(content)
        with pytest.raises(UserError, match=message):
            read_preset(path)


def test_the_newest_run_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no run in runs/ to resume"):
        find_resumable("auto", None)
    for age, name in enumerate(("b", "a")):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "last.pt").touch()
        os.utime(tmp_path / "runs" / name / "last.pt", (100 + age, 100 + age))
    assert find_resumable("auto", None) == Path("runs/a/last.pt")
    assert find_resumable("auto", tmp_path / "new") is None
    assert find_resumable("runs/b", None) == Path("runs/b/last.pt")
    assert find_resumable(None, tmp_path) is None


def parse_run(description: str, typed: list[str]) -> argparse.Namespace:
    preset = read_preset(Path("nyu.yaml")) if "--preset" in typed else {}
    return PARSER.parse_over(preset, typed)


@pytest.mark.parametrize(
    ("parse", "typed", "refusal"),
    [
        (parse_run, "--zoom 0.8", "--zoom: has no effect without --augment zoom"),
        (parse_run, "--zoom 0.8 --augment flip", "--zoom: has no effect without --augment zoom"),
        (parse_run, "--patience 3 --swa 0.4", "--patience: has no effect with --swa"),
        (parse_run, "--zoom 0.8 --augment", None),
        (parse_run, "--preset nyu.yaml --zoom 0.8", None),  # which augments
        (parse_run, "--rooms 9", None),  # --data auto may find no NYU
        (parse_run, "--rooms 9 --data nyu", "--rooms: has no effect on --data nyu"),
        (parse_run, "--without lamps --data csv", "--without: has no effect on --data csv"),
        (parse_run, "--data rooms --data-dir x", "--data-dir: has no effect on --data rooms"),
        (parse_run, "--data rooms --max-bad 3", "--max-bad: has no effect on --data rooms"),
        (parse_run, "--no-pretrained --init a.pt", "--pretrained: has no effect with --init"),
        (parse_run, "--preset nyu.yaml --resume last.pt", "--preset: has no effect with --resume"),
        (parse_run, "--preset nyu.yaml --resume auto --out runs/a", None),
        (parse_visualization, "--fov 60 --data nyu", "--fov: has no effect on --data nyu"),
        (parse_visualization, "a.jpg --split val", "--split: has no effect on photos"),
        (parse_visualization, "--port 80", "--port: has no effect without --web"),
        (parse_prediction, "a.jpg --scale-m 3", "--scale-m: has no effect without --pointcloud"),
        (parse_prediction, "a.jpg --seconds 3", "--seconds: has no effect without a webcam's number"),
        (parse_evaluation, "--data nyu --depth-scale 9", "--depth-scale: has no effect on --data nyu"),
        (parse_benchmark, "infer --steps 3", "--steps: has no effect with infer"),
        (parse_benchmark, "data --steps 3", None),
        (parse_benchmark, "data --rows 50", "--rows: got 50, expected at least 144"),
        (parse_benchmark, "data --epochs 3", "--epochs: has no effect with data"),
        (parse_export, "a.safetensors", "--out: got the checkpoint a.safetensors"),  # which it would overwrite
        (parse_export, "a.pt --average b.safetensors --out b.safetensors", "--out: got the checkpoint b.safetensors"),
        (parse_export, "a.pt --to onnx --out a.pt", "--out: got a.pt, expected a name that ends in .onnx"),
    ],
)
def test_an_option_without_effect_or_that_would_replace_an_input_is_refused(
    capsys: pytest.CaptureFixture[str], parse: Callable, typed: str, refusal: str | None
) -> None:
    if refusal is None:
        parse("a test", typed.split())
        return
    with pytest.raises(SystemExit):
        parse("a test", typed.split())
    assert f"argument {refusal}" in capsys.readouterr().err


SLOW = ("torch", "timm", "torchvision", "torchmetrics", "numba", "matplotlib", "rerun", "gradio", "PIL")
HELP = [(path.name, "--help") for path in sorted((ROOT / "scripts").glob("[a-z]*.py"))]


@pytest.mark.parametrize(("name", "typed"), [*HELP, ("train.py", "--preset no.yaml"), ("app.py", "--nothing")])
def test_help_and_usage_errors_import_nothing_slow(tmp_path: Path, name: str, typed: str) -> None:
    for module in SLOW:
        (tmp_path / f"{module}.py").write_text("raise SystemExit('imported')")
    command = [sys.executable, str(ROOT / "scripts" / name), *typed.split()]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == (0 if typed == "--help" else 2), done.stderr
    assert done.stdout.startswith("usage: ") or done.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("kind", "typed", "expected"),
    [
        ("nyu", ["--augment"], Augmentation()),
        ("rooms", ["--augment"], Augmentation(zoom=1.0)),
        ("rooms", ["--augment", "--zoom", "0.8"], Augmentation(zoom=0.8)),
        ("nyu", ["--no-augment"], Augmentation.none()),
        ("nyu", ["--augment", "flip"], Augmentation.none()._replace(flip=0.5)),
        ("nyu", ["--augment", "zoom", "rotate", "light"], Augmentation(flip=0)),
        ("rooms", ["--augment", "light", "flip"], Augmentation(zoom=1.0, rotation_deg=0)),
        ("nyu", ["--augment", "colour"], Augmentation.none()._replace(contrast=1.4, saturation=0.6)),
    ],
)
def test_rooms_are_not_zoomed_unless_asked(kind: str, typed: list[str], expected: Augmentation) -> None:
    assert choose_augmentation(PARSER.parse_args(typed), kind) == expected
