"""Statistics of a data set: how many frames, how deep, and what is wrong with them."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.conventions import Pairs, UserError
from src.data.camera_height import estimate_height

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
PIXELS_PER_FRAME = 1000
GRID = 4


@dataclass
class Survey:
    """The statistics of a source of frames.

    **Units**: metres over valid pixels, in `depth_m` by name: `mean`, `min`, `max` and percentiles such as `p50`.
    """

    frames: int = 0
    scenes: Counter[str] = field(default_factory=Counter)
    sizes_px: Counter[tuple[int, int]] = field(default_factory=Counter)  # (width, height)
    valid: float = 0.0  # share of valid pixels
    depth_m: dict[str, float] = field(default_factory=dict)
    mean_map_m: NDArray[np.float64] = field(default_factory=lambda: np.full((GRID, GRID), np.nan))
    """Mean depth in each part of the picture, (4, 4), top row first; NaN where nothing is valid."""
    heights_m: list[float] = field(default_factory=list)  # camera heights in the frames that show the floor
    problems: list[str] = field(default_factory=list)  # one line per unreadable or suspicious frame


def survey(pairs: Pairs, progress: Callable[[Iterable[Any]], Iterable[Any]] = iter) -> Survey:
    """Read every frame once; an unreadable one becomes a problem in the result, not an error."""
    result = Survey()
    depths, shares = [np.zeros(0, np.float32)], list[tuple[str, float]]()  # a photo may be listed twice
    totals, counts = np.zeros((2, GRID * GRID))
    for index in progress(range(len(pairs))):
        try:
            frame = pairs[index]
        except UserError as error:
            result.problems.append(str(error))
            continue
        result.frames += 1
        result.scenes[pairs.scenes[index]] += 1
        height, width = frame.valid.shape
        result.sizes_px[width, height] += 1
        valid_m = frame.depth_m[frame.valid]
        shares.append((pairs.names[index], float(frame.valid.mean())))
        if len(valid_m) and np.ptp(valid_m) < 0.01:
            result.problems.append(f"{pairs.names[index]}: its depth is the same everywhere.")
        cells = (np.arange(height) * GRID // height)[:, None] * GRID + np.arange(width) * GRID // width
        totals += np.bincount(cells[frame.valid], valid_m, GRID * GRID)
        counts += np.bincount(cells[frame.valid], minlength=GRID * GRID)
        if height_m := estimate_height(frame.depth_m, frame.valid, frame.camera):
            result.heights_m.append(height_m)
        # No whole number of rows apart: a stride of a multiple of the width would see one column.
        chosen = np.linspace(0, len(valid_m) - 1, min(len(valid_m), PIXELS_PER_FRAME)).astype(int)
        depths.append(valid_m[chosen])
    with np.errstate(invalid="ignore"):
        result.mean_map_m = (totals / counts).reshape(GRID, GRID)
    depth_m = np.concatenate(depths)
    if shares:
        least = 0.1 * np.median([share for _, share in shares])  # of sparse depth, all frames have few pixels
        few = [f"{name}: only {share:.1%} of its depth is valid." for name, share in shares if share <= least]
        result.problems += few
    if len(depth_m):
        result.valid = float(np.mean([share for _, share in shares]))
        result.depth_m = {"mean": float(depth_m.mean()), "min": float(depth_m.min()), "max": float(depth_m.max())}
        values = np.percentile(depth_m, PERCENTILES)
        result.depth_m |= {f"p{p}": float(value) for p, value in zip(PERCENTILES, values, strict=True)}
    return result
