"""Training frames per second, decoded by Pillow or read from the packed cache; and what longer lists cost."""

import json
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from src.conventions import IMAGE_SIZE_PX, MAX_DEPTH_M, Batch
from src.data.augment import Augmentation, augment
from src.data.batches import TrainingBatches
from src.data.csv_rows import Row
from src.data.listing import ListedPairs
from src.data.packed import TRAINING_SIZES, Packed, ResizedFrames, pack
from src.rooms.rooms import RoomPairs

FILES = 32  # different frames of 640x480, as JPEG and 16-bit PNG; a longer list names them repeatedly
BATCH, BATCHES = 16, 8  # frames of one batch, and batches of one measurement after the first
UNITS_PER_M = 1000

Reader = Callable[[], Iterator[Batch]]


class Reading(NamedTuple):
    """What one way to read a list of frames costs, with augmentation."""

    reader: str
    length: int
    start_s: float  # from the list to the first batch
    memory_mb: float  # the largest that Python and numpy held meanwhile; pages of the cache are not counted
    pairs_per_s: list[float]


def measure_reading(rounds: int, lengths: Sequence[int]) -> list[Reading]:
    """Measure both readers for lists of each length, in turn, `rounds` times."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = write_frames(folder)
        packed = pack(open_files(rows, folder), folder, TRAINING_SIZES, max_depth_m=MAX_DEPTH_M)
        readers: dict[tuple[str, int], Reader] = {}
        for length in lengths:
            readers["Pillow", length] = partial(decode_files, [rows[index % FILES] for index in range(length)], folder)
            readers["packed", length] = partial(read_pack, lengthen(packed, folder / f"{length}", length))
        started = {key: start(reader) for key, reader in readers.items()}
        rates = {key: list[float]() for key in readers}
        for _ in range(rounds):
            for key, reader in readers.items():
                rates[key].append(pairs_per_s(reader))
    return [Reading(*key, *started[key], rates[key]) for key in readers]


def write_frames(folder: Path) -> list[Row]:
    """Write generated rooms as the files of NYU's Kaggle copy: JPEG, and 16-bit PNG in millimetres."""
    rows = []
    rooms = RoomPairs(FILES)
    for index in range(FILES):
        frame = rooms[index]
        row = Row(f"{index}.jpg", f"{index}.png", str(index))
        Image.fromarray(frame.image).save(folder / row.image, quality=95)
        Image.fromarray((frame.depth_m * UNITS_PER_M).astype(np.uint16)).save(folder / row.depth)
        rows.append(row)
    return rows


def open_files(rows: Sequence[Row], folder: Path) -> ListedPairs:
    """List the files as `--data csv` does."""
    return ListedPairs(rows, folder, {16: UNITS_PER_M}, max_depth_m=MAX_DEPTH_M)


def decode_files(rows: Sequence[Row], folder: Path) -> Iterator[Batch]:
    """Yield batches of files that are decoded and resized each time."""
    pairs = open_files(rows, folder)
    frames = ResizedFrames(pairs, TRAINING_SIZES, (IMAGE_SIZE_PX, IMAGE_SIZE_PX), MAX_DEPTH_M)
    generator = torch.Generator().manual_seed(0)
    for number in range(1 + BATCHES):
        images, depths, aspects, _ = zip(*(frames[BATCH * number + index] for index in range(BATCH)), strict=True)
        depth_m = torch.from_numpy(np.stack(depths))[:, None]
        batch = Batch(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), depth_m, depth_m > 0, torch.ones(BATCH))
        yield augment(batch, Augmentation(), aspect=aspects[0], generator=generator)


def read_pack(folder: Path) -> Iterator[Batch]:
    """Yield batches of a pack, as the training does."""
    return TrainingBatches(
        Packed(folder), BATCH, augmentation=Augmentation(), seed=0, device=torch.device("cpu")
    ).epoch(0)


def lengthen(packed: Packed, folder: Path, length: int) -> Path:
    """Write a pack of that many frames; all but the first ones are zeros, which take no space in a sparse file."""
    folder.mkdir()
    for name, array in (("images", packed.images), ("depths", packed.depths)):
        longer = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", array.dtype, (length, *array.shape[1:]))
        longer[:FILES] = array
    about = json.loads((packed.folder / "about.json").read_text())
    for key in ("names", "scales"):
        about[key] = [about[key][index % FILES] for index in range(length)]
    (folder / "about.json").write_text(json.dumps(about))
    return folder


def start(reader: Reader) -> tuple[float, float]:
    """Return seconds and peak MB to the first batch."""
    started = time.perf_counter()
    next(reader())
    elapsed_s = time.perf_counter() - started
    tracemalloc.start()  # in a run of its own, which it slows
    next(reader())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return elapsed_s, peak / 1e6


def pairs_per_s(reader: Reader) -> float:
    """Return pairs per second after the first batch."""
    batches = reader()
    next(batches)
    started = time.perf_counter()
    count = sum(len(batch.image) for batch in islice(batches, BATCHES))
    return count / (time.perf_counter() - started)
