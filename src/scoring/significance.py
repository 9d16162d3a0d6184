"""How far figures of so many frames can be trusted: bootstrap intervals, and a paired test of two networks."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
PERMUTATIONS = 10_000
SEED = 0


class Difference(NamedTuple):
    """A measure of two networks on the same frames: their means, the difference's 95 % interval, and its p-value."""

    first: float
    second: float
    low: float
    high: float
    p: float


def confidence_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean, by the percentile bootstrap over frames.

    Frames of one scene resemble one another, so that the interval is too narrow rather than too wide.

    **Source**: Efron 1979, The Annals of Statistics 7(1).
    """
    low, high = np.percentile(_draw_resamples(len(values)) @ np.asarray(values) / len(values), (2.5, 97.5))
    return float(low), float(high)


@lru_cache(maxsize=1)  # most measures are of the same frames, and drawing takes far longer than the product
def _draw_resamples(count: int) -> NDArray[np.float64]:
    """Draw how often each frame is in each resample: (RESAMPLES, count)."""
    return np.random.default_rng(SEED).multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(float)


def compare_frames(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compare two networks' values on the same frames, in the same order; the difference is second minus first.

    The p-value is that of the sign-flip test: the share of random exchanges of the two networks, frame by frame, whose
    mean difference is at least as large.

    **Raises**: ValueError when the numbers of values differ.
    **Source**: Fisher 1935, The Design of Experiments, chapter 3.
    """
    differences = np.subtract(second, first)
    # In parts, since a product with the integers makes a copy of them in float64.
    means = [part @ differences / len(differences) for part in np.array_split(_draw_signs(len(differences)), 100)]
    as_large = np.abs(np.concatenate(means)) >= abs(differences.mean()) * (1 - 1e-9)
    p = (1 + int(as_large.sum())) / (1 + PERMUTATIONS)
    return Difference(float(np.mean(first)), float(np.mean(second)), *confidence_interval(differences.tolist()), p)


@lru_cache(maxsize=1)
def _draw_signs(count: int) -> NDArray[np.int8]:
    return np.random.default_rng(SEED).integers(0, 2, (PERMUTATIONS, count), np.int8) * 2 - 1
