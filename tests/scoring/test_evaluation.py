import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.conventions import Sample
from src.scoring.comparison import Run, conclude, tabulate
from src.scoring.evaluation import (
    COLUMNS,
    ImageScore,
    evaluate,
    format_table,
    pick_examples,
    save_as_png,
    summarize_scores,
    write_csv,
    write_json,
)
from src.scoring.metrics import eigen, mean_map
from src.scoring.significance import compare_frames, confidence_interval

MEAN = mean_map([torch.full((56, 56), 3.0), torch.full((56, 56), 5.0)])
NAMES = ["0.png", "1.png", "data/nyu2_train/living_room_0046b_out/2.png"]


def left_right(image: torch.Tensor) -> torch.Tensor:
    """Predict 0.2 on the left half and 0.4 on the right of any image."""
    depth = torch.full((56, 56), 0.2)
    depth[:, 28:] = 0.4
    return depth


@pytest.fixture(scope="module")
def scores() -> list[ImageScore]:
    """Scores of frames that are 3, 9 and 2.5 m everywhere, beside a mean map that is 4 m everywhere."""
    image = torch.zeros(1, 3, 224, 224, dtype=torch.uint8)
    samples = [
        Sample(name, image, torch.full((480, 640), depth_m), torch.full((56, 56), depth_m))
        for name, depth_m in zip(NAMES, (3.0, 9.0, 2.5), strict=True)
    ]
    return evaluate(left_right, samples, unit_m=10.0, mean_map=MEAN)


def test_flip_averaging_is_the_mean_with_the_mirror_image(scores: list[ImageScore]) -> None:
    assert scores[0].flipped["eigen"]["rmse_m"] == pytest.approx(0, abs=1e-5)  # 0.3 everywhere
    assert scores[0].plain["eigen"]["rmse_m"] == pytest.approx(1, abs=0.05)


def test_a_result_has_every_protocol_and_a_row_per_image(scores: list[ImageScore], tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "result.json", summarize_scores(scores, data="rooms"))
    read = json.loads((tmp_path / "new" / "result.json").read_text())
    assert (read["count"], read["data"]) == (3, "rooms")
    for key in ("protocols", "protocols_flip"):
        assert {name: tuple(measures) for name, measures in read[key].items()} == COLUMNS
        assert all(isinstance(v, float) for measures in read[key].values() for v in measures.values())
    rmse_m = [score.plain["eigen"]["rmse_m"] for score in scores]
    assert read["protocols"]["eigen"]["rmse_m"] == pytest.approx(sum(rmse_m) / 3)
    assert "eigen_median, flipped" in format_table(read)
    write_csv(tmp_path / "images.csv", scores)
    rows = list(csv.DictReader((tmp_path / "images.csv").open()))
    assert [row["image"] for row in rows] == NAMES
    assert [float(row["eigen_rmse_m"]) for row in rows] == pytest.approx(rmse_m, rel=1e-4)


def test_the_mean_map_is_scored_and_shown_where_the_network_has_that_protocol(scores: list[ImageScore]) -> None:
    result = summarize_scores(scores)
    mse = sum((4 - depth_m) ** 2 / 100 for depth_m in (3.0, 9.0, 2.5)) / 3
    assert result["protocols_mean_map"]["metric10"]["mse"] == pytest.approx(mse, rel=1e-5)
    assert result["protocols_mean_map"]["relative"]["mse"] == pytest.approx(0, abs=1e-9)
    assert MEAN.score(torch.full((56, 56), 3.0), 80.0).keys() == {"relative"}
    (row,) = (line for line in format_table(result).splitlines() if line.startswith("metric10, mean map"))
    assert row.endswith(f"{mse:9.4f}")
    for name in ("eigen", "metric10"):  # undefined for relative depth
        del result["protocols"][name]
    assert "relative, mean map" in format_table(result)
    assert "metric10" not in format_table(result)


def test_a_result_tells_where_the_errors_are_and_how_sure_it_is(scores: list[ImageScore], tmp_path: Path) -> None:
    result = summarize_scores(scores)  # of 2 and 4 m where there are 3, 9 and 2.5 m
    thirds = [f"{name} third" for name in ("top", "middle", "bottom", "left", "centre", "right")]
    assert list(result["by_part"]) == ["2-4 m", "6-10 m", *thirds, "living_room"]
    assert result["by_part"]["living_room"] == pytest.approx(scores[2].plain["eigen"])
    assert result["by_part"]["6-10 m"]["rmse_m"] == scores[1].plain["eigen"]["rmse_m"]
    assert result["worst"] == [NAMES[index] for index in (1, 2, 0)]
    ratios = np.array([score.median_ratio for score in scores])
    assert result["median_ratio"] == pytest.approx(np.median(ratios))
    assert sum(result["median_ratio_shares"].values()) == pytest.approx(1)
    assert result["median_ratio_shares"]["0.95-1.05"] == pytest.approx(((ratios >= 0.95) & (ratios < 1.05)).mean())
    assert result["median_ratio_shares"]["> 1.25"] == pytest.approx((ratios >= 1.25).mean())
    for protocol, measures in result["protocols"].items():
        for name, value in measures.items():
            assert result["protocols_low"][protocol][name] <= value <= result["protocols_high"][protocol][name]
    assert result["protocols_high"]["eigen"]["rmse_m"] == pytest.approx(scores[1].plain["eigen"]["rmse_m"])
    table = format_table(result)
    assert "eigen, 95 % from" in table
    assert "eigen, 6-10 m" in table


def test_saved_pngs_score_as_the_predictions_did(scores: list[ImageScore], tmp_path: Path) -> None:
    truth_m = torch.full((480, 640), 3.0)
    save_as_png(tmp_path, 7, 10 * left_right(truth_m), Sample("a", truth_m, truth_m, truth_m))
    files = tmp_path / "predictions" / "frame_rgb_00007.png", tmp_path / "truth" / "frame" / "sync_depth_00007.png"
    predicted, truth = (torch.from_numpy(np.asarray(Image.open(file)).astype(np.float32) / 1000) for file in files)
    assert torch.equal(truth, truth_m)
    assert eigen(predicted, truth)["rmse_m"] == pytest.approx(scores[0].plain["eigen"]["rmse_m"], abs=1e-3)


def test_best_median_and_worst_are_ranked_by_error(scores: list[ImageScore]) -> None:
    examples = pick_examples(scores)
    assert [index for _, index in examples] == [0, 2, 1]
    assert examples[2][0].startswith("worst: rmse_m 6")


def run(name: str, ssim: float, abs_rel: float) -> Run:
    median = {"abs_rel": abs_rel, "rmse_m": 0.5, "log10": 0.1, "d1": 1 - abs_rel, "d2": 0.9, "d3": 0.95}
    protocols = {"relative": {"ssim": ssim, "mse": 0.02}, "eigen_median": median}
    mean_map = {"relative": {"ssim": 0.604, "mse": 0.0404}, "metric10": {"ssim": 0.746, "mse": 0.0147}}
    return Run(name, [{"epoch": 1, "step": 89}], {"protocols": protocols, "protocols_mean_map": mean_map})


def test_runs_are_compared_with_each_other_the_mean_map_and_the_original() -> None:
    names = ("lr-2e-4", "lr-2e-3-plain", "lr-2e-3", "lr-2e-3-swa", "lr-8e-3")
    figures = (0.6, 0.22), (0.65, 0.21), (0.7, 0.2), (0.72, 0.19), (0.68, 0.18)
    runs = [run(name, ssim, abs_rel) for name, (ssim, abs_rel) in zip(names, figures, strict=True)]
    words = conclude(runs)
    assert "the order is lr-2e-3-swa (0.7200), lr-2e-3 (0.7000), lr-8e-3 (0.6800), lr-2e-3-plain (0.6500)" in words
    assert "lr-8e-3 is the best, with 0.1800" in words
    assert "Augmentation changes SSIM by +0.0500, AbsRel by -0.0100" in words
    assert "averaging changes SSIM by +0.0200, AbsRel by -0.0100" in words
    assert "this is not the original's: lr-2e-3, lr-2e-3-plain, lr-8e-3, lr-2e-4" in words
    assert "SSIM of 0.6040: lr-2e-4." in words
    assert "this is also the original's order" in conclude([runs[0], runs[4], runs[2]])
    diverged = Run("lr-3.2e-2", [], None)
    assert conclude([diverged]) == "- lr-3.2e-2 ceased to be finite after 0 steps."
    table = tabulate([*runs, diverged])
    assert "| lr-2e-3-swa | 89 | 0.7200 | 0.0200 | 0.1900 | 0.8100 |  |  |" in table
    assert "| lr-8e-3 | 89 | 0.6800 | 0.0200 | 0.1800 | 0.8200 | 0.7525 | 0.0161 |" in table
    assert "| lr-3.2e-2 | 0 | not finite | not finite |" in table
    assert "| mean training map, no network |  | 0.6040 | 0.0404 |  |  |  |  |" in table
    assert "original" not in tabulate([diverged])


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
