import hashlib
import io
import itertools
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
from src.training.checkpoint import FORMAT, MARK, checksum_of

FIVE = torch.arange(5.0)


def to_bytes(content: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def unsigned(**changes: Any) -> bytes:
    """Write a checkpoint that has a wrong digest."""
    whole = {"mark": MARK, "format": FORMAT, "sha256": "0", "about": ABOUT, "network": {}, "ema": None}
    return to_bytes({**whole, **changes})


def with_about(about: Any) -> bytes:
    content = {"about": about, "network": {}, "ema": None}
    return unsigned(sha256=checkpoint.digest(content), **content)


def edited(old: bytes, new: bytes, packing: int = zipfile.ZIP_STORED, **changes: Any) -> bytes:
    """Replace bytes in the records of a checkpoint, whose zip archive stays intact."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(unsigned(**changes))) as given, zipfile.ZipFile(file, "w", packing) as archive:
        for record in given.infolist():
            archive.writestr(record.filename, given.read(record).replace(old, new))
    return file.getvalue()


def opcodes(network: bytes) -> bytes:
    """Write a checkpoint whose network is what these opcodes of pickle leave."""
    return edited(b"X\4\0\0\0HERE", network, network="HERE")


def doubled(times: int) -> Any:
    return [doubled(times - 1)] * 2 if times else 0


def hiding_get(content: dict) -> Any:
    """Give a dict an attribute in place of its method `get`, as a pickle can."""
    hidden = OrderedDict(content)
    hidden.get = None
    return hidden


def with_two_pickles() -> bytes:
    file = io.BytesIO(unsigned())
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("other/data.pkl", b"N.")
    return file.getvalue()


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    # torch.load(weights_only=True) alone crashes (tuples 140,000 levels deep), fills the memory or does not end.
    "deep tuples as a key": (lambda: opcodes(b"})" + b"\x85" * 60_000 + b"Ns"), "got 60[0-9]{3} tuples"),
    "a bytearray": (lambda: unsigned(network=bytearray(9)), "GLOBAL .*bytearray"),
    "a compressed record": (lambda: edited(b"", b"", zipfile.ZIP_DEFLATED, network=torch.zeros(9**5)), "unpack to"),
    "records of 4 MB": (lambda: unsigned(network=torch.rand(2**20)), "expected at most 2097152"),
    "a pickle of 2 MB": (lambda: opcodes(b"](" + b"}" * (2 << 20) + b"e"), "data.pkl of .*, expected one of at most"),
    "a stride of 0": (lambda: unsigned(network={"w": torch.zeros(1).expand(9)}), "larger than its storage"),
    "references that double": (lambda: unsigned(network=doubled(40)), "takes more than 2097152"),
    "a format that doubles": (lambda: unsigned(format=doubled(40)), "format of type list"),
    # torch and zipfile may read different ones.
    "two pickles": (with_two_pickles, "data.pkl of .*, expected one"),
    # The digest and what follows it raise other errors.
    "deep lists": (lambda: opcodes(b"]" * 9999 + b"a" * 9998), "recursion"),
    "a checkpoint that hides get": (lambda: to_bytes(hiding_get({"mark": MARK})), "another program"),
    "an about that hides get": (lambda: with_about(hiding_get(ABOUT)), "wrong in its description: encoder, target"),
    # Damaged, without a digest; other types and other formats.
    "a changed weight": (lambda: unsigned(network=FIVE).replace(FIVE.numpy().tobytes(), bytes(20)), "data/0' is dam"),
    "a negative length": (lambda: edited(b"K\5", b"J\xfb\xff\xff\xff", network=FIVE), "incompatible function argum"),
    "an unknown opcode": (lambda: opcodes(b"I1\n"), "more than tensors and plain values"),
    "a parameter": (lambda: unsigned(network={"w": torch.nn.Parameter(FIVE)}), "_rebuild_parameter"),
    "a number of numpy": (lambda: unsigned(network=np.float64(1)), "GLOBAL .*numpy"),
    "pickle's protocol 4": (lambda: to_bytes([], pickle_protocol=4), "more than .*MEMOIZE"),
    "torch before 1.6": (lambda: to_bytes({}, _use_new_zipfile_serialization=False), "damaged or no checkpoint"),
    "no archive": (lambda: b"hello", "Expected a best.pt"),
    # Foreign and incomplete ones.
    "a state dict": (lambda: to_bytes({"state_dict": {}}), "another program"),
    "a list": (lambda: to_bytes([1, 2]), "another program"),
    "another format": (lambda: unsigned(format=1), "got format 1, expected 2: train it again"),
    "a tensor as format": (lambda: unsigned(format=FIVE), "format of type Tensor"),
    "nothing but a mark": (lambda: to_bytes({"mark": MARK, "format": FORMAT}), "lacks about, ema, network, sha256"),
    "another digest": (unsigned, "does not match its own SHA-256"),
    "an incomplete about": (lambda: with_about({**ABOUT, "target": None, "epoch": "3"}), ": target, epoch"),
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


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("pickled", [to_bytes, pickle.dumps])
def test_pickled_code_never_runs(tmp_path: Path, pickled: Callable[[Any], bytes]) -> None:
    path, mark = tmp_path / "evil.pt", tmp_path / "it-ran"
    path.write_bytes(pickled({"mark": MARK, "format": FORMAT, "network": Bomb(mark)}))
    with pytest.raises(UserError, match=r"evil\.pt: refused"):
        checkpoint.load(path)
    assert not mark.exists()


def test_all_that_a_state_holds_is_loaded(tmp_path: Path) -> None:
    shared = torch.arange(24.0)
    types = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool)
    network = {
        **{str(dtype): FIVE.to(dtype) for dtype in types},
        "bytes": torch.get_rng_state(),
        "shapes": [torch.tensor(7), torch.zeros(0, 3), shared.view(4, 6).t(), torch.zeros(99)[:3]],
        "shared": [shared, shared[4:8], shared],
        "gradient": torch.ones(1, requires_grad=True),
        "plain": {0: None, "ä": [True, 1.5, 2**40, -1, float("inf"), ()], "long": list(range(2500))},
        "module": torch.nn.BatchNorm2d(2).state_dict(),
    }
    content = {"about": {**ABOUT, "options": {"an option of an earlier version": 1}}, "network": network, "ema": None}
    checkpoint.save(tmp_path / "x.pt", **content)
    loaded = checkpoint.load(tmp_path / "x.pt")
    assert checkpoint.digest(loaded) == checkpoint.digest(content)
    assert loaded["about"] == content["about"]
    assert loaded["network"]["gradient"].requires_grad
    assert loaded["network"]["module"]._metadata == network["module"]._metadata


def test_a_flipped_bit_and_a_truncated_file_are_noticed_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    content = {"about": ABOUT, "network": {"w": torch.rand(500)}, "ema": None}
    checkpoint.save(path, **content)
    whole, noticed = path.read_bytes(), 0
    for position in range(0, len(whole), 17):
        path.write_bytes(whole[:position])
        with pytest.raises(UserError, match=r"best\.pt: "):
            checkpoint.load(path)
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 16]) + whole[position + 1 :])
        try:
            assert checkpoint.digest(checkpoint.load(path)) == checkpoint.digest(content)
        except UserError:
            noticed += 1
    assert noticed > 110  # all of those within the 2,000 bytes of numbers, and more


def test_the_digest_tells_types_shapes_and_positions_apart() -> None:
    contents = [
        {"a": torch.zeros(2)}, {"b": torch.zeros(2)}, {"a": torch.zeros(1, 2)}, {"a": torch.zeros(2).int()},
        {"a": None}, {"a": 0}, {"a": 0.0}, {"a": "0"}, {"a": [0, [1]]}, {"a": [0, 1]}, {"a": {0: 1}}, {},
    ]  # fmt: skip
    assert len({checkpoint.digest(content) for content in contents}) == len(contents)
    kernel = torch.rand(2, 3, 4, 4)
    assert checkpoint.digest(kernel) == checkpoint.digest(kernel.to(memory_format=torch.channels_last))


def test_weights_are_chosen_by_name_or_as_training_found_best() -> None:
    content = {"about": {}, "network": "raw", "ema": "ema", "swa": "swa"}
    for name in ("raw", "ema", "swa"):
        assert checkpoint.choose_weights(content, name) == (name, name)
    assert checkpoint.choose_weights(content)[1] == "ema"
    assert checkpoint.choose_weights({**content, "about": {"weights": "swa"}})[1] == "swa"
    assert checkpoint.choose_weights({**content, "ema": None})[1] == "raw"
    with pytest.raises(UserError, match=r"--weights swa: this checkpoint holds only raw, ema\. Take one of these"):
        checkpoint.choose_weights({**content, "swa": None}, "swa")


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    weights = {
        "kernel": torch.linspace(-1, 1, 24).view(2, 3, 2, 2),
        "norm": torch.tensor([1e-9, 3e5]),  # neither would survive in fp16
        "steps": torch.tensor(7),
    }
    path = tmp_path / "new" / "x.safetensors"
    checkpoint.export(path, {**ABOUT, "weights": "ema"}, weights)
    return path


def test_exported_weights_are_loaded_in_single_precision(exported: Path) -> None:
    content = checkpoint.load(exported)
    assert content["about"] == {**ABOUT, "weights": "ema"}
    weights, name = checkpoint.choose_weights(content)
    assert name == "ema"
    assert {value.dtype for value in weights.values()} == {torch.float32, torch.int64}
    assert torch.equal(weights["kernel"], torch.linspace(-1, 1, 24).view(2, 3, 2, 2).half().float())
    assert torch.equal(weights["norm"], torch.tensor([1e-9, 3e5]))
    assert weights["steps"] == 7
    digest, file_name = checksum_of(exported).read_text().split()
    assert (digest, file_name) == (hashlib.sha256(exported.read_bytes()).hexdigest(), "x.safetensors")


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "flipped bit": lambda content: content[:-3] + bytes([content[-3] ^ 4]) + content[-2:],
    "truncated": lambda content: content[:-9],
    "text": lambda content: b"hello",
    "foreign": lambda content: to_safetensors({"w": torch.zeros(1)}),
    "list as about": lambda content: to_safetensors({}, metadata={"mark": MARK, "format": "1", "about": "[]"}),
}


@pytest.mark.parametrize(
    ("damage", "has_checksum"),
    [("flipped bit", True), *itertools.product([*list(DAMAGED)[1:], "missing"], (True, False))],
)
def test_damaged_exports_are_refused(exported: Path, damage: str, has_checksum: bool) -> None:
    if not has_checksum:
        checksum_of(exported).unlink()
    if damage == "missing":
        exported.unlink()
    else:
        exported.write_bytes(DAMAGED[damage](exported.read_bytes()))
    with pytest.raises(UserError, match=r"x\.safetensors: ") as caught:
        checkpoint.load(exported)
    assert "\n" not in str(caught.value)
