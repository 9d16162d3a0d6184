import numpy as np
import pytest

from src.scoring.significance import compare_frames, confidence_interval


def test_the_interval_is_that_of_the_normal_approximation_for_many_frames() -> None:
    values = np.random.default_rng(3).normal(0.7, 0.2, 400).tolist()
    low, high = confidence_interval(values)
    half = 1.96 * np.std(values) / 20
    assert (low, high) == pytest.approx((np.mean(values) - half, np.mean(values) + half), abs=half / 8)
    assert confidence_interval([0.5] * 7) == (0.5, 0.5)


def test_p_values_are_uniform_without_an_effect_and_small_with_one() -> None:
    rng, base = np.random.default_rng(0), np.random.default_rng(1).uniform(0.2, 0.9, 60)
    same = [compare_frames(base.tolist(), (base + rng.normal(0, 0.1, 60)).tolist()).p for _ in range(60)]
    assert 0.3 < np.mean(same) < 0.7
    assert min(same) < 0.2 < 0.8 < max(same)
    better = compare_frames(base.tolist(), (base + 0.02 + rng.normal(0, 0.03, 60)).tolist())
    assert better.p < 0.002
    assert 0 < better.low < better.second - better.first < better.high
    assert compare_frames(base.tolist(), base.tolist()).p == 1
    with pytest.raises(ValueError, match="broadcast"):
        compare_frames([0.1, 0.2], [0.1, 0.2, 0.3])
