import hashlib
import io
import itertools
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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


def saved(content: Any, **options: bool) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def ours(**changes: Any) -> bytes:
    """Write a checkpoint of format 1, which has no digest of its content."""
    return saved({"mark": checkpoint.MARK, "format": 1, "about": ABOUT, "network": {}, "ema": None, **changes})


def edited(old: bytes, new: bytes, packing: int = zipfile.ZIP_STORED, **changes: Any) -> bytes:
    """Replace bytes in the records of a checkpoint, whose zip archive stays sound."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(ours(**changes))) as given, zipfile.ZipFile(file, "w", packing) as archive:
        for record in given.infolist():
            archive.writestr(record.filename, given.read(record).replace(old, new))
    return file.getvalue()


def opcodes(network: bytes) -> bytes:
    """Write a checkpoint whose network is what these opcodes of pickle leave."""
    return edited(b"X\4\0\0\0HERE", network, network="HERE")


def doubled(times: int) -> Any:
    return [doubled(times - 1)] * 2 if times else 0


def hiding(content: dict) -> Any:
    """Give a dict an attribute in place of its method `get`, as a pickle can."""
    hidden = OrderedDict(content)
    hidden.get = None
    return hidden


def with_two_pickles() -> bytes:
    file = io.BytesIO(ours())
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("other/data.pkl", b"N.")
    return file.getvalue()


FIVE = torch.arange(5.0)
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    # torch.load(weights_only=True) alone crashes (tuples 140,000 levels deep), fills the memory or does not end.
    "deep tuples as a key": (lambda: opcodes(b"})" + b"\x85" * 60_000 + b"Ns"), "got 60[0-9]{3} tuples"),
    "a bytearray": (lambda: ours(network=bytearray(9)), "GLOBAL .*bytearray"),
    "a compressed record": (lambda: edited(b"", b"", zipfile.ZIP_DEFLATED, network=torch.zeros(9**5)), "unpack to"),
    "records of 4 MB": (lambda: ours(network=torch.rand(2**20)), "expected at most 2097152"),
    "a pickle of 2 MB": (lambda: opcodes(b"](" + b"}" * (2 << 20) + b"e"), "data.pkl of .*, expected one of at most"),
    "a stride of 0": (lambda: ours(network={"w": torch.zeros(1).expand(9)}), "larger than its storage"),
    "references that double": (lambda: ours(network=doubled(40)), "takes more than 2097152"),
    "a format that doubles": (lambda: ours(format=doubled(40)), "format of type list"),
    # torch and zipfile may read different ones.
    "two pickles": (with_two_pickles, "data.pkl of .*, expected one"),
    # The digest and what follows it raise other errors.
    "deep lists": (lambda: opcodes(b"]" * 9999 + b"a" * 9998), "recursion"),
    "a checkpoint that hides get": (lambda: saved(hiding({"mark": checkpoint.MARK})), "another program"),
    "an about that hides get": (lambda: ours(about=hiding(ABOUT)), "wrong in what it says"),
    # Damaged, without a digest; other types and other formats.
    "a changed weight": (
        lambda: ours(network=FIVE).replace(FIVE.numpy().tobytes(), bytes(20)),
        "'.*data/0' is damaged",
    ),
    "a negative length": (
        lambda: edited(b"K\5", b"J\xfb\xff\xff\xff", network=FIVE),
        "incompatible function arguments",
    ),
    "an unknown opcode": (lambda: opcodes(b"I1\n"), "more than tensors and plain values"),
    "a parameter": (lambda: ours(network={"w": torch.nn.Parameter(FIVE)}), "_rebuild_parameter"),
    "a number of numpy": (lambda: ours(network=np.float64(1)), "GLOBAL .*numpy"),
    "pickle's protocol 4": (lambda: saved([], pickle_protocol=4), "more than .*MEMOIZE"),
    "torch before 1.6": (lambda: saved({}, _use_new_zipfile_serialization=False), "damaged or no checkpoint"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_and_foreign_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    content, reason = REFUSED[name]
    path = tmp_path / "x.pt"
    path.write_bytes(content())
    monkeypatch.setattr(checkpoint, "MAX_BYTES", 2**21)
    with pytest.raises(UserError, match=rf"x\.pt: .*{reason}") as caught:
        checkpoint.load(path)
    message = str(caught.value)
    assert message.count(str(path)) == len(message.splitlines()) == 1
    assert len(message) < 250 + len(str(path))


@pytest.mark.parametrize("pickled", [saved, pickle.dumps])
def test_pickled_code_never_runs(tmp_path: Path, pickled: Callable[[Any], bytes]) -> None:
    path, mark = tmp_path / "evil.pt", tmp_path / "it-ran"
    path.write_bytes(pickled({"mark": checkpoint.MARK, "format": 1, "network": Bomb(mark)}))
    with pytest.raises(UserError, match=r"evil\.pt: refused"):
        checkpoint.load(path)
    assert not mark.exists()


def test_all_that_a_state_holds_is_loaded(tmp_path: Path) -> None:
    shared = torch.arange(24.0)
    network = {
        **{
            str(kind): FIVE.to(kind) for kind in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool)
        },
        "bytes": torch.get_rng_state(),
        "shapes": [torch.tensor(7), torch.zeros(0, 3), shared.view(4, 6).t(), torch.zeros(99)[:3]],
        "shared": [shared, shared[4:8], shared],
        "gradient": torch.ones(1, requires_grad=True),
        "plain": {0: None, "ä": [True, 1.5, 2**40, -1, float("inf"), ()], "long": list(range(2500))},
        "module": torch.nn.BatchNorm2d(2).state_dict(),
    }
    content = {"about": ABOUT, "network": network, "ema": None}
    checkpoint.save(tmp_path / "x.pt", **content)
    loaded = checkpoint.load(tmp_path / "x.pt")
    assert checkpoint.digest(loaded) == checkpoint.digest(content)
    assert loaded["network"]["gradient"].requires_grad
    assert loaded["network"]["module"]._metadata == network["module"]._metadata


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
    with pytest.raises(UserError, match="format of type Tensor"):
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
