"""The notebooks run from top to bottom, hold no definitions, and carry nobody's outputs."""

import ast
import os
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TINY = {
    "kaggle_train.ipynb": 'REPOSITORY = ""\n'
    'OPTIONS = "--preset best.yaml --data-dir {nyu} --validation 0.2 --limit 4 --epochs 1 --batch-size 2"\n'
    "MINUTES = 10",
    "look.ipynb": 'DATA = "nyu"\nDATA_DIR = "{nyu}"\nCHECKPOINT = None\nFRAMES = 2',
}


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def plain_python(source: str) -> ast.Module:
    """Read a cell without its shell commands, which are no Python."""
    lines = (re.sub(r"^(\s*)!.*", r"\1pass", line) for line in source.splitlines())
    return ast.parse("\n".join(lines))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_is_stripped_and_defines_nothing(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in code_cells(notebook):
        assert not cell.outputs
        assert cell.execution_count is None
        kinds = {type(node) for node in ast.walk(plain_python(cell.source))}
        assert not kinds & {ast.FunctionDef, ast.ClassDef, ast.Lambda}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_runs_from_top_to_bottom(
    path: Path, nyu_folder: Path, tmp_path: Path, offline: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in offline.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_PROXY", "no_proxy"):  # the kernel is reached through 127.0.0.1
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    place = tmp_path / "here"
    place.mkdir()
    os.symlink(ROOT / "src", place / "src")
    os.symlink(ROOT / "scripts", place / "scripts")
    os.symlink(ROOT / "configs", place / "configs")
    shutil.copy(ROOT / "requirements.txt", place)
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source = TINY[path.name].format(nyu=nyu_folder)
    done = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(place)}}).execute()
    shown = [kind for cell in code_cells(done) for output in cell.outputs for kind in output.get("data", {})]
    assert shown.count("image/png") >= 2
    assert "application/vnd.plotly.v1+json" in shown
    if path.name == "kaggle_train.ipynb":
        assert (place / "runs" / "kaggle" / "best.pt").is_file()
        assert list((place / "runs" / "kaggle").glob("evaluation-nyu-test.json"))
