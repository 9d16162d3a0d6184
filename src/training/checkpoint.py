"""Checkpoints: tensors and plain values only, written whole or not at all, read without running code.

Two kinds of file: a run's `.pt` with all its weights, and the exported `.safetensors`: one set of weights in half
precision, a description in the header, and a checksum in a file beside it.
"""

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from pickletools import genops
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from src.choices import WEIGHTS
from src.conventions import UserError
from src.files import whole_file

MARK = "bifpn-depth"
EXPORT_FORMAT = 1
FORMAT = 2

ABOUT = {
    "encoder": str,
    "target": str,
    "max_depth_m": float,
    "data": str,
    "epoch": int,
    "options": dict,
    "revision": str,
}
"""What describes every network, with its type. `options` may hold any that once existed."""

# What torch.load(weights_only=True) gets wrong, measured with torch 2.14.1.
MAX_BYTES = 4 << 30
"""Of all records together, and of their content in memory. 1 MB of compressed zeros unpacks to 1 GB."""
MAX_PICKLE_BYTES = 2 << 20
"""Of the record `data.pkl`: some 130 bytes per tensor. 16 MB of empty dicts take 1.3 GB of memory."""
MAX_TUPLES = 50_000
"""Four per tensor. The hash of tuples nested 140,000 levels deep overflows the stack: a segmentation fault."""
GLOBALS = re.compile(r"collections OrderedDict|torch\._utils _rebuild_tensor_v2|torch \w+Storage")
"""What state dicts need. torch allows more, such as `bytearray`: a file of 529 bytes takes 9 GB of memory."""

REASONS = {
    FileNotFoundError: "no such checkpoint",
    IsADirectoryError: "got a folder",
    UnpicklingError: "refused, it holds more than tensors and plain values",  # torch's text advises weights_only=False
    zipfile.BadZipFile: "refused, it is damaged or no checkpoint",
}


def save(path: Path, *, keep: Path | None = None, **content: Any) -> None:
    """Write a checkpoint whole or not at all; an earlier file of that name is renamed to `keep`.

    `about` describes the network; `network`, `ema` and `swa` are weights; `progress`, in `last.pt`, is for resuming.

    **Raises**: UserError when the disk is full or refuses; an earlier file of that name is then untouched.
    """
    with whole_file(path, keep=keep) as unfinished, unfinished.open("wb") as file:
        try:
            torch.save({"mark": MARK, "format": FORMAT, "sha256": digest(content), **content}, file)
        except RuntimeError as error:  # which torch raises while it handles an OSError
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise OSError(str(error).splitlines()[0]) from None


def digest(content: Any) -> str:
    """Compute the SHA-256 of nested dicts, lists, plain values and tensors, on whatever device.

    **Raises**: ValueError above `MAX_BYTES`, which a small file reaches when it refers to one list many times.
    """
    hasher, size = hashlib.sha256(), 0
    for piece in _pieces(content):
        size += 1024 + len(piece)
        if size > MAX_BYTES:
            raise ValueError(f"its content takes more than {MAX_BYTES} bytes")
        hasher.update(piece)
    return hasher.hexdigest()


def _pieces(content: Any) -> Iterator[Any]:
    if isinstance(content, Tensor):
        if content.nbytes > content.untyped_storage().nbytes():  # a stride of 0
            raise ValueError(f"got a tensor of shape {tuple(content.shape)}, larger than its storage")
        yield f"{content.dtype}{tuple(content.shape)}".encode()
        yield content.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    elif isinstance(content, Mapping):
        yield f"{len(content)} pairs".encode()
        for pair in content.items():
            yield from _pieces(pair)
    elif isinstance(content, (list, tuple)):
        yield f"{len(content)} items".encode()
        for item in content:
            yield from _pieces(item)
    else:
        yield f"{content!r};".encode()


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint that `save` or `export` wrote, onto the CPU. Code inside a file never runs.

    **Raises**: UserError when the file is missing, damaged, of another program, or holds more than tensors and values.
    """
    is_exported = path.suffix == ".safetensors"
    try:
        content = _load_exported(path) if is_exported else _load_run(path)
        about = content["about"]
        held = about if type(about) is dict else {}
        if faults := [key for key, kind in ABOUT.items() if not isinstance(held.get(key), kind)]:
            raise ValueError(f"missing or wrong in its description: {', '.join(faults)}")
    except Exception as error:  # zipfile, pickletools, safetensors and torch raise many classes for damaged files
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        reason = REASONS.get(type(error), f"refused, {first_line[:160]}")
        writer = "weights that scripts/export.py wrote" if is_exported else "a best.pt or last.pt of scripts/train.py"
        raise UserError(f"{path}: {reason}. Expected {writer}.") from None
    return content


def choose_weights(content: Mapping[str, Any], name: str | None = None) -> tuple[dict[str, Tensor], str]:
    """Return the weights called `name`, by default those that its description names, and their name.

    **Raises**: UserError when the checkpoint holds none of that name.
    """
    held = {key: weights for key in WEIGHTS if (weights := content.get("network" if key == "raw" else key))}
    name = name or content["about"].get("weights") or ("ema" if "ema" in held else "raw")
    if name not in held:
        raise UserError(f"--weights {name}: this checkpoint holds only {', '.join(held)}. Take one of these.")
    return held[name], name


def average_weights(weights: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Average the weights and norm statistics of networks that were trained on from the same weights: a uniform soup.

    **Source**: Wortsman et al. 2022, arXiv 2203.05482.
    """
    first = weights[0]
    return {key: torch.stack([each[key].double() for each in weights]).mean(0).to(first[key].dtype) for key in first}


def export(path: Path, about: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Write one set of weights, and beside it its checksum, in the format of `sha256sum --check`.

    Kernels are stored in half precision. Vectors, 3 % of the numbers, keep theirs: a norm's variance can be too small
    for fp16.

    **Raises**: UserError when the disk is full or refuses; earlier files of these names are then untouched.
    """
    stored = {key: (value.half() if value.ndim > 1 else value).contiguous() for key, value in weights.items()}
    header = {"mark": MARK, "format": str(EXPORT_FORMAT), "about": json.dumps(about, sort_keys=True)}
    content = to_safetensors(stored, metadata=header)
    checksum = f"{hashlib.sha256(content).hexdigest()}  {path.name}\n"
    for target, data in ((path, content), (checksum_of(path), checksum.encode())):
        with whole_file(target) as unfinished:
            unfinished.write_bytes(data)


def checksum_of(path: Path) -> Path:
    """Return the path of the file that holds the checksum of exported weights."""
    return path.with_name(f"{path.name}.sha256")


def _load_exported(path: Path) -> dict[str, Any]:
    """Read exported weights, in single precision, and compare them with their checksum where there is one."""
    if checksum_of(path).is_file():
        expected = checksum_of(path).read_text(encoding="utf-8").split(" ")[0]
        got = hashlib.sha256(path.read_bytes()).hexdigest()
        if got != expected:
            raise ValueError(f"damaged, SHA-256 is {got[:12]}…, expected {expected[:12]}…: fetch it again")
    with safe_open(str(path), "pt") as file:
        header = file.metadata() or {}
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no dict)
    if (header.get("mark"), header.get("format")) != (MARK, str(EXPORT_FORMAT)):
        raise ValueError("of another program or version")
    about = json.loads(header["about"])
    single = {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}
    slot = "network" if about["weights"] == "raw" else about["weights"]
    return {"about": about, "network": None, "ema": None, slot: single}


def _load_run(path: Path) -> dict[str, Any]:
    _check_archive(path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    if type(content) is not dict or content.get("mark") != MARK:
        raise ValueError("a checkpoint of another program")
    version = content.get("format")
    if type(version) is not int or version != FORMAT:
        got = version if type(version) is int else f"of type {type(version).__name__}"
        raise ValueError(f"got format {got}, expected {FORMAT}: train it again, or update this repository")
    if missing := {"about", "network", "ema", "sha256"} - content.keys():
        raise ValueError(f"incomplete, lacks {', '.join(sorted(missing))}")
    held = {key: value for key, value in content.items() if key not in ("mark", "format", "sha256")}
    if digest(held) != content["sha256"]:
        raise ValueError("damaged, its content does not match its own SHA-256")
    return held


def _check_archive(path: Path) -> None:
    """Refuse, before `torch.load` reads it, a file that would crash the interpreter or fill the memory.

    **Raises**: ValueError with the reason; what zipfile and pickletools raise for damaged files.
    """
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        pickles = [record for record in records if record.filename.lower().endswith("data.pkl")]
        if len(pickles) != 1 or pickles[0].file_size > MAX_PICKLE_BYTES:
            got = [record.file_size for record in pickles]
            raise ValueError(f"got data.pkl of {got} bytes, expected one of at most {MAX_PICKLE_BYTES}")
        unpacked, limit = sum(record.file_size for record in records), min(path.stat().st_size, MAX_BYTES)
        if unpacked > limit:
            raise ValueError(f"its records unpack to {unpacked} bytes, expected at most {limit}, uncompressed")
        if damaged := archive.testzip():
            raise ValueError(f"its record {damaged[:60]!r} is damaged")
        pickled = archive.read(pickles[0])
    tuples = 0
    for opcode, argument, _ in genops(pickled):
        tuples += opcode.name.startswith("TUPLE")
        if opcode.proto > 2 or (opcode.name == "GLOBAL" and not GLOBALS.fullmatch(str(argument))):
            raise ValueError(f"it holds more than tensors and plain values ({opcode.name} {str(argument)[:60]!r})")
    if tuples > MAX_TUPLES:
        raise ValueError(f"got {tuples} tuples, expected at most {MAX_TUPLES}")
