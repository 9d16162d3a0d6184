"""NYU Depth V2 in the layout of its Kaggle copy: found, downloaded, opened."""

import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

from src.conventions import MAX_DEPTH_M, NYU_INTRINSICS
from src.data.csv_rows import read_rows, split_by_scene
from src.data.listing import ListedPairs

KAGGLE_HANDLE = "soumikrakshit/nyu-depth-v2"
KAGGLE_MOUNT = Path("/kaggle/input")
KAGGLE_URL = "https://www.kaggle.com"
INSIDE_KAGGLE = "KAGGLE_KERNEL_RUN_TYPE"  # the environment variable by which kagglehub recognises a Kaggle notebook

UNITS_PER_M = {8: 255 / MAX_DEPTH_M, 16: 1000.0}
"""8-bit training depth where 255 is 10 m; 16-bit test depth in millimetres."""

BORDER_PX = (5, 5, 6, 7)  # white in the photo and in-painted in the depth: top, bottom, left, right of a 640x480 frame

FRAME_FOLDERS = ("nyu2_train", "nyu2_test")
DEEPEST = 5  # levels from /kaggle/input down to the csv files: datasets, soumikrakshit, nyu-depth-v2, nyu_data, data

MOST_ENTRIES = 100  # a larger folder holds the frames of another data set, and listing all such folders takes minutes

REQUEST_TIMEOUT_S = 5.0
REACH_TIMEOUT_S = 8.0  # limits also the look-up of the host name, which no timeout of a request does

ATTACH_TIMEOUT_S = 600.0  # inside Kaggle, where waiting for a data set has no end; a download has timeouts of its own

DOWNLOAD = f"""
import sys
try:
    import kagglehub
    print(kagglehub.dataset_download({KAGGLE_HANDLE!r}))
except Exception as error:
    print(type(error).__name__)
    sys.exit(1)
"""


def find_nyu(folder: Path) -> Path | None:
    """Search a folder breadth first; return the root that csv paths are relative to.

    Of several matches on a level, the first by name is taken. Folders of frames are never listed: on Kaggle's mount,
    101,000 files take minutes.
    """
    if not os.path.isdir(folder):
        return None
    level = [Path(os.path.abspath(folder))]
    visited = {os.path.realpath(folder)}
    for depth in range(DEEPEST + 1):
        for path in level:
            if os.path.isfile(path / "nyu2_test.csv"):
                return path.parent
        most = MOST_ENTRIES if depth else None  # the given folder itself may be a large home folder
        level = [subfolder for path in level for subfolder in _list_folders(path, most, visited)]
    return None


def _list_folders(folder: Path, most: int | None, visited: set[str]) -> list[Path]:
    """List subfolders by name, except visited ones; none if there are `most` entries or more."""
    if folder.name in FRAME_FOLDERS:
        return []
    try:
        with os.scandir(folder) as entries:
            listed = list(islice(entries, most))
            names = sorted(entry.name for entry in listed if entry.is_dir()) if len(listed) != most else []
    except OSError:
        return []
    folders = {os.path.realpath(folder / name): folder / name for name in names}
    unvisited = [path for real, path in folders.items() if real not in visited]
    visited |= folders.keys()
    return unvisited


def locate_nyu() -> tuple[Path | None, str]:
    """Find NYU on Kaggle's mount or in kagglehub's cache, or download it.

    Returns the root and its origin, or None and the reason. Without a network it takes at most ten seconds.
    """
    if root := find_nyu(KAGGLE_MOUNT):
        return root, f"Kaggle's mount {root}"
    cache = Path(os.environ.get("KAGGLEHUB_CACHE", os.path.expanduser("~/.cache/kagglehub")))
    dataset = cache / "datasets" / KAGGLE_HANDLE
    for marker in sorted(dataset.glob("*.complete"), reverse=True):  # kagglehub's mark of a complete version
        if root := find_nyu(dataset / "versions" / marker.stem):
            return root, f"kagglehub's cache {root}"
    return download_nyu()


def download_nyu() -> tuple[Path | None, str]:
    """Download the data set (4.4 GB) with kagglehub, which resumes partial downloads and shows its progress.

    It runs as a process, since only a process can be stopped at any point.
    """
    # Inside Kaggle the data set is attached through a local proxy, without internet.
    inside = INSIDE_KAGGLE in os.environ
    if not inside and (reason := _check_connection()):
        return None, f"{KAGGLE_URL} cannot be reached ({reason})"
    command = [sys.executable, "-c", DOWNLOAD]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=ATTACH_TIMEOUT_S if inside else None)
    except subprocess.TimeoutExpired:
        return None, f"kagglehub did not attach it within {ATTACH_TIMEOUT_S / 60:.0f} minutes"
    last = (done.stdout.strip().splitlines() or ["no reason given"])[-1]
    if done.returncode == 0 and (root := find_nyu(Path(last))):
        return root, f"kagglehub's download {root}"
    return None, f"kagglehub could not download it ({last})"


def _check_connection() -> str | None:
    """Send Kaggle a short request, in a process of its own; return why there was no answer, else None."""
    code = f"import requests; requests.head({KAGGLE_URL!r}, timeout={REQUEST_TIMEOUT_S})"
    try:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, timeout=REACH_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return "no answer"
    if not done.returncode:
        return None
    last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]  # requests.exceptions.ConnectionError: HTTPSC…
    return last.split(":")[0].split(".")[-1]


def open_nyu(root: Path, split: str, *, validation: float, max_depth_m: float = MAX_DEPTH_M) -> ListedPairs:
    """Open `train`, `val` (whole scenes held out of the training list) or `test` (the official list).

    **Raises**: UserError when the list or all of its files cannot be read.
    """
    rows = read_rows(root / "data" / f"nyu2_{'test' if split == 'test' else 'train'}.csv")
    if split != "test":
        train, held_out = split_by_scene(rows, validation)
        rows = train if split == "train" else held_out
    return ListedPairs(rows, root, UNITS_PER_M, max_depth_m=max_depth_m, border_px=BORDER_PX, camera=NYU_INTRINSICS)
