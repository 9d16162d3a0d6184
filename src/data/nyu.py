"""NYU Depth V2 in the layout of its Kaggle copy: found, fetched, opened."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

from src.conventions import MAX_DEPTH_M
from src.data.listing import ListedPairs, read_rows, split_by_scene

KAGGLE_HANDLE = "soumikrakshit/nyu-depth-v2"
KAGGLE_MOUNT = Path("/kaggle/input")
UNITS_PER_M = {8: 255 / MAX_DEPTH_M, 16: 1000.0}
"""8-bit training depth where 255 is 10 m; 16-bit test depth in millimetres."""

BORDER_PX = (5, 5, 6, 7)
"""White in the photo and in-painted in the depth: top, bottom, left, right of a 640x480 frame."""

FRAME_FOLDERS = ("nyu2_train", "nyu2_test")
DEEPEST = 5
"""Folders from /kaggle/input down to the csv files: datasets, soumikrakshit, nyu-depth-v2, nyu_data, data."""

MOST_ENTRIES = 100
"""A folder with that many entries holds the frames of another data set: listing all such folders takes minutes."""

KAGGLE_URL = "https://www.kaggle.com"
INSIDE_KAGGLE = "KAGGLE_KERNEL_RUN_TYPE"
"""The environment variable by which kagglehub recognises a Kaggle notebook."""

ANSWER_S = 5.0
PATIENCE_S = 600.0
"""An attach inside Kaggle brings no byte at all, and the hashing of a large partial download none for minutes."""

POLL_S = 8.0
"""Seconds between two looks at the cache, each of which may count 101,000 files."""


def find_nyu(folder: Path) -> Path | None:
    """Look for the data set at or below a folder; return the one that csv paths are relative to.

    The shallowest match is taken, then the first by name. Folders of frames are never listed: on Kaggle's mount,
    101,000 files take minutes.
    """
    if not os.path.isdir(folder):
        return None
    level = [Path(os.path.abspath(folder))]
    visited = {os.path.realpath(folder)}
    for depth in range(DEEPEST + 1):
        for place in level:
            if os.path.isfile(place / "nyu2_test.csv"):
                return place.parent
        most = MOST_ENTRIES if depth else None  # the named folder itself may be a large home folder
        level = [below for place in level for below in _list_folders(place, most, visited)]
    return None


def _list_folders(folder: Path, most: int | None, visited: set[str]) -> list[Path]:
    """List the folders in a folder by name, but those visited by another path; none if it has `most` entries."""
    if folder.name in FRAME_FOLDERS:
        return []
    try:
        with os.scandir(folder) as entries:
            listed = list(islice(entries, most))
            names = sorted(entry.name for entry in listed if entry.is_dir()) if len(listed) != most else []
    except OSError:
        return []
    folders = {os.path.realpath(folder / name): folder / name for name in names}
    unvisited = [place for real, place in folders.items() if real not in visited]
    visited |= folders.keys()
    return unvisited


def locate_nyu() -> tuple[Path | None, str]:
    """Find NYU on this machine or fetch it: Kaggle's mount, kagglehub's cache, kagglehub's download.

    Returns the root and where it was, or None and why it could not be had. A network that does not reach Kaggle is
    noticed within ten seconds.
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
    """Let kagglehub download the data set (4.4 GB), and stop it where it brings no byte for ten minutes.

    It runs as a process of its own, since only a process can be stopped whatever it waits for.
    What has arrived stays in kagglehub's cache, which resumes there the next time.
    """
    # Inside Kaggle the data set is attached through a local proxy, which needs no internet.
    if INSIDE_KAGGLE not in os.environ and (reason := _ask_kaggle()):
        return None, f"{KAGGLE_URL} cannot be reached ({reason})"
    code = f"import kagglehub; print(kagglehub.dataset_download({KAGGLE_HANDLE!r}))"
    before = seen = _bytes_below(cache)
    changed_s = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as hub:
        while True:
            try:
                output, errors = hub.communicate(timeout=POLL_S)
                break
            except subprocess.TimeoutExpired:
                arrived = _bytes_below(cache)
                now_s = time.monotonic()
            if arrived != seen:
                seen, changed_s = arrived, now_s
                print(f"\rdownloading NYU: {(seen - before) / 1e6:,.0f} MB", end="", file=sys.stderr, flush=True)
            elif now_s - changed_s > PATIENCE_S:
                hub.kill()
                return None, f"kagglehub brought no byte in {PATIENCE_S / 60:.0f} minutes"
    if hub.returncode == 0 and (root := find_nyu(Path(output.strip().splitlines()[-1]))):
        return root, f"kagglehub's download {root}"
    return None, f"kagglehub could not download it ({_name_error(errors)})"


def _ask_kaggle() -> str | None:
    """Send Kaggle a short request by the HTTP client that kagglehub uses; return why there was no answer, else None.

    In a process of its own, since no timeout of a request limits the look-up of the host's name.
    """
    code = f"import requests; requests.head({KAGGLE_URL!r}, timeout={ANSWER_S})"
    try:
        asked = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=8
        )
    except subprocess.TimeoutExpired:
        return "no answer"
    return _name_error(asked.stderr) if asked.returncode else None


def _name_error(errors: str) -> str:
    """Name the exception of a traceback, whose last line is like `requests.exceptions.ConnectionError: HTTPSCon…`."""
    last = (errors.strip().splitlines() or ["no reason given"])[-1]
    return last.split(":")[0].split(".")[-1]


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
