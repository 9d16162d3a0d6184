"""numba with the settings of this package, and its cache on disk.

A seed must give the same bytes on every machine, so compiled code uses only what IEEE 754 rounds in one way: + - * /
sqrt, comparisons, floor and integers. numba neither reorders them nor fuses a multiplication with an addition.
A Python number would turn float32 into float64: `F(2)` is a float32.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numba import config, njit
from numpy.typing import NDArray

from src.choices import default_cache

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.integer]
Mask = NDArray[np.bool_]
Vec3 = tuple[float, float, float]

F = np.float32
TINY = 1e-9  # avoids a division by zero for a ray along a face; a millionth of a millimetre


def prepare_cache(sources: Path, parents: Sequence[Path]) -> Path | None:
    """Create a cache folder named by a hash of the sources, in the first writable parent; None if there is none.

    numba compares its cache only with the file of the compiled function, not with those of the functions called.
    Folders of other versions are removed.
    """
    text = b"".join(path.read_bytes() for path in sorted(sources.glob("*.py")))
    name = f"rooms-{hashlib.sha256(text).hexdigest()[:16]}"
    for parent in parents:
        try:
            (parent / name).mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=parent / name).close()
        except OSError:
            continue
        for folder in parent.glob("rooms-*"):
            if folder.name != name:
                shutil.rmtree(folder, ignore_errors=True)
        return parent / name
    return None


_sources = Path(__file__).parent
_preferred = [Path(config.CACHE_DIR)] if config.CACHE_DIR else []  # type: ignore[attr-defined]
_cache = prepare_cache(_sources, [*_preferred, _sources / "__pycache__", default_cache() / "numba"])
config.CACHE_DIR = str(_cache or "")  # type: ignore[attr-defined]
compiled = njit(cache=_cache is not None, error_model="numpy")
