"""What every script does on machines whose streams, names, folders or variables are not as usual."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PROBE = """
import sys
{before}
sys.path.insert(0, "scripts")
import _root

def main():
    from src.choices import default_cache
    {body}

_root.run(main)
"""
CONTINUES = """
    print("caf\\xe9 \\udcff", default_cache(), flush=True)
    with open(sys.argv[1], "w") as file:
        print("to be dropped", file=sys.stderr, flush=True)
        file.write("done")
"""


def probe(
    body: str, *arguments: object, shell: str = "{}", before: str = "", **variables: str | None
) -> tuple[int, str, str]:
    """Run lines as a script's main function; `shell` adds redirections, None removes a variable."""
    command = shell.format(
        shlex.join([sys.executable, "-c", PROBE.format(body=body, before=before), *map(str, arguments)])
    )
    environment = {key: value for key, value in {**os.environ, **variables}.items() if value is not None}
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, timeout=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize(
    ("shell", "status", "printed"),
    [
        ("{} | true; exit ${{PIPESTATUS[0]}}", 0, "to be dropped\n"),
        ("{} 2>&1 | true; exit ${{PIPESTATUS[0]}}", 0, ""),
        ("{} >&- 2>&-", 0, ""),
        ("{} > /dev/full", 2, "to be dropped\nerror: the output could not be written (No space left on device).\n"),
    ],
)
def test_output_that_nobody_takes_is_dropped(tmp_path: Path, shell: str, status: int, printed: str) -> None:
    assert probe(CONTINUES, tmp_path / "file", shell=shell) == (status, "", printed)
    assert (tmp_path / "file").read_text() == "done"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_names_that_the_terminal_cannot_show_are_escaped(tmp_path: Path, encoding: str) -> None:
    shell = f"{{}} | iconv -f {'latin1' if encoding == 'cp1252' else encoding} -t utf-8"
    status, output, _ = probe(CONTINUES, tmp_path / "file", shell=shell, PYTHONIOENCODING=encoding)
    assert status == 0
    assert output.startswith("caf\\xe9 \\udcff" if encoding == "ascii" else "caf\xe9 \\udcff")


@pytest.mark.parametrize("home", [None, "{file}"])
def test_without_a_home_all_caches_go_to_the_temporary_folder(tmp_path: Path, home: str | None) -> None:
    (tmp_path / "file").touch()
    # As `docker run --user 1234`: a user without HOME and without an entry in /etc/passwd.
    before = "import pwd; pwd.getpwuid = {}.__getitem__" if home is None else ""
    body = "import pathlib, matplotlib; print(default_cache(), matplotlib.get_cachedir(), pathlib.Path.home())"
    variables = {"HOME": home and home.format(file=tmp_path / "file"), "XDG_CACHE_HOME": None, "TMPDIR": str(tmp_path)}
    status, printed, said = probe(body, before=before, **variables)
    cache = tmp_path / f"bifpn-depth-{os.getuid()}"
    assert (status, said) == (0, f"no writable home folder: caches are kept in {cache}\n")
    assert printed.split() == [f"{cache}/bifpn-depth", f"{cache}/matplotlib", variables["HOME"] or str(cache)]
    if os.getuid() == 0:
        os.chown(cache, 1234, 1234)
        status, printed, said = probe(body, before=before, **variables)
        assert (status, printed, said.count("\n")) == (2, "", 1)
        assert "another user's" in said


def test_a_backend_of_a_notebook_is_not_inherited_and_garbage_is_collected() -> None:
    assert probe("import gc, src.viewing.figures; assert gc.isenabled()", MPLBACKEND="none") == (0, "", "")


@pytest.mark.parametrize(
    ("raised", "printed"),
    [
        ("KeyboardInterrupt", "\nstopped\n"),
        ("ModuleNotFoundError(name='x')", "error: x is not installed. Run: pip install -r requirements.txt\n"),
        ("OSError(13, 'Denied', 'x')", "error: x: Denied. Check the path and its permissions.\n"),
    ],
)
def test_ctrl_c_a_missing_package_and_a_refused_path_cost_one_line(raised: str, printed: str) -> None:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, 'scripts'); import _root; raise {raised}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode and done.stderr == printed
