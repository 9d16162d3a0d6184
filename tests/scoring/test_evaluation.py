import csv
import json
from pathlib import Path

import pytest
import torch

from src.conventions import Sample
from src.scoring.evaluation import (
    COLUMNS,
    evaluate,
    format_table,
    pick_examples,
    summarize_scores,
    write_csv,
    write_json,
)
from src.scoring.metrics import mean_map

MEAN = mean_map([torch.full((56, 56), 3.0), torch.full((56, 56), 5.0)])


def left_right(image: torch.Tensor) -> torch.Tensor:
    """Predict 0.2 on the left half and 0.4 on the right of any image."""
    depth = torch.full((56, 56), 0.2)
    depth[:, 28:] = 0.4
    return depth


def samples() -> list[Sample]:
    found = []
    for index, depth_m in enumerate((3.0, 9.0, 2.5)):
        image = torch.zeros(1, 3, 224, 224, dtype=torch.uint8)
        found.append(Sample(f"{index}.png", image, torch.full((480, 640), depth_m), torch.full((56, 56), depth_m)))
    return found


def test_flip_averaging_is_the_mean_with_the_mirror_image() -> None:
    first = evaluate(left_right, samples(), unit_m=10.0, mean_map=MEAN)[0]
    assert first.flipped["eigen"]["rmse_m"] == pytest.approx(0, abs=1e-5)  # 0.3 everywhere
    assert first.plain["eigen"]["rmse_m"] == pytest.approx(1, abs=0.05)


def test_the_result_has_every_protocol_as_plain_numbers(tmp_path: Path) -> None:
    scores = evaluate(left_right, samples(), unit_m=10.0, mean_map=MEAN)
    result = summarize_scores(scores, data="rooms", checkpoint="best.pt")
    write_json(tmp_path / "new" / "result.json", result)
    read = json.loads((tmp_path / "new" / "result.json").read_text())
    assert (read["count"], read["data"]) == (3, "rooms")
    for key in ("protocols", "protocols_flip"):
        assert {name: tuple(measures) for name, measures in read[key].items()} == COLUMNS | {}
        assert all(isinstance(v, float) for measures in read[key].values() for v in measures.values())
    assert read["protocols"]["eigen"]["rmse_m"] == pytest.approx(
        sum(score.plain["eigen"]["rmse_m"] for score in scores) / 3
    )
    assert "eigen_median, flipped" in format_table(read)


def test_the_mean_map_is_scored_and_shown_beside_the_network() -> None:
    result = summarize_scores(evaluate(left_right, samples(), unit_m=10.0, mean_map=MEAN))
    # The map is 4 m everywhere; the frames are 3, 9 and 2.5 m.
    squares = [(4 - depth_m) ** 2 / 100 for depth_m in (3.0, 9.0, 2.5)]
    assert result["protocols_mean_map"]["metric10"]["mse"] == pytest.approx(sum(squares) / 3, rel=1e-5)
    assert result["protocols_mean_map"]["relative"]["mse"] == pytest.approx(0, abs=1e-9)
    lines = format_table(result).splitlines()
    (row,) = (line for line in lines if line.startswith("metric10, mean map"))
    assert row.endswith(f"{sum(squares) / 3:9.4f}")
    relative = summarize_scores(evaluate(left_right, samples(), unit_m=None, mean_map=MEAN))
    assert "relative, mean map" in format_table(relative)
    assert "metric10" not in format_table(relative)


def test_without_training_frames_there_is_no_mean_map() -> None:
    result = summarize_scores(evaluate(left_right, samples(), unit_m=10.0))
    assert result["protocols_mean_map"] == {}
    assert "mean map" not in format_table(result)


def test_a_relative_network_has_no_metres() -> None:
    scores = evaluate(left_right, samples(), unit_m=None, mean_map=MEAN)
    assert set(summarize_scores(scores)["protocols"]) == {"relative", "eigen_median"}
    assert pick_examples(scores)[0][0].startswith("best: abs_rel")


def test_best_median_and_worst_are_ranked_by_error() -> None:
    scores = evaluate(left_right, samples(), unit_m=10.0, mean_map=MEAN)
    examples = pick_examples(scores)
    assert [index for _, index in examples] == [0, 2, 1]
    assert examples[2][0].startswith("worst: rmse_m 6")


def test_the_csv_has_a_row_per_image(tmp_path: Path) -> None:
    scores = evaluate(left_right, samples(), unit_m=10.0, mean_map=MEAN)
    write_csv(tmp_path / "images.csv", scores)
    rows = list(csv.DictReader((tmp_path / "images.csv").open()))
    assert [row["image"] for row in rows] == ["0.png", "1.png", "2.png"]
    assert float(rows[2]["eigen_rmse_m"]) == pytest.approx(scores[2].plain["eigen"]["rmse_m"], rel=1e-4)
