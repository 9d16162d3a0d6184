import hashlib
import itertools
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as to_safetensors

from src.conventions import UserError
from src.training import checkpoint


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    checkpoint.save(path, about={"encoder": "x", "epoch": 3}, network={"w": torch.arange(3.0)}, ema=None)
    content = checkpoint.load(path)
    assert content["about"] == {"encoder": "x", "epoch": 3}
    assert torch.equal(content["network"]["w"], torch.arange(3.0))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("protocol", ["torch", "pickle"])
def test_pickled_code_never_runs(tmp_path: Path, protocol: str) -> None:
    path, mark = tmp_path / "evil.pt", tmp_path / "it-ran"
    if protocol == "torch":
        torch.save({"mark": checkpoint.MARK, "format": 1, "network": Bomb(mark)}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(UserError, match=r"evil\.pt: refused"):
        checkpoint.load(path)
    assert not mark.exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_named(tmp_path: Path, share: float) -> None:
    path = tmp_path / "best.pt"
    checkpoint.save(path, about={}, network={"w": torch.rand(5000)}, ema=None)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match=r"best\.pt: ") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)


def test_foreign_and_newer_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(UserError, match="another program"):
        checkpoint.load(path)
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="another program"):
        checkpoint.load(path)
    torch.save({"mark": checkpoint.MARK, "format": 99}, path)
    with pytest.raises(UserError, match="format 99"):
        checkpoint.load(path)
    checkpoint.save(path, about={})
    with pytest.raises(UserError, match="incomplete, lacks ema, network"):
        checkpoint.load(path)
    path.write_text("hello")
    with pytest.raises(UserError, match=r"Expected a best\.pt"):
        checkpoint.load(path)


def test_missing_and_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such checkpoint"):
        checkpoint.load(tmp_path / "no.pt")
    with pytest.raises(UserError, match="folder"):
        checkpoint.load(tmp_path)


def test_a_failed_save_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    content = {"network": {}, "ema": None}
    checkpoint.save(path, about={"epoch": 1}, **content)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        checkpoint.save(path, about={"epoch": 2}, **content)
    assert checkpoint.load(path)["about"] == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]


def held(**weights: float) -> dict:
    sets = {"network": None, "ema": None} | {name: {"w": torch.tensor([value])} for name, value in weights.items()}
    return {"about": {}, **sets}


def test_the_weights_asked_for_are_taken() -> None:
    content = held(network=1.0, ema=2.0, swa=3.0)
    for which, value in {"raw": 1.0, "ema": 2.0, "swa": 3.0}.items():
        weights, name = checkpoint.choose_weights(content, which)
        assert (weights["w"].item(), name) == (value, which)


def test_without_a_wish_those_that_training_judged_best() -> None:
    content = held(network=1.0, ema=2.0, swa=3.0)
    assert checkpoint.choose_weights(content)[1] == "ema"
    content["about"]["weights"] = "swa"
    assert checkpoint.choose_weights(content)[1] == "swa"
    assert checkpoint.choose_weights(held(network=1.0))[1] == "raw"
    with pytest.raises(UserError, match=r"--weights swa: this checkpoint holds only raw, ema\. Train with --swa"):
        checkpoint.choose_weights(held(network=1.0, ema=2.0), "swa")


def exported(path: Path) -> dict:
    weights = {
        "kernel": torch.linspace(-1, 1, 24).view(2, 3, 2, 2),
        "norm": torch.tensor([1e-9, 3e5]),  # neither would survive as a half
        "steps": torch.tensor(7),
    }
    checkpoint.export(path, {"weights": "ema", "encoder": "x"}, weights)
    return weights


def test_what_is_exported_is_loaded_in_single_precision(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.safetensors"
    weights = exported(path)
    content = checkpoint.load(path)
    assert content["about"] == {"weights": "ema", "encoder": "x"}
    read, which = checkpoint.choose_weights(content)
    assert which == "ema"
    assert {value.dtype for value in read.values()} == {torch.float32, torch.int64}
    assert torch.equal(read["kernel"], weights["kernel"].half().float())
    assert torch.equal(read["norm"], weights["norm"])
    assert read["steps"] == 7


def test_the_checksum_is_one_that_sha256sum_reads(tmp_path: Path) -> None:
    exported(tmp_path / "x.safetensors")
    digest, name = (tmp_path / "x.safetensors.sha256").read_text().split()
    assert digest == hashlib.sha256((tmp_path / "x.safetensors").read_bytes()).hexdigest()
    assert name == "x.safetensors"


@pytest.mark.parametrize(
    ("damage", "checksum"),
    [("bit", True), *itertools.product(("cut", "text", "foreign", "missing"), (True, False))],
)
def test_damaged_exports_are_refused(tmp_path: Path, damage: str, checksum: bool) -> None:
    path = tmp_path / "x.safetensors"
    exported(path)
    content = bytearray(path.read_bytes())
    if damage == "bit":
        content[-3] ^= 4
    elif damage == "cut":
        content = content[:-9]
    elif damage == "text":
        content = bytearray(b"hello")
    elif damage == "foreign":
        content = bytearray(to_safetensors({"w": torch.zeros(1)}))
    path.write_bytes(content)
    if damage == "missing":
        path.unlink()
    if not checksum:
        checkpoint.checksum_of(path).unlink()
    with pytest.raises(UserError, match=r"x\.safetensors: ") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)
