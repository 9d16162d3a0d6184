"""Frames decoded once into memory-mapped arrays, so that an epoch costs no decoding.

One photo and its depth take 0.29 MB: 0.23 GB for NYU's 795 labelled frames, 14.7 GB for the
50,688 of the Kaggle copy.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from src.conventions import DEPTH_SIZE_PX, IMAGE_SIZE_PX, Batch, Frame, Pairs, UserError
from src.data.allowance import Allowance
from src.data.frame import shrink_depth, shrink_image

FORMAT = 2
"""Raise it when what is stored changes, so that nothing stale is read."""

LONG_AGO_S = 24 * 3600
"""No run decodes for that long."""

LEVELS = 65535
"""Depth is stored in steps of max_depth_m / LEVELS: 0.15 mm for 10 m. 0 is invalid."""


class Sizes(NamedTuple):
    """Sides of the stored squares, in pixels."""

    image_px: int
    depth_px: int


TRAINING_SIZES = Sizes(288, 144)
"""Room for the zoom: a crop of 0.78 still has a pixel for each one that the network sees.

Evaluation resizes photos once, training twice (to 288, then to 224), which leaves it 5 % less gradient energy at full
size and 34 % less in the smallest crop. Measured with nyu.yaml, `--validation 0.5 --epochs 5`, on the 398 held-out
frames: scored by way of 288, depths are 0.8 % nearer, d1 0.592 becomes 0.584, median-scaled d1 stays 0.724 (seed 1).
Trained from 384 pixels, which equalises the mean energy, d1 is 0.593 and 0.558, against 0.624 and 0.592 (seeds 0 and
1), median-scaled 0.731 and 0.702 against 0.726 and 0.724. So 288 stays.
"""

VALIDATION_SIZES = Sizes(IMAGE_SIZE_PX, DEPTH_SIZE_PX)


def bytes_per_frame(sizes: Sizes) -> int:
    """Count what one photo and its depth take in the cache."""
    return sizes.image_px**2 * 3 + sizes.depth_px**2 * 2


class Packed(Dataset[Batch]):
    """Read batches from the arrays that `pack` wrote: `packed[[3, 1, 2]]` is a batch of three.

    Frames that could not be decoded are not counted: `names` are those of the others, `left_out` says why, by index
    in the source.
    """

    def __init__(self, folder: Path) -> None:
        self.images: NDArray[np.uint8] = np.lib.format.open_memmap(folder / "images.npy", "r")
        self.depths: NDArray[np.uint16] = np.lib.format.open_memmap(folder / "depths.npy", "r")
        about = json.loads((folder / "about.json").read_text())
        self.aspect = float(about["aspect"])
        self.step_m = np.float32(about["max_depth_m"] / LEVELS)
        self.left_out = {int(index): str(reason) for index, reason in about["left_out"].items()}
        self.rows = np.delete(np.arange(len(self.images)), list(self.left_out))
        self.names: list[str] = [about["names"][row] for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        rows = np.sort(self.rows[np.asarray(indices)])  # a batch has no order, and the disk likes this one
        depth_m = torch.from_numpy(self.depths[rows].astype(np.float32) * self.step_m)[:, None]
        # Stored as (B, H, W, 3), which is torch's channels_last: the permutation moves nothing.
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
    """Decode all frames into the cache, or take what an earlier run left there.

    `progress` wraps the iteration, e.g. with a bar. A pack appears whole or not at all. Frames that cannot be read are
    left out as `allowance` allows, by default as `Allowance` does.

    **Raises**: UserError for one bad frame too many, or when none is left; for a file outside of the data root; and
    for a cache that cannot hold the pack.
    """
    key = hashlib.sha256(repr((FORMAT, pairs.fingerprint, len(pairs), sizes, max_depth_m)).encode()).hexdigest()[:20]
    folder = cache / f"pack-{key}"
    allowance = allowance or Allowance(len(pairs))
    packed = _reopen(folder, pairs, sizes)
    if packed is not None:
        for index, reason in packed.left_out.items():
            allowance.leave_out(index, UserError(reason))
        return packed
    shutil.rmtree(folder, ignore_errors=True)
    unfinished = _make_room(cache, len(pairs) * bytes_per_frame(sizes))
    try:
        _write(pairs, unfinished, sizes, max_depth_m, allowance, workers, progress)
        os.replace(unfinished, folder)
    except OSError as error:
        if _reopen(folder, pairs, sizes) is None:  # otherwise another run finished the same pack first
            raise UserError(f"{cache}: the packed frames could not be written ({error}).") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return Packed(folder)


def _reopen(folder: Path, pairs: Pairs, sizes: Sizes) -> Packed | None:
    """Open an earlier run's pack; None where there is none, it is damaged, or a frame it lacks can be read by now."""
    try:
        packed = Packed(folder)
    except Exception:  # whatever a damaged file makes numpy and json raise
        return None
    images = np.dtype(np.uint8), (len(pairs), sizes.image_px, sizes.image_px, 3)
    depths = np.dtype(np.uint16), (len(pairs), sizes.depth_px, sizes.depth_px)
    if [(array.dtype, array.shape) for array in (packed.images, packed.depths)] != [images, depths]:
        return None
    return None if any(_can_read(pairs, index) for index in packed.left_out) else packed


def _can_read(pairs: Pairs, index: int) -> bool:
    try:
        pairs[index]
    except UserError:
        return False
    return True


def _make_room(cache: Path, needed: int) -> Path:
    """Make a new folder in the cache, if its disk holds that many bytes; drop what killed runs left there long ago."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for left in cache.glob("unfinished-*"):
            if time.time() - left.stat().st_mtime > LONG_AGO_S:
                shutil.rmtree(left, ignore_errors=True)
        free = shutil.disk_usage(cache).free
        if needed <= free:
            return Path(tempfile.mkdtemp(prefix="unfinished-", dir=cache))
    except OSError as error:
        raise UserError(f"{cache}: cannot be used as cache ({error}). Name another folder with --cache-dir.") from None
    raise UserError(
        f"{cache}: got {free / 1e9:.1f} GB of free disk, expected {needed / 1e9:.1f} GB for the packed frames. "
        "Name another folder with --cache-dir, or fewer frames with --limit."
    )


class _Shrunk(Dataset[Any]):
    """Frames at their stored size; a frame that cannot be read comes as the error itself.

    An error that a loader's worker raises would reach the user with the worker's traceback.
    """

    def __init__(self, pairs: Pairs, sizes: Sizes) -> None:
        self.pairs, self.sizes = pairs, sizes

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], float] | UserError:
        try:
            frame: Frame = self.pairs[index]
        except UserError as error:
            return error
        return (
            shrink_image(frame.image, self.sizes.image_px),
            shrink_depth(frame.depth_m, frame.valid, self.sizes.depth_px),
            frame.image.shape[1] / frame.image.shape[0],
        )


def _write(
    pairs: Pairs,
    folder: Path,
    sizes: Sizes,
    max_depth_m: float,
    allowance: Allowance,
    workers: int,
    progress: Callable[[Iterable[Any]], Iterable[Any]],
) -> None:
    shape = (len(pairs), sizes.image_px, sizes.image_px, 3)
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, shape)
    depths = np.lib.format.open_memmap(
        folder / "depths.npy", "w+", np.uint16, (len(pairs), sizes.depth_px, sizes.depth_px)
    )
    aspects = []
    # A generator of its own, or a run with an empty cache would draw other numbers than one with a full cache.
    frames = DataLoader(
        _Shrunk(pairs, sizes), batch_size=None, num_workers=workers, collate_fn=_as_it_is, generator=torch.Generator()
    )
    for index, shrunk in enumerate(progress(frames)):
        if isinstance(shrunk, UserError):
            allowance.leave_out(index, shrunk)
            continue
        images[index], depth_m, aspect = shrunk
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


def _as_it_is(sample: Any) -> Any:
    return sample
