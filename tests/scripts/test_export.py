"""What ships is whole, says how good it is, and keeps its promise on real frames."""

from pathlib import Path

import pytest
import torch
from conftest import Script

from src.conventions import UserError
from src.network import SHIPPED, rebuild
from src.training import checkpoint


def test_the_shipped_weights_are_those_of_their_checksum() -> None:
    assert checkpoint.checksum_of(SHIPPED).is_file()
    content = checkpoint.load(SHIPPED)
    weights, which = checkpoint.choose_weights(content)
    assert which == "ema"
    network = rebuild(content["about"]["encoder"], weights).eval()
    with torch.inference_mode():
        assert network(torch.rand(1, 3, 224, 224)).std() > 1e-3
    assert SHIPPED.stat().st_size < 8e6


def test_their_figures_stand_in_the_card() -> None:
    scores = checkpoint.load(SHIPPED)["about"]["scores"]
    card = (SHIPPED.parent / "README.md").read_text()
    for protocol, names in {"eigen": ("abs_rel", "rmse_m", "log10", "d1"), "metric10": ("ssim", "mse")}.items():
        for name in names:
            digits = 4 if name == "mse" else 3
            assert f"{scores['protocols'][protocol][name]:.{digits}f}" in card, (protocol, name)
    assert scores["count"] == 294


def test_one_flipped_bit_is_noticed(tmp_path: Path) -> None:
    content = bytearray(SHIPPED.read_bytes())
    content[len(content) // 2] ^= 1
    path = tmp_path / SHIPPED.name
    path.write_bytes(content)
    checkpoint.checksum_of(path).write_text(checkpoint.checksum_of(SHIPPED).read_text())
    with pytest.raises(UserError, match="damaged, SHA-256 is"):
        checkpoint.load(path)


def test_they_keep_their_promise_on_real_frames(script_inside: Script, real_nyu: Path, tmp_path: Path) -> None:
    import json

    done = script_inside("evaluate.py", "--data-dir", real_nyu, "--limit", 40, "--json", "r.json", "--out", "out")
    assert "the weights that ship" in done.stdout
    eigen = json.loads((tmp_path / "r.json").read_text())["protocols"]["eigen"]
    assert eigen["d1"] > 0.70
    assert eigen["rmse_m"] < 0.65
