"""numba's cache notices a change in any kernel file, and works in folders that cannot be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

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


def test_outdated_folders_are_removed_and_unwritable_ones_skipped(tmp_path: Path) -> None:
    sources, cache, blocked = tmp_path / "sources", tmp_path / "cache", tmp_path / "file"
    sources.mkdir()
    blocked.touch()
    found = set()
    for name, text in (("a.py", "x = 1"), ("b.py", "x = 1"), ("a.py", "x = 2")):
        (sources / name).write_text(text)
        folder = prepare_cache(sources, [blocked, cache])
        assert list(cache.iterdir()) == [folder]
        found.add(folder)
    assert len(found) == 3 and prepare_cache(sources, [blocked]) is None
