"""NYU Depth V2 in the layout of its Kaggle copy: found, fetched, opened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from src.conventions import MAX_DEPTH_M
from src.data.listing import ListedPairs, read_rows, split_by_scene

KAGGLE_HANDLE = "soumikrakshit/nyu-depth-v2"
KAGGLE_MOUNT = Path("/kaggle/input")
UNITS_PER_M = {8: 255 / MAX_DEPTH_M, 16: 1000.0}
"""8-bit training depth where 255 is 10 m; 16-bit test depth in millimetres."""

BORDER_PX = (5, 5, 6, 7)
"""White in the photo and in-painted in the depth: top, bottom, left, right of a 640x480 frame."""

PATIENCE_S = 8.0
LEAST_PROGRESS_BYTES = 1_000_000


def find_nyu(folder: Path) -> Path | None:
    """Look for the data set at or below a folder; return the one that csv paths are relative to."""
    if not os.path.isdir(folder):
        return None
    for depth in range(5):
        for found in sorted(folder.glob("*/" * depth + "nyu2_test.csv")):
            return found.parent.parent
    return None


def locate_nyu() -> tuple[Path | None, str]:
    """Find NYU on this machine or fetch it: Kaggle's mount, kagglehub's cache, kagglehub's download.

    Returns the root and where it was, or None and why it could not be had. Never waits more
    than some ten seconds on a network that does not answer or crawls.
    """
    if root := find_nyu(KAGGLE_MOUNT):
        return root, f"Kaggle's mount {root}"
    cache = Path(os.environ.get("KAGGLEHUB_CACHE", Path.home() / ".cache" / "kagglehub"))
    cached = cache / "datasets" / KAGGLE_HANDLE
    for finished in sorted(cached.glob("*.complete"), reverse=True):  # kagglehub's mark of a whole version
        if root := find_nyu(cached / "versions" / finished.stem):
            return root, f"kagglehub's cache {root}"
    return download_nyu(cache)


def download_nyu(cache: Path) -> tuple[Path | None, str]:
    """Let kagglehub download the data set (4.4 GB), and stop it where the network refuses or crawls.

    It runs as a process of its own, since only a process can be stopped whatever it waits for.
    What has arrived stays in kagglehub's cache, which goes on from there the next time.
    """
    code = f"import kagglehub; print(kagglehub.dataset_download({KAGGLE_HANDLE!r}))"
    started_with = seen = _bytes_below(cache)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as hub:
        while True:
            try:
                output, errors = hub.communicate(timeout=PATIENCE_S)
            except subprocess.TimeoutExpired:
                arrived = _bytes_below(cache)
                if arrived - seen < LEAST_PROGRESS_BYTES:
                    hub.kill()
                    return None, f"the download crawled ({max(arrived - seen, 0) / 1e6:.1f} MB in {PATIENCE_S:.0f} s)"
                seen = arrived
                print(f"\rdownloading NYU: {(seen - started_with) / 1e6:,.0f} MB", end="", file=sys.stderr, flush=True)
                continue
            break
    if hub.returncode == 0 and (root := find_nyu(Path(output.strip().splitlines()[-1]))):
        return root, f"kagglehub's download {root}"
    # The last line of a traceback, such as `requests.exceptions.ConnectionError: HTTPSConnectionPool(…`.
    reason = (errors.strip().splitlines() or ["no reason given"])[-1]
    return None, f"kagglehub could not download it ({reason.split(':')[0].split('.')[-1]})"


def _bytes_below(folder: Path) -> int:
    total = 0
    for where, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.stat(os.path.join(where, name)).st_size
            except OSError:  # kagglehub moves its files while we look
                continue
    return total


def open_nyu(root: Path, split: str, *, validation: float, max_depth_m: float = MAX_DEPTH_M) -> ListedPairs:
    """Open `train`, `val` (whole scenes held out of the training list) or `test` (the official list).

    **Raises**: UserError when the list cannot be read, or none of its files can.
    """
    rows = read_rows(root / "data" / f"nyu2_{'test' if split == 'test' else 'train'}.csv")
    if split != "test":
        train, held_out = split_by_scene(rows, validation)
        rows = train if split == "train" else held_out
    return ListedPairs(rows, root, UNITS_PER_M, max_depth_m=max_depth_m, border_px=BORDER_PX)
