"""The READMEs tell the truth: their commands run and their files are there."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from conftest import Script
from torch.distributed.run import get_args_parser

from src.cli.options import training_parser

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("*/README.md")), *sorted(ROOT.glob("src/*/README.md"))]
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
    "train.py": "--limit 4 --epochs 1 --batch-size 2",
    "evaluate.py": "--limit 2",
    "inspect_data.py": "--limit 2",
    "benchmark.py": "--rounds 1 --steps 1 --batch-size 2",
    "predict.py": "",
    "visualize.py": "--frames 1",
    "sweep.py": "--limit 2 --epochs 1 --presets one",
    "export.py": "--limit 2",
    "app.py": "--help",  # it would serve until it is stopped; tests/scripts/test_app.py does that
}


def words(command: str) -> list[str]:
    """Split a command as a shell does."""
    return shlex.split(command.split("&&")[-1], comments=True)


def test_torchruns_commands_are_understood() -> None:
    """By torchrun's parser and by train.py's own; tests/test_survival.py runs such a one."""
    parser = training_parser("")
    commands = [words(command)[1:] for command in COMMANDS if command.startswith("torchrun")]
    assert len(commands) == 2
    for command in commands:
        parsed = get_args_parser().parse_args(command)
        assert parsed.training_script == "scripts/train.py"
        assert parser.parse_args(parsed.training_script_args).out


@pytest.mark.parametrize("command", [command for command in COMMANDS if not command.startswith("torchrun")])
def test_every_shown_command_runs(command: str, script_inside: Script, nyu_folder: Path, tmp_path: Path) -> None:
    python, path, *arguments = words(command)
    assert python == "python"
    if "--resume" in arguments or "best.pt" in command:
        script_inside("train.py", "--data-dir", nyu_folder, "--out", "runs/my-run", *TINY["train.py"].split())
    (tmp_path / "my").mkdir()
    for pair in nyu_folder.glob("nyu_data/data/nyu2_test/*"):
        shutil.copy(pair, tmp_path / "my")
    rows = (f"{n:05}_colors.png,{n:05}_depth.png" for n in range(3))
    (tmp_path / "my" / "pairs.csv").write_text("\n".join(rows))
    shutil.copy(ROOT / "src" / "viewing" / "examples" / "room-1.jpg", tmp_path / "photo.jpg")
    (tmp_path / "one").mkdir()
    shutil.copy(ROOT / "configs" / "seed" / "lr-2e-3.yaml", tmp_path / "one")
    places = {"path/to/nyu": str(nyu_folder), "runs/…/best.pt": "runs/my-run/best.pt"}
    name = path.removeprefix("scripts/")
    few = [] if name == "visualize.py" and "photo.jpg" in arguments else TINY[name].split()
    script_inside(name, *(places.get(word, word) for word in arguments), *few)


def test_every_script_is_shown() -> None:
    scripts = {path.name for path in (ROOT / "scripts").glob("*.py") if not path.name.startswith("_")}
    assert scripts == {words(command)[1].split("/")[1] for command in COMMANDS if not command.startswith("torchrun")}


def test_every_linked_file_exists() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), target


def test_the_front_page_is_one_page() -> None:
    assert PAGES[0].stat().st_size <= 9 * 1024
