import bz2
import io
import math
import os
import pickle
import random
import struct
import subprocess
import sys
import warnings
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as to_safetensors
from torch.amp.grad_scaler import GradScaler

from src.choices import OPTIMIZERS
from src.training import vetting
from src.training.optim import make_optimizer, make_schedule, make_swa
from src.training.vetting import vetted

ROOT = Path(__file__).resolve().parents[2]
ORDERED = b"ccollections\nOrderedDict\n)R"


def word(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def number(value: int) -> bytes:
    long = pickle.encode_long(value)
    return b"\x8a" + bytes([len(long)]) + long


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(length: int = 4, kind: str = "Float", key: str = "0") -> bytes:
    named = word("storage") + f"ctorch\n{kind}Storage\n".encode() + word(key) + word("cpu") + number(length)
    return b"(" + named + b"tQ"


def tensor(
    offset: int = 0,
    size: tuple[int, ...] = (4,),
    stride: tuple[int, ...] = (1,),
    hooks: bytes = ORDERED,
    **stored: Any,
) -> bytes:
    """Spell a tensor as torch.save does, with whatever numbers."""
    shape = number(offset) + numbers(size) + numbers(stride)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(**stored) + shape + b"\x89" + hooks + b"tR"


def archive(value: bytes, records: dict[str, bytes] | None = None, packing: int = zipfile.ZIP_STORED) -> bytes:
    """Make a checkpoint whose pickle leaves `value`, and whose one storage holds four floats."""
    file = io.BytesIO()
    given = {"data.pkl": b"\x80\x02" + value + b".", "byteorder": b"little", "data/0": struct.pack("<4f", 1, 2, 3, 4)}
    with zipfile.ZipFile(file, "w", packing) as zipped:
        for name, content in (given | {"version": b"3\n"} | (records or {})).items():
            zipped.writestr(f"archive/{name}", content)
    return file.getvalue()


def claim(name: str, stored: int | None = None, unpacked: int | None = None, packing: int | None = None) -> bytes:
    """Make a sound checkpoint and let the zip's directory tell lies about one record."""
    content = bytearray(archive(tensor()))
    entry = content.rindex(b"archive/" + name.encode()) - 46
    for place, form, value in ((10, "<H", packing), (20, "<I", stored), (24, "<I", unpacked)):
        if value is not None:
            struct.pack_into(form, content, entry + place, value)
    return bytes(content)


def saved(content: Any, **options: bool) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def numpy_zip() -> bytes:
    file = io.BytesIO()
    np.savez(file, w=np.arange(4))
    return file.getvalue()


class Code:
    def __reduce__(self) -> tuple:
        return os.system, ("exit 1",)


def many(value: bytes) -> bytes:
    return value + b"q\x00](" + b"h\x00" * 5000 + b"e"


deep = b")" + b"\x85" * 1_000_000
laughs = b")q\x00" + b"".join(b"(h%ch%ctq%c" % (k, k, k + 1) for k in range(100))
colliding = b"".join(number(k * (2**61 - 1)) + b"N" for k in range(1, 9))

HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    # What torch.load(weights_only=True) alone makes of it was measured with torch 2.6.0 and 2.14.1.
    # Code. torch refuses it too.
    "code": (lambda: saved({"w": Code()}), r"Python objects \('posix system'\)"),
    "code, protocol 4": (lambda: archive(pickle.dumps(Code(), 4)[2:-1]), "FRAME"),
    "code without a zip": (lambda: pickle.dumps(Code()), "not a zip"),
    "code of a long name": (lambda: archive(b"cos\n" + b"x" * 999 + b"\n"), "os xxx"),
    "code whose name clears the screen": (lambda: archive(b"cos\n\x1b[2J\n"), r"os \\x1b\[2J"),
    # Storages.
    # 2.6: a tensor over foreign memory, and SIGSEGV when it is summed.
    "a storage longer than its record": (lambda: archive(tensor(length=2**28, size=(2**28,))), "unlike its record"),
    "a storage shorter than its record": (lambda: archive(tensor(length=2, size=(2,))), "unlike its record"),
    "a storage without a record": (lambda: archive(tensor(key="7")), "data/7"),
    "a storage of a long name": (lambda: archive(tensor(key="7" * 999)), "damaged"),
    "a storage of a negative length": (lambda: archive(tensor(length=-4)), "names its storages"),
    "a record of another name": (lambda: archive(tensor(key="x"), {"data/x": bytes(16)}), "names its storages"),
    "a storage of two types": (
        lambda: archive(b"](" + tensor(length=2, size=(2,), kind="Double") + tensor() + b"e"),
        "larger than its storage",
    ),
    # 2.6: SIGSEGV in torch.load, which swaps bytes behind the record's end.
    "big-endian": (lambda: archive(tensor(), {"byteorder": b"big"}), "little-endian"),
    # Tensors.
    # Both: loads, and a copy asks for 4 TB.
    "repeated without end": (lambda: archive(tensor(size=(2**30,), stride=(0,))), "larger than its storage"),
    "beyond its storage": (lambda: archive(tensor(size=(5,))), "larger than its storage"),
    "beyond by its offset": (lambda: archive(tensor(offset=1)), "larger than its storage"),
    "beyond by its stride": (lambda: archive(tensor(size=(2,), stride=(4,))), "larger than its storage"),
    "of a huge stride": (lambda: archive(tensor(size=(4, 1), stride=(1, 2**62))), "huge"),
    "of a huge size, yet empty": (lambda: archive(tensor(size=(0, 2**40), stride=(1, 1))), "huge"),
    "of a negative stride": (lambda: archive(tensor(stride=(-1,))), "negative"),
    "of a negative offset": (lambda: archive(tensor(offset=-1)), "negative"),
    "of a negative size": (lambda: archive(tensor(size=(-4,))), "negative"),
    # Both: loads, and a sum takes 20 s.
    "of a hundred thousand dimensions": (lambda: archive(tensor(size=(1,) * 10**5, stride=(1,) * 10**5)), "dimensions"),
    "with more sizes than strides": (lambda: archive(tensor(size=(2, 2))), "damaged"),
    "with hooks": (lambda: archive(tensor(hooks=ORDERED + b"K\x00Ns")), "hooks"),
    # Structure.
    # Both: SIGSEGV in torch.load, which hashes it. Plain nesting loads; what walks through it then fails.
    "a deep tuple as a key": (lambda: archive(b"}" + deep + b"Ns"), "deeper than 32"),
    "a deep tuple that names a storage": (lambda: archive(b"(" + word("storage") + b"N" + deep + b"NNtQ"), "deeper"),
    "a deep list": (lambda: archive(b"]" * 99 + b"a" * 98), "deeper than 32"),
    "a deep dict": (lambda: archive(b"}" + b"K\x00}" * 99 + b"s" * 99), "deeper than 32"),
    "a deep attribute": (lambda: archive((ORDERED + b"}" + word("_metadata")) * 99 + b"N" + b"sb" * 99), "deeper than"),
    # Both: 300,000 such keys, 4 MB, take minutes.
    "keys of one hash": (lambda: archive(b"}(" + colliding + b"u"), "keys"),
    "a tuple as a key": (lambda: archive(b"})Ns"), "keys"),
    # Both: load, and what walks through them does not come to an end.
    "tuples that double": (lambda: archive(laughs), "unfolds"),
    "a tensor many times": (
        lambda: archive(many(tensor(size=(2**18,), length=2**18)), {"data/0": bytes(2**20)}),
        "unfolds",
    ),
    "a word many times": (lambda: archive(many(word("x" * 2**20))), "unfolds"),
    "a key many times": (lambda: archive(b"](" + word("x" * 2**20) + b"q\x00" + b"}h\x00Ns" * 5000 + b"e"), "unfolds"),
    "a list in itself": (lambda: archive(b"]q\x00h\x00a"), "in itself"),
    "a dict in itself": (lambda: archive(b"}q\x00K\x00h\x00s"), "in itself"),
    # Both: 4 GB of memory for 16 MB of such.
    "sets": (lambda: archive(b"](" + b"\x8f" * 99 + b"e"), "EMPTY_SET"),
    "a large pickle": (lambda: archive(b"](" + b"}" * (2 << 20) + b"e"), "data.pkl of more than"),
    "an OrderedDict of pairs": (lambda: archive(ORDERED[:-2] + b"])N\x86a\x85R"), "calls more"),
    # Both: the checkpoint's own get() is then no function.
    "an attribute that hides a method": (lambda: archive(ORDERED + b"}" + word("get") + b"Nsb"), "sets attributes"),
    "a tensor that is set anew": (lambda: archive(tensor() + b"}" + word("_metadata") + b"Nsb"), "damaged"),
    "a number that is a gigabyte": (lambda: archive(b"\x8b\xff\xff\xff\x3f1"), "damaged"),
    "a storage that is no tensor's": (lambda: archive(b"]" + storage() + b"aNa"), "more than tensors and plain"),
    "a function": (lambda: archive(ORDERED[:-2]), "more than tensors and plain"),
    # Other functions that torch allows.
    # 2.14: 8.5 GB and 21 s for 561 bytes, through _rebuild_from_type_v2.
    "bytearray": (lambda: archive(b"cbuiltins\nbytearray\n" + number(2**34) + b"\x85R"), "bytearray"),
    "a storage's class": (lambda: archive(b"ctorch\nFloatStorage\n)R"), "calls more"),
    "a parameter": (lambda: saved(torch.nn.Parameter(torch.ones(1))), "_rebuild_parameter"),
    "a sparse tensor": (lambda: saved(torch.eye(2).to_sparse()), "_rebuild_sparse_tensor"),
    # The zip.
    # Both: 4 MB become 4.4 GB of memory, in 18 s.
    "deflated": (lambda: archive(tensor(), packing=zipfile.ZIP_DEFLATED), "compressed"),
    "said to be bzip2": (lambda: claim("data/0", packing=zipfile.ZIP_BZIP2), "compressed"),
    "a record larger than the file": (lambda: claim("data/0", 2**31 - 1, 2**31 - 1), r"claims \d+ bytes"),
    "a record that unpacks to more": (lambda: claim("data/0", unpacked=2**31 - 1), r"claims \d+ bytes"),
    "a record that takes more": (lambda: claim("data/0", stored=2**31 - 1), r"claims \d+ bytes"),
    "two pickles": (lambda: archive(tensor(), {"more/data.pkl": b"N."}), "one data.pkl"),
    # Both: loads, another weight than the one that was saved.
    "a flipped bit": (lambda: archive(tensor()).replace(struct.pack("<f", 3), struct.pack("<f", -3)), "CRC-32"),
    "no byte order": (lambda: archive(tensor()).replace(b"byteorder", b"byteOrder"), "byteorder"),
    # Other formats, and nothing at all.
    "torch before 1.6": (lambda: saved({}, _use_new_zipfile_serialization=False), "not a zip"),
    "TorchScript": (lambda: archive(b"c__torch__\nNet\n)\x81", {"constants.pkl": b"\x80\x02)."}), "__torch__ Net"),
    "safetensors": (lambda: to_safetensors({"w": torch.ones(3)}), "not a zip"),
    "numpy": (numpy_zip, "one data.pkl"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(999), "not a zip"),
    "ONNX": (lambda: b"\x08\x07\x12\x07pytorch" + bytes(99), "not a zip"),
    "joblib": (lambda: zlib.compress(pickle.dumps([1])), "not a zip"),
    "bzip2": (lambda: bz2.compress(b"x"), "not a zip"),
    "tar": (lambda: b"pickle".ljust(512, b"\0") + bytes(1024), "not a zip"),
    "zeros": (lambda: bytes(9999), "not a zip"),
    "text": (lambda: b"hello\n", "not a zip"),
    "nothing": (lambda: b"", "not a zip"),
    "an empty zip": (lambda: b"PK\x05\x06" + bytes(18), "one data.pkl"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_with_a_reason(tmp_path: Path, name: str) -> None:
    make, reason = HOSTILE[name]
    path = tmp_path / "x.pt"
    path.write_bytes(make())
    with pytest.raises(ValueError, match=reason) as caught:
        vetted(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 180


SHARED = torch.arange(24.0)
GOOD: dict[str, Any] = {
    **{str(kind): torch.ones(3).to(kind) for kind in (torch.float64, torch.float32, torch.float16, torch.bfloat16)},
    **{str(kind): torch.ones(3).to(kind) for kind in (torch.int64, torch.int32, torch.int16, torch.int8, torch.bool)},
    "a random state": torch.get_rng_state(),
    "a scalar": torch.tensor(7),
    "empty tensors": [torch.zeros(0, 3, 2**20), torch.zeros(3, 0)],
    "no contiguous tensor": torch.arange(24.0).view(4, 6).t(),
    "channels last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "an expanded tensor within its storage": torch.arange(6.0).expand(1, 6)[:, 3:],
    "tensors that share a storage": [SHARED, SHARED[4:8], SHARED.view(4, 6)[:, 1]],
    "one tensor twice": [SHARED, SHARED],
    "one list twice": [[betas := [0.9, [0.99]], betas], betas],
    "a gradient wanted": torch.ones(1, requires_grad=True),
    "plain values": {"a": None, 0: True, "b": [False, 1.5, "ä", 2**40, -(2**31)], "c": ((), (1, (2, (3, (4,)))))},
    "infinities": [float("inf"), float("-inf")],
    "more than a batch of pickle": {"list": list(range(2500)), "dict": dict.fromkeys(range(2500))},
    "an OrderedDict": OrderedDict(a=1),
    "an unused tail": torch.zeros(99)[:3],
}


def assert_same(got: Any, expected: Any) -> None:
    assert type(got) is type(expected)
    if isinstance(expected, torch.Tensor):
        assert got.dtype == expected.dtype and got.stride() == expected.stride()
        assert got.requires_grad == expected.requires_grad and torch.equal(got, expected)
    elif isinstance(expected, dict):
        assert list(got) == list(expected)
        assert_same(list(got.values()), list(expected.values()))
    elif isinstance(expected, (list, tuple)):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other)
    else:
        assert got == expected


def load(path: Path) -> Any:
    return torch.load(vetted(path), map_location="cpu", weights_only=True)


@pytest.mark.parametrize("name", GOOD)
def test_what_torch_saves_is_loaded_as_before(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.pt"
    torch.save({"w": GOOD[name]}, path)
    assert_same(load(path), {"w": GOOD[name]})


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_state_is_loaded_as_before(tmp_path: Path, name: str) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = make_optimizer(network, name, lr=0.1, weight_decay=0.01)
    network(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    schedule, scaler = make_schedule(optimizer, steps=9, warmup_steps=2), GradScaler("cpu")
    parts = {
        "network": network,
        "swa": make_swa(network),
        "optimizer": optimizer,
        "schedule": schedule,
        "scaler": scaler,
    }
    content = {name: part.state_dict() for name, part in parts.items()}
    path = tmp_path / "x.pt"
    torch.save(content, path)
    got = load(path)
    assert_same(got, content)
    assert got["network"]._metadata == content["network"]._metadata


def test_the_gpu_it_was_saved_from_need_not_be_there(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(archive(tensor().replace(word("cpu"), word("cuda:7"))))
    assert_same(load(path), torch.arange(1.0, 5.0))


def test_nan_survives(tmp_path: Path) -> None:
    torch.save({"best": float("nan")}, tmp_path / "x.pt")
    assert math.isnan(load(tmp_path / "x.pt")["best"])


def test_torch_reads_what_was_vetted(tmp_path: Path) -> None:
    # Of records with one name zipfile takes the last. torch 2.6 and 2.14 take another: handed the file, they read 1.
    content = io.BytesIO(archive(b"K\x01"))
    with zipfile.ZipFile(content, "a") as zipped, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for value in (b"K\x01", b"K\x01", b"K\x02"):
            zipped.writestr("archive/data.pkl", b"\x80\x02" + value + b".")
    path = tmp_path / "x.pt"
    path.write_bytes(content.getvalue())
    assert load(path) == 2


def test_the_size_of_a_file_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(archive(tensor()))
    vetted(path)
    monkeypatch.setattr(vetting, "MAX_BYTES", 99)
    with pytest.raises(ValueError, match="claims"):
        vetted(path)


def test_missing_files_and_folders_keep_their_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        vetted(tmp_path / "no.pt")
    with pytest.raises(IsADirectoryError):
        vetted(tmp_path)


def shake(path: Path) -> None:
    """Cut a checkpoint, overwrite bytes, rewrite its pickle beneath sound checksums; print how often it loads."""
    whole, chance = path.read_bytes(), random.Random(0)
    with zipfile.ZipFile(path) as zipped:
        pickled = zipped.read("x/data.pkl")[2:-1]
    tensors = {"data/0": bytes(60), "data/1": bytes(24)}
    expected = load(path)

    def damage(content: bytes) -> bytes:
        damaged = bytearray(content)
        for _ in range(chance.choice((1, 1, 3))):
            damaged[chance.randrange(len(content))] = chance.randrange(256)
        return bytes(damaged)

    kinds = {
        "cut": [whole[: len(whole) * part // 50] for part in range(50)],
        "flipped": [damage(whole) for _ in range(300)],
        "rewritten": [archive(damage(pickled), tensors) for _ in range(300)],
    }
    for kind, contents in kinds.items():
        loaded = 0
        for content in contents:
            path.write_bytes(content)
            try:
                got = load(path)
            except Exception:
                continue
            loaded += 1
            if kind != "rewritten":
                assert_same(got, expected)
        print(kind, loaded)


def test_damage_is_noticed_and_ends_nothing(tmp_path: Path) -> None:
    content = {"w": [torch.rand(3, 5), torch.arange(3)], "lr": 0.1, "groups": OrderedDict(a=(1, None))}
    torch.save(content, tmp_path / "x.pt")
    run = f"import sys; sys.path[:0] = {[str(ROOT), str(Path(__file__).parent)]}; from test_vetting import *"
    command = [sys.executable, "-c", f"{run}; shake(Path('x.pt'))"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = {kind: int(count) for kind, count in map(str.split, done.stdout.splitlines())}
    assert loaded["cut"] == 0
    assert 0 < loaded["flipped"] < 300
    assert 0 < loaded["rewritten"] < 300
