"""Packed frames, shuffled, augmented and on the device: the loop's daily bread."""

from __future__ import annotations

import atexit
import multiprocessing
import signal
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from src.conventions import DEPTH_SIZE_PX, IMAGE_SIZE_PX, MAX_DEPTH_M, Batch, Frame, Pairs, Sample, UserError
from src.data.allowance import Allowance
from src.data.augment import Augmentation, augment
from src.data.frame import shrink_depth, shrink_image
from src.data.packed import Packed

GRACE_S = 60
"""How long a worker outlives SIGTERM."""


class TrainingBatches:
    """Shuffled, augmented batches. Epoch and batch number fix every random draw, so nothing needs saving.

    The last frames that do not fill a batch are left for another epoch's shuffle. Of several processes, number
    `rank` of `world` gets its share of each batch, drawn as it would be for one process alone.

    **Raises**: UserError when the batch cannot be shared out evenly.
    """

    def __init__(
        self,
        packed: Packed,
        batch_size: int,
        *,
        augmentation: Augmentation,
        seed: int,
        device: torch.device,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.packed, self.batch_size = packed, min(batch_size, len(packed))
        self.augmentation, self.seed, self.device, self.workers = augmentation, seed, device, workers
        if self.batch_size % world:
            raise UserError(
                f"--batch-size {self.batch_size}: cannot be shared evenly by {world} processes. "
                f"Take a multiple of {world}, at most the {len(packed)} frames."
            )
        size = self.batch_size // world
        self._share = slice(rank * size, (rank + 1) * size)

    def __len__(self) -> int:
        return len(self.packed) // self.batch_size

    @property
    def plan(self) -> str:
        """Describe what the order of the frames depends on."""
        return f"{len(self.packed)} frames in batches of {self.batch_size}, seed {self.seed}"

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch, from number `start` on."""
        plan = [rows[self._share] for rows in self._deal(number)[start:]]
        for index, batch in enumerate(_load(self.packed, plan, self.device, self.workers), start):
            generator = _generator(self.seed, number, index)
            yield augment(
                batch,
                self.augmentation,
                aspect=self.packed.aspect,
                generator=generator,
                first=self._share.start,
                count=self.batch_size,
            )

    def names(self, number: int, index: int) -> list[str]:
        """Name the frames of one batch of an epoch."""
        return [self.packed.names[row] for row in self._deal(number)[index]]

    def _deal(self, number: int) -> list[list[int]]:
        """Deal the frames out to an epoch's batches. A batch has no order, and the disk likes a sorted one."""
        order = RandomSampler(self.packed, generator=_generator(self.seed, number))
        return [sorted(rows) for rows in BatchSampler(order, self.batch_size, drop_last=True)]


class ValidationBatches:
    """Every frame once, in order, as it is; of several processes, each gets every so manieth batch."""

    def __init__(
        self,
        packed: Packed,
        batch_size: int,
        *,
        device: torch.device,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.packed, self.device, self.workers = packed, device, workers
        self._plan = list(BatchSampler(SequentialSampler(packed), batch_size, drop_last=False))[rank::world]

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[Batch]:
        for batch in _load(self.packed, self._plan, self.device, self.workers):
            yield batch._replace(image=batch.image.float() / 255)


def make_sample(name: str, frame: Frame) -> Sample:
    """Prepare one frame for evaluation."""
    measured = (frame.depth_m > 0) & (frame.depth_m <= MAX_DEPTH_M)
    small = shrink_depth(frame.depth_m, measured, DEPTH_SIZE_PX)
    image = torch.from_numpy(shrink_image(frame.image, IMAGE_SIZE_PX).copy()).permute(2, 0, 1)[None]
    return Sample(name, image, torch.from_numpy(frame.depth_m), torch.from_numpy(small))


class EvaluationSamples:
    """Every frame of a source once, in order, at full size; those that cannot be read as `allowance` allows.

    `indices` are those of the frames that came.
    """

    def __init__(self, pairs: Pairs, allowance: Allowance | None = None) -> None:
        self.pairs, self.allowance = pairs, allowance or Allowance(len(pairs), 0)
        self.indices: list[int] = []

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[Sample]:
        self.indices = []
        for index, name in enumerate(self.pairs.names):
            try:
                frame = self.pairs[index]
            except UserError as error:
                self.allowance.leave_out(index, error)
                continue
            self.indices.append(index)
            yield make_sample(name, frame)


def _load(packed: Packed, plan: list[list[int]], device: torch.device, workers: int) -> Iterator[Batch]:
    pinned = device.type == "cuda"
    loader = DataLoader(
        packed,
        sampler=plan,
        batch_size=None,
        num_workers=workers,
        pin_memory=pinned,
        worker_init_fn=_outlive_signals,
        generator=torch.Generator(),  # or it would draw from the one that dropout draws from
    )
    for batch in loader:
        yield Batch(*(tensor.to(device, non_blocking=pinned) for tensor in batch))


def _outlive_signals(worker: int) -> None:
    """Let a worker go on when a signal is sent to all processes of a run: theirs still finishes its step, and saves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_S))


@atexit.register
def _end_workers() -> None:
    """End the workers that an exception leaves behind. Python's own exit sends them SIGTERM, and waits."""
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler takes their end for an accident
    for worker in multiprocessing.active_children():
        if worker.daemon:
            worker.kill()


def _generator(*key: int) -> torch.Generator:
    """Make a generator that depends on all numbers of the key. It lives on the CPU, so devices agree."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]) >> 1)
