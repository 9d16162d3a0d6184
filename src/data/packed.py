"""Frames decoded once into memory-mapped arrays, so that an epoch needs no decoding.

A photo and its depth take 0.29 MB: 0.23 GB for NYU's 795 labelled frames, 14.7 GB for the 50,688 of the Kaggle copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from src.conventions import DEPTH_SIZE_PX, IMAGE_SIZE_PX, Batch, Pairs, UserError
from src.data.allowance import Allowance, NoValidDepth
from src.data.frame import common_size, place, shrink_depth, shrink_image
from src.data.workers import kill_workers_at_exit, worker_errors

FORMAT = 4  # part of the cache key: increase it when the stored arrays change

STALE_S = 24 * 3600  # age of an unfinished pack whose run must have been killed

DEPTH_STEPS = 65535
"""Metres of the frame's own camera are stored in steps of max_depth_m / DEPTH_STEPS: 0.15 mm for 10 m. 0 is invalid."""


class Sizes(NamedTuple):
    """Sides of the stored squares in pixels for an input of 224x224; in proportion for other inputs."""

    image_px: int
    depth_px: int

    def stored(self, size_px: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return (width, height) of the stored photo and depth for an input of `size_px`."""
        width, height = (side / IMAGE_SIZE_PX for side in size_px)
        image = round(width * self.image_px), round(height * self.image_px)
        return image, (round(width * self.depth_px), round(height * self.depth_px))


TRAINING_SIZES = Sizes(288, 144)
"""Larger than the network's input, so that a crop of 0.78 still has a pixel for each of its pixels.

Resizing twice (to 288, then 224) costs 5 % of the gradient energy at full size and 34 % in the smallest crop. Packed at
384, which equalises the mean energy, d1 is 0.593 and 0.558 against 0.624 and 0.592 at 288 (nyu.yaml, `--validation 0.5
--epochs 5`, 398 held-out frames, seeds 0 and 1).
"""

VALIDATION_SIZES = Sizes(IMAGE_SIZE_PX, DEPTH_SIZE_PX)


def bytes_per_frame(sizes: Sizes, size_px: tuple[int, int]) -> int:
    """Return the cache size of one photo and its depth."""
    image_px, depth_px = sizes.stored(size_px)
    return math.prod(image_px) * 3 + math.prod(depth_px) * 2


class Packed(Dataset[Batch]):
    """The arrays that `pack` wrote, read in batches: `packed[[3, 1, 2]]` is a batch of three.

    Frames that are bad, or without valid depth, are not counted: `rows` and `names` are those of the others.
    `left_out` maps the index of a bad frame in the source to its error, `empty` lists those without valid depth.
    `size_px` is the (width, height) of the network's input.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images: NDArray[np.uint8] = np.lib.format.open_memmap(folder / "images.npy", "r")
        self.depths: NDArray[np.uint16] = np.lib.format.open_memmap(folder / "depths.npy", "r")
        about = json.loads((folder / "about.json").read_text())
        self.aspect = float(about["aspect"])
        self.step_m = np.float32(about["max_depth_m"] / DEPTH_STEPS)
        self.size_px: tuple[int, int] = tuple(about["size_px"])
        self.scales = np.array(about["scales"], np.float32)
        self.left_out = {int(index): str(reason) for index, reason in about["left_out"].items()}
        self.empty: list[int] = about["empty"]
        self.rows = np.delete(np.arange(len(self.images)), [*self.left_out, *self.empty])
        self.names: list[str] = [about["names"][row] for row in self.rows]

    def __reduce__(self) -> tuple[type[Packed], tuple[Path]]:
        return Packed, (self.folder.absolute(),)  # a memory map would be pickled as the whole array

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        rows = np.sort(self.rows[np.asarray(indices)])  # sorted for the disk
        image, scale = torch.from_numpy(self.images[rows]), torch.from_numpy(self.scales[rows])
        depth_m = torch.from_numpy(self.depths[rows].astype(np.float32) * self.step_m)[:, None]
        depth_m = depth_m / scale.view(-1, 1, 1, 1)
        # Stored as (B, H, W, 3), which is torch's channels_last: the permutation copies nothing.
        return Batch(image.permute(0, 3, 1, 2), depth_m, depth_m > 0, scale)


def pack(
    pairs: Pairs,
    cache: Path,
    sizes: Sizes,
    *,
    max_depth_m: float,
    size_px: tuple[int, int] | None = None,
    allowance: Allowance | None = None,
    workers: int = 0,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Packed:
    """Decode all frames into the cache, or open the pack of an earlier run; `progress` wraps the iteration.

    Frames are placed for an input of `size_px`, by default the median of the frames' own. A pack appears whole or
    not at all.

    **Raises**: UserError for too many bad frames, and when the cache cannot hold the pack; `UnsafePath`.
    """
    size_px = size_px or common_size(pairs.cameras)
    facts = (FORMAT, pairs.fingerprint, len(pairs), sizes, size_px, max_depth_m)
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:20]
    allowance = allowance or Allowance(len(pairs))
    resized = ResizedFrames(pairs, sizes, size_px, max_depth_m)
    # Another user's pack may be neither readable nor removable; then this user's has a name of its own.
    for folder in (cache / f"pack-{key}", cache / f"pack-{key}-{getattr(os, 'getuid', int)()}"):
        packed = _open_finished(folder, resized)
        if packed is not None:
            for index, reason in packed.left_out.items():
                allowance.leave_out(index, UserError(reason))
            for index in packed.empty:
                allowance.leave_out(index, NoValidDepth())
            return packed
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.lexists(folder):
            break
    unfinished = _make_folder(cache, len(pairs) * bytes_per_frame(sizes, size_px))
    if workers:
        kill_workers_at_exit()
    # A generator of its own: otherwise a run that decodes would draw other random numbers than one that does not.
    frames = DataLoader(
        resized,
        batch_size=None,
        num_workers=workers,
        collate_fn=_identity,
        generator=torch.Generator(),
    )
    try:
        with worker_errors("Free some memory, and repeat the command."):
            _write(progress(frames), unfinished, resized, allowance)
        os.replace(unfinished, folder)
    except OSError as error:
        if _open_finished(folder, resized) is None:  # otherwise a parallel run has finished the same pack
            raise UserError(f"{cache}: the packed frames could not be written ({error}).") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return Packed(folder)


def _open_finished(folder: Path, resized: ResizedFrames) -> Packed | None:
    """Open an earlier pack; None if there is none, it is damaged, or a frame that it lacks is readable again."""
    try:
        packed = Packed(folder)
    except Exception:  # numpy and json raise many classes for damaged files
        return None
    images, depths = (np.dtype(np.uint8), resized.image_shape), (np.dtype(np.uint16), resized.depth_shape)
    if [(array.dtype, array.shape) for array in (packed.images, packed.depths)] != [images, depths]:
        return None
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


class ResizedFrames(Dataset[Any]):
    """Photo and depth at the stored size, in metres of the own camera, aspect and scale; or the error of a bad frame.

    If it were raised, the DataLoader would add the traceback of its worker to the message.
    """

    def __init__(self, pairs: Pairs, sizes: Sizes, size_px: tuple[int, int], max_depth_m: float) -> None:
        self.pairs, self.size_px, self.max_depth_m = pairs, size_px, max_depth_m
        self.image_px, self.depth_px = sizes.stored(size_px)
        self.image_shape = (len(pairs), *self.image_px[::-1], 3)
        self.depth_shape = (len(pairs), *self.depth_px[::-1])

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], float, float] | UserError:
        try:
            frame = self.pairs[index]
        except UserError as error:
            return error
        placement = place(frame.camera, self.size_px)
        part = placement.rows, placement.columns
        image, depth_m = frame.image[part], frame.depth_m[part]
        depth_m = shrink_depth(depth_m, frame.valid[part] & (depth_m <= self.max_depth_m), *self.depth_px)
        if not depth_m.any():
            return NoValidDepth()
        return shrink_image(image, *self.image_px), depth_m, image.shape[1] / image.shape[0], placement.scale


def _identity(frame: Any) -> Any:
    return frame


def _write(frames: Iterable[Any], folder: Path, resized: ResizedFrames, allowance: Allowance) -> None:
    aspects, scales = [], [1.0] * len(resized)
    with (
        _array_file(folder / "images.npy", np.uint8, resized.image_shape) as append_image,
        _array_file(folder / "depths.npy", np.uint16, resized.depth_shape) as append_depth,
    ):
        for index, frame in enumerate(frames):
            if isinstance(frame, UserError):
                allowance.leave_out(index, frame)
                image, depth_m = np.zeros(resized.image_shape[1:], np.uint8), np.zeros(resized.depth_shape[1:])
            else:
                image, depth_m, aspect, scales[index] = frame
                aspects.append(aspect)
            append_image(image)
            append_depth(np.rint(depth_m * np.float32(DEPTH_STEPS / resized.max_depth_m)))
    about = {
        "aspect": float(np.mean(aspects)),
        "size_px": resized.size_px,
        "scales": scales,
        "max_depth_m": resized.max_depth_m,
        "names": list(resized.pairs.names),
        "left_out": allowance.reasons,
        "empty": allowance.empty,
    }
    (folder / "about.json").write_text(json.dumps(about))


@contextlib.contextmanager
def _array_file(path: Path, dtype: type, shape: tuple[int, ...]) -> Iterator[Callable[[NDArray[Any]], object]]:
    """Yield a function that appends the next item of an .npy array.

    Not a memory map: where the disk or a quota is full, writing to one kills the process (SIGBUS).
    """
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        yield lambda item: file.write(np.ascontiguousarray(item, dtype).data)
        file.flush()
        os.fsync(file.fileno())
