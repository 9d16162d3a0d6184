import hashlib
import itertools
import os
import pickle
from pathlib import Path

import pytest
import torch
from conftest import ABOUT
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
    checkpoint.save(path, about=ABOUT, network={"w": torch.arange(3.0)}, ema=None)
    content = checkpoint.load(path)
    assert content["about"] == ABOUT
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
    checkpoint.save(path, about=ABOUT, network={"w": torch.rand(5000)}, ema=None)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match=r"best\.pt: ") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_is_noticed_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    content = {"about": ABOUT, "network": {"w": torch.rand(500)}, "ema": None}
    checkpoint.save(path, **content)
    expected, whole, noticed = checkpoint.digest(content), path.read_bytes(), 0
    for place in range(0, len(whole), 11):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        try:
            assert checkpoint.digest(checkpoint.load(path)) == expected
        except UserError:
            noticed += 1
    assert noticed > 150  # all of those that fall into the 2,000 bytes of numbers, and more


def test_changed_content_does_not_match_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    checkpoint.save(path, about=ABOUT, network={"w": torch.ones(3)}, ema=None)
    content = torch.load(path, weights_only=True)
    for change in ({"about": {**ABOUT, "epoch": 4}}, {"network": {"w": torch.tensor([1, 1, 2.0])}}, {"ema": {}}):
        torch.save({**content, **change}, path)
        with pytest.raises(UserError, match="does not match its own SHA-256"):
            checkpoint.load(path)


def test_the_digest_tells_types_shapes_and_places_apart() -> None:
    contents = [
        {"a": torch.zeros(2)}, {"b": torch.zeros(2)}, {"a": torch.zeros(1, 2)}, {"a": torch.zeros(2).int()},
        {"a": None}, {"a": 0}, {"a": 0.0}, {"a": "0"}, {"a": [0, [1]]}, {"a": [0, 1]}, {"a": {0: 1}}, {},
    ]  # fmt: skip
    assert len({checkpoint.digest(content) for content in contents}) == len(contents)
    kernel = torch.rand(2, 3, 4, 4)
    assert checkpoint.digest(kernel) == checkpoint.digest(kernel.to(memory_format=torch.channels_last))
    assert checkpoint.digest(torch.tensor(1.5).bfloat16()) == checkpoint.digest(torch.tensor(1.5).bfloat16())


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
    torch.save({"mark": checkpoint.MARK, "format": torch.ones(3)}, path)
    with pytest.raises(UserError, match="got format tensor"):
        checkpoint.load(path)
    checkpoint.save(path, about={})
    with pytest.raises(UserError, match="incomplete, lacks ema, network"):
        checkpoint.load(path)
    torch.save({"mark": checkpoint.MARK, "format": 2, "about": {}, "network": {}, "ema": {}}, path)
    with pytest.raises(UserError, match="incomplete, lacks sha256"):
        checkpoint.load(path)
    path.write_text("hello")
    with pytest.raises(UserError, match=r"Expected a best\.pt"):
        checkpoint.load(path)


@pytest.mark.parametrize("fault", [*checkpoint.ABOUT, "all"])
def test_what_it_says_of_itself_must_be_there(tmp_path: Path, fault: str) -> None:
    about = [1] if fault == "all" else {**ABOUT, fault: None}
    checkpoint.save(tmp_path / "best.pt", about=about, network={}, ema=None)
    expected = ", ".join(checkpoint.ABOUT) if fault == "all" else fault
    with pytest.raises(UserError, match=f"wrong in what it says about itself: {expected}"):
        checkpoint.load(tmp_path / "best.pt")


def test_missing_and_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such checkpoint"):
        checkpoint.load(tmp_path / "no.pt")
    with pytest.raises(UserError, match="folder"):
        checkpoint.load(tmp_path)


def test_a_failed_save_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    content = {"network": {}, "ema": None}
    checkpoint.save(path, about={**ABOUT, "epoch": 1}, **content)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        checkpoint.save(path, about={**ABOUT, "epoch": 2}, **content)
    assert checkpoint.load(path)["about"]["epoch"] == 1
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
    checkpoint.export(path, {**ABOUT, "weights": "ema"}, weights)
    return weights


def test_what_is_exported_is_loaded_in_single_precision(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.safetensors"
    weights = exported(path)
    content = checkpoint.load(path)
    assert content["about"] == {**ABOUT, "weights": "ema"}
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
