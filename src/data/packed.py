"""Frames decoded once into memory-mapped arrays, so that an epoch needs no decoding.

A photo and its depth take 0.29 MB: 0.23 GB for NYU's 795 labelled frames, 14.7 GB for the 50,688 of the Kaggle copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from src.conventions import DEPTH_SIZE_PX, IMAGE_SIZE_PX, Batch, Pairs, UserError
from src.data.allowance import Allowance
from src.data.frame import shrink_depth, shrink_image
from src.data.workers import worker_errors

FORMAT = 2
"""Part of the cache key: increase it when the stored arrays change."""

STALE_S = 24 * 3600
"""Age of an unfinished pack whose run must have been killed."""

LEVELS = 65535
"""Depth is stored in steps of max_depth_m / LEVELS: 0.15 mm for 10 m. 0 is invalid."""


class Sizes(NamedTuple):
    """Sides of the stored squares, in pixels."""

    image_px: int
    depth_px: int


TRAINING_SIZES = Sizes(288, 144)
"""Larger than the network's input, so that a crop of 0.78 still has a pixel for each of its pixels.

Resizing twice (to 288, then 224) costs 5 % of the gradient energy at full size and 34 % in the smallest crop. Packed at
384, which equalises the mean energy, d1 is 0.593 and 0.558 against 0.624 and 0.592 at 288 (nyu.yaml, `--validation 0.5
--epochs 5`, 398 held-out frames, seeds 0 and 1).
"""

VALIDATION_SIZES = Sizes(IMAGE_SIZE_PX, DEPTH_SIZE_PX)


def bytes_per_frame(sizes: Sizes) -> int:
    """Return the cache size of one photo and its depth."""
    return sizes.image_px**2 * 3 + sizes.depth_px**2 * 2


class Packed(Dataset[Batch]):
    """The arrays that `pack` wrote, read in batches: `packed[[3, 1, 2]]` is a batch of three.

    Bad frames are not counted: `rows` and `names` are those of the others, `left_out` maps the index of a bad frame
    in the source to its error.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images: NDArray[np.uint8] = np.lib.format.open_memmap(folder / "images.npy", "r")
        self.depths: NDArray[np.uint16] = np.lib.format.open_memmap(folder / "depths.npy", "r")
        about = json.loads((folder / "about.json").read_text())
        self.aspect = float(about["aspect"])
        self.step_m = np.float32(about["max_depth_m"] / LEVELS)
        self.left_out = {int(index): str(reason) for index, reason in about["left_out"].items()}
        self.rows = np.delete(np.arange(len(self.images)), list(self.left_out))
        self.names: list[str] = [about["names"][row] for row in self.rows]

    def __reduce__(self) -> tuple[type[Packed], tuple[Path]]:
        return Packed, (self.folder.absolute(),)  # a memory map would be pickled as the whole array

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        rows = np.sort(self.rows[np.asarray(indices)])  # sorted for the disk
        depth_m = torch.from_numpy(self.depths[rows].astype(np.float32) * self.step_m)[:, None]
        # Stored as (B, H, W, 3), which is torch's channels_last: the permutation copies nothing.
        return Batch(torch.from_numpy(self.images[rows]).permute(0, 3, 1, 2), depth_m, depth_m > 0)


def pack(
    pairs: Pairs,
    cache: Path,
    sizes: Sizes,
    *,
    max_depth_m: float,
    allowance: Allowance | None = None,
    workers: int = 0,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Packed:
    """Decode all frames into the cache, or open the pack of an earlier run; `progress` wraps the iteration.

    A pack appears whole or not at all.

    **Raises**: UserError for too many bad frames, and when the cache cannot hold the pack; `UnsafePath`.
    """
    key = hashlib.sha256(repr((FORMAT, pairs.fingerprint, len(pairs), sizes, max_depth_m)).encode()).hexdigest()[:20]
    allowance = allowance or Allowance(len(pairs))
    # Another user's pack may be neither readable nor removable; then this user's has a name of its own.
    for folder in (cache / f"pack-{key}", cache / f"pack-{key}-{getattr(os, 'getuid', int)()}"):
        packed = _open_finished(folder, pairs, sizes)
        if packed is not None:
            for index, reason in packed.left_out.items():
                allowance.leave_out(index, UserError(reason))
            return packed
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.lexists(folder):
            break
    unfinished = _make_folder(cache, len(pairs) * bytes_per_frame(sizes))
    # A generator of its own: otherwise a run that decodes would draw other random numbers than one that does not.
    frames = DataLoader(
        _ResizedFrames(pairs, sizes),
        batch_size=None,
        num_workers=workers,
        collate_fn=_identity,
        generator=torch.Generator(),
    )
    try:
        with worker_errors("Free some memory, and repeat the command."):
            _write(progress(frames), unfinished, pairs, sizes, max_depth_m, allowance)
        os.replace(unfinished, folder)
    except OSError as error:
        if _open_finished(folder, pairs, sizes) is None:  # otherwise a parallel run has finished the same pack
            raise UserError(f"{cache}: the packed frames could not be written ({error}).") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return Packed(folder)


def _open_finished(folder: Path, pairs: Pairs, sizes: Sizes) -> Packed | None:
    """Open an earlier pack; None if there is none, it is damaged, or a frame that it lacks is readable again."""
    try:
        packed = Packed(folder)
    except Exception:  # numpy and json raise many classes for damaged files
        return None
    images = np.dtype(np.uint8), (len(pairs), sizes.image_px, sizes.image_px, 3)
    depths = np.dtype(np.uint16), (len(pairs), sizes.depth_px, sizes.depth_px)
    if [(array.dtype, array.shape) for array in (packed.images, packed.depths)] != [images, depths]:
        return None
    resized = _ResizedFrames(pairs, sizes)
    return packed if all(isinstance(resized[index], UserError) for index in packed.left_out) else None


def _make_folder(cache: Path, needed: int) -> Path:
    """Make a temporary folder in the cache if its disk has `needed` bytes; delete those of killed runs."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for folder in cache.glob("unfinished-*"):
            with contextlib.suppress(FileNotFoundError):  # of a run that has just finished
                if time.time() - folder.stat().st_mtime > STALE_S:
                    shutil.rmtree(folder, ignore_errors=True)
        free = shutil.disk_usage(cache).free
        if needed <= free:
            folder = cache / f"unfinished-{uuid.uuid4().hex}"
            folder.mkdir()  # with the permissions that the user's umask and the cache's group give
            return folder
    except OSError as error:
        raise UserError(f"{cache}: cannot be used as cache ({error}). Name another folder with --cache-dir.") from None
    raise UserError(
        f"{cache}: got {free / 1e9:.1f} GB of free disk, expected {needed / 1e9:.1f} GB for the packed frames. "
        "Name another folder with --cache-dir, or fewer frames with --limit."
    )


class _ResizedFrames(Dataset[Any]):
    """Photo, depth and aspect at the stored size; the error of a bad frame is returned.

    If it were raised, the DataLoader would add the traceback of its worker to the message.
    """

    def __init__(self, pairs: Pairs, sizes: Sizes) -> None:
        self.pairs, self.sizes = pairs, sizes

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], float] | UserError:
        try:
            image, depth_m, valid = self.pairs[index]
        except UserError as error:
            return error
        small = shrink_image(image, self.sizes.image_px), shrink_depth(depth_m, valid, self.sizes.depth_px)
        return *small, image.shape[1] / image.shape[0]


def _identity(frame: Any) -> Any:
    return frame


def _write(
    frames: Iterable[Any], folder: Path, pairs: Pairs, sizes: Sizes, max_depth_m: float, allowance: Allowance
) -> None:
    depth_shape = (len(pairs), sizes.depth_px, sizes.depth_px)
    image_shape = (len(pairs), sizes.image_px, sizes.image_px, 3)
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, image_shape)
    depths = np.lib.format.open_memmap(folder / "depths.npy", "w+", np.uint16, depth_shape)
    aspects = []
    for index, frame in enumerate(frames):
        if isinstance(frame, UserError):
            allowance.leave_out(index, frame)
            continue
        images[index], depth_m, aspect = frame
        depths[index] = np.rint(depth_m * np.float32(LEVELS / max_depth_m))
        aspects.append(aspect)
    images.flush()
    depths.flush()
    about = {
        "aspect": float(np.mean(aspects)),
        "max_depth_m": max_depth_m,
        "names": list(pairs.names),
        "left_out": allowance.reasons,
    }
    (folder / "about.json").write_text(json.dumps(about))
