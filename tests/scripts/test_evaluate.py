import json
from pathlib import Path

import pytest
import torch
from conftest import Script

from src.training import checkpoint


def test_the_data_of_the_training_are_found_again_and_the_result_says_how_it_was_computed(
    script_inside: Script, nyu_folder: Path, tmp_path: Path
) -> None:
    script_inside("train.py", "--data-dir", nyu_folder, "--out", "run", "--limit", 2, "--epochs", 1)
    # Without the folder of the training, this would start a download.
    done = script_inside("evaluate.py", "run/best.pt", "--data", "nyu", "--limit", 2, "--json", "nyu.json")
    assert "DATA: NYU Depth V2 (found at --data-dir)" in done.stdout
    result = json.loads((tmp_path / "nyu.json").read_text())
    assert (result["precision"], result["mean_map_frames"]) == ("float32", 2)
    assert str(torch.get_num_threads()) in result["device"]
    assert set(result["protocols_mean_map"]) == {"metric10", "relative"}
    assert "relative, mean map" in done.stdout
    script_inside("evaluate.py", "run/best.pt", "--amp", "bf16", "--limit", 2, "--json", "half.json")
    assert json.loads((tmp_path / "half.json").read_text())["precision"] == "bfloat16"
    # A folder that is gone is looked for; rooms are never taken for it.
    nyu_folder.rename(tmp_path / "elsewhere")
    refused = script_inside("evaluate.py", "run/best.pt", status=2)
    assert "--data nyu: no NYU on this machine" in refused.stderr


def test_a_csv_of_one_frame_is_scored_without_a_mean_map(
    script_inside: Script, nyu_folder: Path, tmp_path: Path
) -> None:
    pairs = nyu_folder / "nyu_data" / "one.csv"
    pairs.write_text("data/nyu2_test/00000_colors.png,data/nyu2_test/00000_depth.png\n")
    done = script_inside("evaluate.py", "--data", "csv", "--data-dir", pairs, "--out", "out")
    result = json.loads((tmp_path / "out" / "evaluation-csv-test.json").read_text())
    assert (result["count"], result["mean_map_frames"], result["protocols_mean_map"]) == (1, 0, {})
    assert "these data have no training frames" in done.stdout


@pytest.mark.parametrize("damage", ["missing", "folder", "text", "foreign", "code", "truncated", "unfit"])
def test_a_bad_checkpoint_costs_one_line(script_inside: Script, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.pt"
    about = {
        "encoder": "tf_efficientnet_lite0",
        "max_depth_m": 10.0,
        "options": {"data": "rooms", "data_dir": None, "depth_scale": None, "validation": 0.1},
    }
    if damage == "folder":
        path.mkdir()
    elif damage == "text":
        path.write_text("hello")
    elif damage == "foreign":
        torch.save({"model": {}}, path)
    elif damage == "code":
        torch.save({"mark": checkpoint.MARK, "about": torch.nn.Linear(1, 1)}, path)
    elif damage == "truncated":
        checkpoint.save(path, about=about, network={"w": torch.zeros(9999)}, ema=None)
        path.write_bytes(path.read_bytes()[:9000])
    elif damage == "unfit":
        checkpoint.save(path, about=about, network={"w": torch.zeros(1)}, ema=None)
    done = script_inside("evaluate.py", path, status=2)
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
