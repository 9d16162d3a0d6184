import argparse
from pathlib import Path

import pytest
import yaml

from _options import (
    Parser,
    as_preset,
    as_tokens,
    make_training_parser,
    read_preset,
)
from _resume import find_resumable

from src.conventions import UserError

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").rglob("*.yaml"))


@pytest.fixture
def parser() -> Parser:
    return make_training_parser("a test")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_preset_parses(parser: Parser, path: Path) -> None:
    options = parser.parse_over(read_preset(path), [])
    for key, value in yaml.safe_load(path.read_text()).items():
        assert getattr(options, key.replace("-", "_")) == value


def test_defaults_then_preset_then_command_line(parser: Parser) -> None:
    options = parser.parse_over({"lr": 0.5, "epochs": 3, "augment": True}, ["--lr", "0.1"])
    assert (options.lr, options.epochs, options.augment, options.batch_size) == (0.1, 3, True, 16)
    assert parser.parse_over({"augment": True}, ["--no-augment"]).augment is False


def test_resolved_options_repeat_the_run(parser: Parser, tmp_path: Path) -> None:
    typed = ["--lr", "0.01", "--augment", "--no-pretrained", "--data", "csv", "--data-dir", str(tmp_path / "a.csv")]
    options = parser.parse_args(typed)
    again = parser.parse_over(yaml.safe_load(yaml.safe_dump(as_preset(options))), [])
    assert vars(again) == vars(options)


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
def test_a_mistake_is_one_line(
    parser: Parser, capsys: pytest.CaptureFixture[str], preset: dict, typed: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        parser.parse_over(preset, typed)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert message in said
    assert said.count("\n") == 1


def test_tokens() -> None:
    assert as_tokens({"max_depth": 10.0, "augment": True, "pretrained": False, "limit": None}) == [
        "--max-depth=10.0",
        "--augment",
        "--no-pretrained",
    ]


def test_a_bad_preset_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_preset(tmp_path / "no.yaml")
    (tmp_path / "bad.yaml").write_text("lr: [1")
    with pytest.raises(UserError, match="not YAML"):
        read_preset(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- lr")
    with pytest.raises(UserError, match="got list"):
        read_preset(tmp_path / "list.yaml")


def test_the_newest_run_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.chdir(tmp_path)
    assert find_resumable("auto", None) is None
    for age, name in enumerate(("b", "a")):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "last.pt").touch()
        os.utime(tmp_path / "runs" / name / "last.pt", (100 + age, 100 + age))
    assert find_resumable("auto", None) == Path("runs/a/last.pt")
    assert find_resumable("auto", tmp_path / "new") is None
    assert find_resumable("runs/b", None) == Path("runs/b/last.pt")
    assert find_resumable(None, tmp_path) is None


def test_help_shows_every_default(parser: argparse.ArgumentParser) -> None:
    text = parser.format_help()
    assert "(default: 0.002)" in text
    assert "(default: adan)" in text
