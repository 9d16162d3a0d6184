"""Vetting: only what `torch.save` writes for tensors and plain values reaches `torch.load`.

`torch.load(weights_only=True)` runs no code, but believes much else. A tuple nested a million times that is the key of
a dict ends the interpreter (torch 2.6 and 2.14); a storage declared longer than its record reads foreign memory (2.6);
4 MB of deflated zeros become 4 GB; a flipped bit in a weight goes unnoticed. So the pickle is first followed here,
opcode by opcode, with stand-ins for all that it would build: nothing is imported, called or hashed at its word.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickletools import genops
from typing import Any

MAX_BYTES = 4 << 30
"""Of the file, and of all that it unfolds to: a pickle can use one tensor, word or list many times."""
MAX_PICKLE_BYTES = 2 << 20
"""Ours take 0.2 MB, some 130 bytes a tensor."""
MAX_DEPTH = 32
MAX_DIMENSIONS = 8
MAX_COUNT = 2**31 - 1
"""The largest size, stride, offset or key."""

ORDERED = "collections OrderedDict"
REBUILD = "torch._utils _rebuild_tensor_v2"
ITEM_BYTES = {
    f"torch {name}Storage": size
    for size, names in {1: "Bool Byte Char", 2: "BFloat16 Half Short", 4: "Float Int", 8: "Double Long"}.items()
    for name in names.split()
}
PLAIN = {"NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"}
EMPTY = {"EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE"}
OPERANDS = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "APPEND": 1, "SETITEM": 2, "BUILD": 1, "REDUCE": 2, "BINPERSID": 1}


class _Refusal(ValueError):
    """A reason of ours."""


@dataclass(frozen=True)
class _Part:
    """Stands for what belongs into the making of a tensor only: what is imported, by name; a storage, by length."""

    value: Any


@dataclass(frozen=True)
class _Tensor:
    """Stands for a tensor."""

    weight: int


@dataclass(slots=True, eq=False)
class _Container:
    """Stands for a list or tuple, with its items, or for a dict, with its keys."""

    items: list[Any] = field(default_factory=list)
    weight: int = 64
    depth: int = 1
    final: bool = False
    loose: bool = False
    """Whether a part lies in it, at any depth."""

    def take(self, items: Iterable[Any], values: Iterable[Any]) -> None:
        """Grow by `items`; what they bring with them are `values`."""
        _expect(not self.final, "nests a list or dict in itself")
        self.items += items
        self.weight += sum(map(_weigh, values))
        self.depth = max([self.depth, *(1 + value.depth for value in values if isinstance(value, _Container))])
        self.loose = self.loose or any(map(_is_loose, values))
        _expect(self.weight <= MAX_BYTES, f"unfolds to more than {MAX_BYTES} bytes")
        _expect(self.depth <= MAX_DEPTH, f"nests its lists or dicts deeper than {MAX_DEPTH}")


def vetted(path: Path) -> io.BytesIO:
    """Copy a checkpoint into memory, for `torch.load`, once it is known to be whole and plain.

    torch must read this copy, not the file: where a zip has two directories, or two records of one name, it may take
    the other one than `zipfile` does; and a file may change meanwhile.

    **Raises**: ValueError that says what the file is or does; OSError when it cannot be opened.
    """
    copy = io.BytesIO()
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as given, zipfile.ZipFile(copy, "w") as clean:
                _copy_records(given, clean, os.fstat(file.fileno()).st_size)
        except _Refusal:
            raise
        except Exception as error:  # zipfile and a broken pickle raise many classes
            raise ValueError(f"it is damaged or no checkpoint ({error!r:.100})") from None
    copy.seek(0)
    return copy


def _copy_records(given: zipfile.ZipFile, clean: zipfile.ZipFile, file_bytes: int) -> None:
    records = given.infolist()
    _expect(all(record.compress_type == zipfile.ZIP_STORED for record in records), "is compressed")
    claimed = sum(max(record.file_size, record.compress_size) for record in records)
    _expect(claimed <= min(file_bytes, MAX_BYTES), f"claims {claimed} bytes, more than it has or than {MAX_BYTES}")
    folders = {record.filename.removesuffix("data.pkl") for record in records if record.filename.endswith("/data.pkl")}
    _expect(len(folders) == 1, "is no torch checkpoint, which has one data.pkl")
    folder = folders.pop()
    sizes = {record.filename.removeprefix(folder): record.file_size for record in records}
    _expect(sizes["data.pkl"] <= MAX_PICKLE_BYTES, f"has a data.pkl of more than {MAX_PICKLE_BYTES} bytes")
    _expect(given.read(f"{folder}byteorder") == b"little", "is not little-endian")
    pickled = given.read(f"{folder}data.pkl")
    clean.writestr("checkpoint/data.pkl", pickled)
    clean.writestr("checkpoint/version", b"3\n")
    for name in _follow(pickled, sizes):
        clean.writestr(f"checkpoint/{name}", given.read(folder + name))


def _follow(pickled: bytes, sizes: Mapping[str, int]) -> Iterable[str]:
    """Go through a pickle as torch would, and name the records that its storages take.

    **Raises**: ValueError when it builds anything but tensors and plain values; other errors when it is broken.
    """
    lengths: dict[str, int] = {}
    memo: dict[int, Any] = {}
    stack: list[Any] = []
    outer: list[list[Any]] = []
    argument: Any
    for opcode, argument, _ in genops(pickled):
        name = opcode.name
        operands: list[Any] = []
        if name in OPERANDS:
            operands = stack[-OPERANDS[name] :]
            del stack[-OPERANDS[name] :]
        elif name in ("TUPLE", "APPENDS", "SETITEMS"):
            operands, stack = stack, outer.pop()

        if name in PLAIN:
            stack.append(argument)
        elif name in EMPTY:
            stack.append(_Container())
        elif name.startswith("TUPLE"):
            stack.append(_Container())
            stack[-1].take(operands, operands)
        elif name.startswith("APPEND"):
            stack[-1].take(operands, operands)
        elif name.startswith("SETITEM"):
            keys = operands[::2]
            _expect(all(type(key) is str or _is_count(key) for key in keys), "has keys that are no words or counts")
            stack[-1].take(keys, operands)
        elif name == "MARK":
            outer.append(stack)
            stack = []
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
            if isinstance(stack[-1], _Container):
                stack[-1].final = True
        elif name == "GLOBAL":
            _expect(argument in (ORDERED, REBUILD, *ITEM_BYTES), f"holds Python objects ({argument[:60]!r})")
            stack.append(_Part(argument))
        elif name == "BINPERSID":
            _, kind, key, _, length = operands[0].items
            _expect(key.isdecimal() and _is_count(length), "names its storages unlike torch")
            _expect(length * ITEM_BYTES[kind.value] == sizes[f"data/{key}"], "claims a storage unlike its record")
            stack.append(_Part(lengths.setdefault(f"data/{key}", length)))
        elif name == "REDUCE" and operands[0] == _Part(REBUILD):
            stack.append(_make_tensor(*operands[1].items))
        elif name == "REDUCE":
            _expect(operands[0] == _Part(ORDERED) and not operands[1].items, "calls more than OrderedDict()")
            stack.append(_Container())
        elif name == "BUILD":  # a state dict carries its modules' versions as an attribute
            _expect(operands[0].items == ["_metadata"], "sets attributes")
            stack[-1].take([], operands)
        elif name == "STOP":
            _expect(not _is_loose(stack[-1]), "holds more than tensors and plain values")
        else:
            _expect(name == "PROTO", f"holds more than tensors and plain values ({name})")
    return lengths


def _make_tensor(storage: _Part, offset: int, size: _Container, stride: _Container, _: Any, hooks: Any) -> _Tensor:
    length, sizes, strides = storage.value, size.items, stride.items
    _expect(all(map(_is_count, (offset, *sizes, *strides))), "has a tensor with a negative or huge size or stride")
    _expect(len(sizes) <= MAX_DIMENSIONS, f"has a tensor of more than {MAX_DIMENSIONS} dimensions")
    last = offset + sum((count - 1) * step for count, step in zip(sizes, strides, strict=True))
    fits = last < length and math.prod(sizes) <= length
    _expect(fits or 0 in sizes, "has a tensor larger than its storage")
    _expect(not hooks.items, "has a tensor with hooks")
    return _Tensor(64 + 8 * math.prod(sizes))


def _weigh(value: Any) -> int:
    """Say how many bytes a value takes where it stands, at most or nearly."""
    if isinstance(value, (_Container, _Tensor)):
        return value.weight
    return 64 + len(value) if isinstance(value, str) else 64


def _is_loose(value: Any) -> bool:
    return isinstance(value, _Part) or (isinstance(value, _Container) and value.loose)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_COUNT


def _expect(sound: bool, otherwise: str) -> None:
    if not sound:
        raise _Refusal(f"it {otherwise}")
