"""The READMEs' commands run, and the files they link to exist."""

import itertools
import re
import shlex
import shutil
from pathlib import Path

import pytest
from conftest import ROOT, Script, Trained
from torch.distributed.run import get_args_parser

from src.cli.options import parse_benchmark, parse_page, parse_sweep, training_parser
from src.network import SHIPPED

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("*/README.md")), *sorted(ROOT.glob("*/*/README.md"))]
README = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
COMMANDS = sorted(
    {
        line.strip()
        for block in re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
        if "scripts/" in line
    }
)


def test_the_two_commands_are_marked() -> None:
    marked = dict(re.findall(r"<!-- (\S+-command) -->\s*```bash\n(.+)\n```", README))
    assert marked["train-command"] == "pip install -r requirements.txt && python scripts/train.py --lr 2e-3 --augment"
    assert marked["test-command"].endswith("python -m pytest")


TINY = {
    "train.py": "--limit 1 --epochs 1 --batch-size 1",
    "evaluate.py": "--limit 1",
    "inspect_data.py": "--limit 1",
    "predict.py": "",
    "visualize.py": "--frames 1",
    "export.py": "--limit 1",
}
PARSED_ONLY = {"app.py": parse_page, "benchmark.py": parse_benchmark, "sweep.py": parse_sweep}
"""Scripts that take long or never end; tests/scripts runs them."""


def words(command: str) -> list[str]:
    """Split a command as a shell does."""
    return shlex.split(command.split("&&")[-1], comments=True)


def test_torchrun_commands_parse() -> None:
    """By torchrun's parser and by train.py's; tests/test_survival.py runs one."""
    parser = training_parser("")
    commands = [words(command)[1:] for command in COMMANDS if command.startswith("torchrun")]
    assert len(commands) == 2
    for command in commands:
        parsed = get_args_parser().parse_args(command)
        assert parsed.training_script == "scripts/train.py"
        assert parser.parse_args(parsed.training_script_args).out


@pytest.mark.parametrize("command", [command for command in COMMANDS if not command.startswith("torchrun")])
def test_every_shown_command_runs(
    command: str, script: Script, trained: Trained, finished_run: Path, tmp_path: Path
) -> None:
    python, path, *arguments = words(command)
    name = path.removeprefix("scripts/")
    assert python == "python"
    if name in PARSED_ONLY:
        PARSED_ONLY[name]("", arguments)
        return
    (tmp_path / "runs").mkdir()
    finished_run.rename(tmp_path / "runs" / "my-run")
    (tmp_path / "my").mkdir()
    for file in trained.nyu.glob("nyu_data/data/nyu2_test/*"):
        shutil.copy(file, tmp_path / "my")
    rows = (f"{n:05}_colors.png,{n:05}_depth.png" for n in range(3))
    (tmp_path / "my" / "pairs.csv").write_text("\n".join(rows))
    for number, kind in itertools.product(range(3), ("images", "depth")):
        file = tmp_path / "my" / "folder" / kind / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "my" / f"{number:05}_{'colors' if kind == 'images' else 'depth'}.png", file)
    shutil.copy(ROOT / "src" / "viewing" / "examples" / "room-1.jpg", tmp_path / "photo.jpg")
    paths = {"path/to/nyu": str(trained.nyu), "runs/…/best.pt": "runs/my-run/best.pt"}
    paths |= {"src/network/weights/nyu.safetensors": str(SHIPPED)}
    tiny = [] if name == "visualize.py" and "photo.jpg" in arguments else TINY[name].split()
    script(name, *(paths.get(word, word) for word in arguments), *tiny)


def test_every_script_is_shown() -> None:
    scripts = {path.name for path in (ROOT / "scripts").glob("*.py") if not path.name.startswith("_")}
    assert scripts == {words(command)[1].split("/")[1] for command in COMMANDS if not command.startswith("torchrun")}


def test_every_linked_file_exists() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), target


def test_the_front_page_is_one_page() -> None:
    assert PAGES[0].stat().st_size <= 9 * 1024
