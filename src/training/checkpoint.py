"""Checkpoints: tensors and plain values only, written whole or not at all, read without running code.

Two kinds of file: the `.pt` of a run, with all its weights, and the `.safetensors` to ship: one set of weights in
half precision, what is known of it in the header, and a checksum beside it.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from pickletools import genops
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from src.choices import WEIGHTS
from src.conventions import UserError
from src.files import whole_file

FORMAT = 2
"""2 brought the checksum, and what going on in the middle of an epoch needs. Older formats are read for ever."""

EXPORT_FORMAT = 1

ABOUT = {
    "encoder": str,
    "target": str,
    "max_depth_m": float,
    "data": str,
    "epoch": int,
    "options": dict,
    "revision": str,
}
"""What is known of every network."""

MARK = "bifpn-depth"

# What torch.load(weights_only=True) gets wrong, measured with torch 2.14.1.
MAX_BYTES = 4 << 30
"""Of all records together, and of their content in memory. 1 MB of compressed zeros unpacks to 1 GB."""
MAX_PICKLE_BYTES = 2 << 20
"""Of the record `data.pkl`: some 130 bytes per tensor. 16 MB of empty dicts take 1.3 GB of memory."""
MAX_TUPLES = 50_000
"""Four per tensor. The hash of tuples nested 140,000 levels deep overflows the stack: a segmentation fault."""
GLOBALS = re.compile(r"collections OrderedDict|torch\._utils _rebuild_tensor_v2|torch \w+Storage")
"""What state dicts need. torch allows more, such as `bytearray`: a file of 529 bytes takes 9 GB of memory."""


def save(path: Path, *, keep: Path | None = None, **content: Any) -> None:
    """Write a checkpoint to a temporary file beside its place, then move it there; an earlier one moves to `keep`.

    `about` says what is needed to rebuild and score the network; `network` and `ema` are its weights; what
    resuming needs besides is `progress`, and only in `last.pt`.

    **Raises**: UserError when the disk refuses; an earlier file of that name is then untouched.
    """
    with whole_file(path, keep=keep) as unfinished, unfinished.open("wb") as file:
        try:
            torch.save({"mark": MARK, "format": FORMAT, "sha256": digest(content), **content}, file)
        except RuntimeError as error:  # torch raises it while it handles what the disk said
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise OSError(str(error).splitlines()[0]) from None


def digest(content: Any) -> str:
    """Compute the SHA-256 of nested dicts, lists, plain values and tensors, whatever device the tensors are on.

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

    **Raises**: UserError when the file is missing, damaged, holds more than tensors and plain values, or is not ours.
    """
    content = _load_exported(path) if path.suffix == ".safetensors" else _load_run(path)
    about = content["about"]
    faults = [key for key, kind in ABOUT.items() if type(about) is not dict or not isinstance(about.get(key), kind)]
    if faults:
        raise UserError(f"{path}: incomplete or wrong in what it says about itself: {', '.join(faults)}.")
    return content


def choose_weights(content: Mapping[str, Any], which: str | None = None) -> tuple[dict[str, Tensor], str]:
    """Pick the weights called `which`, or those that the run itself judged best; return them and their name.

    **Raises**: UserError when the checkpoint holds none of that name.
    """
    held = {name: weights for name in WEIGHTS if (weights := content.get("network" if name == "raw" else name))}
    which = which or content["about"].get("weights") or ("ema" if "ema" in held else "raw")
    if which not in held:
        raise UserError(f"--weights {which}: this checkpoint holds only {', '.join(held)}. Train with --{which}.")
    return held[which], which


def export(path: Path, about: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Write one set of weights, and beside it its checksum, as `sha256sum --check` reads it.

    Kernels go out in half precision. Vectors, 3 % of the numbers, keep theirs: a norm's variance can be too small
    for a half.

    **Raises**: UserError when the disk refuses; earlier files of these names are then untouched.
    """
    stored = {key: (value.half() if value.ndim > 1 else value).contiguous() for key, value in weights.items()}
    header = {"mark": MARK, "format": str(EXPORT_FORMAT), "about": json.dumps(about, sort_keys=True)}
    content = to_safetensors(stored, metadata=header)
    checksum = f"{hashlib.sha256(content).hexdigest()}  {path.name}\n"
    for place, text in ((path, content), (checksum_of(path), checksum.encode())):
        with whole_file(place) as unfinished:
            unfinished.write_bytes(text)


def checksum_of(path: Path) -> Path:
    """Name the file that holds the checksum of exported weights."""
    return path.with_name(f"{path.name}.sha256")


def _load_exported(path: Path) -> dict[str, Any]:
    """Read exported weights, in single precision, after comparing them with their checksum where one lies there."""
    ours = "Expected weights that scripts/export.py wrote."
    try:
        if checksum_of(path).is_file():
            expected = checksum_of(path).read_text(encoding="utf-8").split(" ")[0]
            got = hashlib.sha256(path.read_bytes()).hexdigest()
            if got != expected:
                raise UserError(f"{path}: damaged, SHA-256 is {got[:12]}…, expected {expected[:12]}…. Fetch it again.")
        with safe_open(str(path), "pt") as file:
            header = file.metadata() or {}
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no dict)
        if (header.get("mark"), header.get("format")) != (MARK, str(EXPORT_FORMAT)):
            raise UserError(f"{path}: weights of another program or version. {ours}")
        about = json.loads(header["about"])
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint. {ours}") from None
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UserError(f"{path}: damaged or no safetensors file ({str(error)[:100]}). {ours}") from None
    whole = {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}
    slot = "network" if about["weights"] == "raw" else about["weights"]
    return {"about": about, "network": None, "ema": None, slot: whole}


def _load_run(path: Path) -> dict[str, Any]:
    ours = "Expected a best.pt or last.pt that scripts/train.py wrote."
    try:
        _check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        if type(content) is not dict or content.get("mark") != MARK:
            raise UserError(f"{path}: a checkpoint of another program. {ours}")
        held = {key: value for key, value in content.items() if key not in ("mark", "format", "sha256")}
        sha256 = digest(held)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint. {ours}") from None
    except IsADirectoryError:
        raise UserError(f"{path}: got a folder. {ours}") from None
    except UnpicklingError:  # whose message advises weights_only=False
        raise UserError(f"{path}: refused, it holds more than tensors and plain values. {ours}") from None
    except zipfile.BadZipFile:
        raise UserError(f"{path}: refused, it is damaged or no checkpoint. {ours}") from None
    except UserError:
        raise
    except Exception as error:  # zipfile, pickletools and torch raise many classes for damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: refused, {reason[:160]}. {ours}") from None
    version = content.get("format", 0)
    if type(version) is not int or not 1 <= version <= FORMAT:
        got = version if type(version) is int else f"of type {type(version).__name__}"
        raise UserError(f"{path}: got format {got}, expected 1 to {FORMAT}. Update this repository.")
    if missing := {"about", "network", "ema", *(["sha256"] if version > 1 else [])} - content.keys():
        raise UserError(f"{path}: incomplete, lacks {', '.join(sorted(missing))}. {ours}")
    if version > 1 and sha256 != content["sha256"]:
        raise UserError(f"{path}: damaged, its content does not match its own SHA-256. {ours}")
    return held


def _check_archive(path: Path) -> None:
    """Refuse, before `torch.load` reads it, a file that would end the interpreter or fill the memory.

    **Raises**: ValueError with the reason; what zipfile and pickletools raise for damaged files.
    """
    with zipfile.ZipFile(path) as archive:
        pickles = [record for record in archive.infolist() if record.filename.lower().endswith("data.pkl")]
        if len(pickles) != 1 or pickles[0].file_size > MAX_PICKLE_BYTES:
            got = [record.file_size for record in pickles]
            raise ValueError(f"got data.pkl of {got} bytes, expected one of at most {MAX_PICKLE_BYTES}")
        unpacked, most = sum(record.file_size for record in archive.infolist()), min(path.stat().st_size, MAX_BYTES)
        if unpacked > most:
            raise ValueError(f"its records unpack to {unpacked} bytes, expected at most {most}, uncompressed")
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
