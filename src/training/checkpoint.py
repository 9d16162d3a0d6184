"""Checkpoints: tensors and plain values only, written whole or not at all, read without running code."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from src.conventions import UserError

FORMAT = 1
MARK = "bifpn-depth"


def save(path: Path, **content: Any) -> None:
    """Write a checkpoint to a temporary file beside its place, then move it there.

    `about` says what is needed to rebuild and score the network; `network` and `ema` are its weights; what
    resuming needs besides is `progress`, and only in `last.pt`.

    **Raises**: UserError when the disk refuses; an earlier file of that name is then untouched.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            torch.save({"mark": MARK, "format": FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except (OSError, RuntimeError) as error:
        unfinished.unlink(missing_ok=True)
        raise UserError(
            f"{path}: the checkpoint could not be written ({error}). Free some disk, or change --out."
        ) from None


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint that `save` wrote, onto the CPU. Code inside a file never runs.

    **Raises**: UserError when the file is missing, damaged, holds more than tensors and plain values, or is not ours.
    """
    ours = "Expected a best.pt or last.pt that scripts/train.py wrote."
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint. {ours}") from None
    except IsADirectoryError:
        raise UserError(f"{path}: got a folder. {ours}") from None
    except pickle.UnpicklingError:
        what = "Python objects, which could run code" if zipfile.is_zipfile(path) else "no torch checkpoint"
        raise UserError(f"{path}: refused, the file holds {what}. {ours}") from None
    except Exception as error:  # torch raises many classes for a damaged file
        first = (str(error).splitlines() or [""])[0]
        raise UserError(f"{path}: truncated or damaged ({type(error).__name__}: {first[:100]}). {ours}") from None
    if not isinstance(content, dict) or content.get("mark") != MARK:
        raise UserError(f"{path}: a checkpoint of another program. {ours}")
    if content.get("format") != FORMAT:
        raise UserError(f"{path}: got format {content.get('format')}, expected {FORMAT}. Update this repository.")
    if missing := {"about", "network", "ema"} - content.keys():
        raise UserError(f"{path}: incomplete, lacks {', '.join(sorted(missing))}. {ours}")
    return content
