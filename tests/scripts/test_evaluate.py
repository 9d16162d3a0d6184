from pathlib import Path

import pytest
import torch
from conftest import Script

from src.training import checkpoint


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
