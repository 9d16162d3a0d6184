"""Look through a source frame by frame: what is there, in which encoding, how far, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.conventions import Pairs, UserError
from src.data.stance import find_stance

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
PIXELS_PER_FRAME = 1000
GRID = 4
"""The mean map has so many rows and columns."""


@dataclass
class Survey:
    """What a look through a source found.

    **Units**: `depth_m` maps `mean`, `min`, `max` and percentiles such as `p50` to metres, over valid pixels.
    """

    frames: int = 0
    scenes: Counter[str] = field(default_factory=Counter)
    encodings: Counter[str] = field(default_factory=Counter)
    sizes_px: Counter[tuple[int, int]] = field(default_factory=Counter)
    """(width, height)."""
    valid: float = 0.0
    """Share of valid pixels."""
    depth_m: dict[str, float] = field(default_factory=dict)
    mean_map_m: NDArray[np.float64] = field(default_factory=lambda: np.full((GRID, GRID), np.nan))
    """Mean depth in each part of the picture, (4, 4), top row first; NaN where nothing is valid."""
    heights_m: list[float] = field(default_factory=list)
    """The camera's, in the frames that show their floor, if it had NYU's lens."""
    problems: list[str] = field(default_factory=list)
    """One line per frame that cannot be used, or looks odd."""


def survey(pairs: Pairs, progress: Callable[[Iterable[Any]], Iterable[Any]] = iter) -> Survey:
    """Read every frame once. A frame that cannot be read becomes a problem in the result, not an error."""
    found = Survey()
    depths, shares = [np.zeros(0, np.float32)], []
    totals, counts = np.zeros((2, GRID * GRID))
    for index in progress(range(len(pairs))):
        try:
            frame, encoding = pairs[index], pairs.encoding(index)
        except UserError as error:
            found.problems.append(str(error))
            continue
        found.frames += 1
        found.scenes[pairs.scenes[index]] += 1
        found.encodings[encoding] += 1
        found.sizes_px[frame.image.shape[1], frame.image.shape[0]] += 1
        shares.append(float(frame.valid.mean()))
        if shares[-1] < 0.1:
            found.problems.append(f"{pairs.names[index]}: only {shares[-1]:.0%} of its depth is valid.")
        elif np.ptp(frame.depth_m[frame.valid]) < 0.01:
            found.problems.append(f"{pairs.names[index]}: its depth is the same everywhere.")
        seen = frame.depth_m[frame.valid]
        rows, columns = (np.arange(side) * GRID // side for side in frame.valid.shape)
        part = (rows[:, None] * GRID + columns)[frame.valid]
        totals += np.bincount(part, seen, GRID * GRID)
        counts += np.bincount(part, minlength=GRID * GRID)
        stance = find_stance(frame.depth_m, frame.valid)
        if stance:
            found.heights_m.append(stance.height_m)
        depths.append(seen[:: max(1, len(seen) // PIXELS_PER_FRAME)])
    with np.errstate(invalid="ignore"):
        found.mean_map_m = (totals / counts).reshape(GRID, GRID)
    depth_m = np.concatenate(depths)
    if len(depth_m):
        found.valid = float(np.mean(shares))
        found.depth_m = {"mean": float(depth_m.mean()), "min": float(depth_m.min()), "max": float(depth_m.max())}
        found.depth_m |= {
            f"p{p}": float(value) for p, value in zip(PERCENTILES, np.percentile(depth_m, PERCENTILES), strict=True)
        }
    return found
