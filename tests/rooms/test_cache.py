"""numba's cache notices a change in any kernel file, and works in folders that cannot be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from src.rooms.kernels.compilation import prepare_cache

ROOT = Path(__file__).resolve().parents[2]
PROBE = """
import numpy as np
from src.rooms.kernels import compilation, lamps
f = np.float32
print(lamps.occludes((0.9, 0.0, 0.0), (1.1, 1.0, 1.0), 0, (0.0, 0.5, 0.5), (f(0.5), f(1e9), f(1e9))))
"""


def test_a_change_in_a_called_function_of_another_file_is_noticed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    solids, cache, folders = tmp_path / "src/rooms/kernels/solids.py", tmp_path / "src/rooms/kernels/__pycache__", []
    for expected in ("True", "False"):
        command = [sys.executable, "-c", PROBE]
        run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        assert run.stdout.strip() == expected
        folders += cache.glob("rooms-*")
        assert list(folders[-1].rglob("*.nbi"))
        solids.write_text(solids.read_text().replace("return max(near, enters)", "return F(2) + max(near, enters)"))
    assert len(set(folders)) == len(folders) == 2


def test_the_folder_depends_on_every_source_and_replaces_outdated_ones(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    found = []
    for name in ("a.py", "b.py"):
        (tmp_path / "sources" / name).write_text("x = 1\n")
        found.append(prepare_cache(tmp_path / "sources", [tmp_path / "cache"]))
    (tmp_path / "sources" / "a.py").write_text("x = 2\n")
    found.append(prepare_cache(tmp_path / "sources", [tmp_path / "cache"]))
    assert len(set(found)) == 3 and list((tmp_path / "cache").iterdir()) == [found[-1]]


def test_folders_that_cannot_be_written_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    assert prepare_cache(tmp_path, [blocked, tmp_path / "home"]).parent == tmp_path / "home"
    assert prepare_cache(tmp_path, [blocked]) is None
