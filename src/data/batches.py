"""Training, validation and evaluation batches of packed frames."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from src.conventions import DEPTH_SIZE_PX, MAX_DEPTH_M, Batch, Frame, Intrinsics, Pairs, Sample, UserError
from src.data.allowance import Allowance, NoValidDepth
from src.data.augment import Augmentation, augment
from src.data.frame import place, shrink_depth, shrink_image
from src.data.packed import Packed
from src.data.workers import ADVICE, kill_workers_at_exit, postpone_signals, share_batch


class TrainingBatches:
    """Shuffled, augmented batches. Seed, epoch and batch number determine every random draw; no state is saved.

    An epoch has the frames of `order`, by default each once. Those that do not fill a last batch are dropped. With
    `world_size` processes, each gets its share of every batch, drawn as for one process alone.

    **Raises**: UserError when a batch cannot be shared evenly.
    """

    def __init__(
        self,
        packed: Packed,
        batch_size: int,
        *,
        augmentation: Augmentation,
        seed: int,
        device: torch.device,
        order: Sequence[int] | None = None,
        workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.packed, self.order = packed, range(len(packed)) if order is None else order
        self.batch_size = min(batch_size, len(self.order))
        self.augmentation, self.seed, self.device, self.workers = augmentation, seed, device, workers
        if self.batch_size % world_size:
            raise UserError(
                f"--batch-size {self.batch_size}: cannot be shared evenly by {world_size} processes. "
                f"Take a multiple of {world_size}, at most the {len(self.order)} frames."
            )
        size = self.batch_size // world_size
        self._share = slice(rank * size, (rank + 1) * size)

    def __len__(self) -> int:
        return len(self.order) // self.batch_size

    @property
    def plan(self) -> str:
        """Describe what determines the order of the frames."""
        return f"{len(self.order)} frames in batches of {self.batch_size}, seed {self.seed}"

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch, from batch `start` on."""
        plan = [rows[self._share] for rows in self._plan(number)[start:]]
        for index, batch in enumerate(_load(self.packed, plan, self.device, self.workers), start):
            yield augment(
                batch,
                self.augmentation,
                aspect=self.packed.aspect,
                size_px=self.packed.size_px,
                generator=_generator(self.seed, number, index),
                first=self._share.start,
                count=self.batch_size,
            )

    def names(self, number: int, index: int) -> list[str]:
        """Name the frames of one batch of an epoch."""
        return [self.packed.names[row] for row in self._plan(number)[index]]

    def _plan(self, number: int) -> list[list[int]]:
        """Choose the frames of each batch of an epoch, sorted within a batch for the disk."""
        sampler = RandomSampler(self.order, generator=_generator(self.seed, number))
        batches = BatchSampler(sampler, self.batch_size, drop_last=True)
        return [sorted(self.order[index] for index in batch) for batch in batches]


class ValidationBatches:
    """Every frame once, in order, not augmented; process `rank` gets every `world_size`-th batch."""

    def __init__(
        self,
        packed: Packed,
        batch_size: int,
        *,
        device: torch.device,
        workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.packed, self.device, self.workers = packed, device, workers
        self._plan = list(BatchSampler(SequentialSampler(packed), batch_size, drop_last=False))[rank::world_size]

    def __iter__(self) -> Iterator[Batch]:
        for batch in _load(self.packed, self._plan, self.device, self.workers):
            yield batch._replace(image=batch.image.float() / 255)


def network_input(image: NDArray[np.uint8], camera: Intrinsics) -> tuple[Tensor, float]:
    """Resize a photo for the network, (H, W, 3) -> (1, 3, h, w) uint8; and return the scale of its depth."""
    placement = place(camera)
    small = shrink_image(image, placement.width_px, placement.height_px)
    return torch.from_numpy(small.copy()).permute(2, 0, 1)[None], placement.scale


def make_sample(name: str, frame: Frame, max_depth_m: float = MAX_DEPTH_M) -> Sample:
    """Prepare one frame for evaluation with truth up to `max_depth_m`."""
    image, scale = network_input(frame.image, frame.camera)
    return Sample(name, image, torch.from_numpy(frame.depth_m), small_truth(frame, max_depth_m), scale)


def small_truth(frame: Frame, max_depth_m: float = MAX_DEPTH_M) -> Tensor:
    """Resize all measured depth of a frame to (56, 56) metres, 0 where invalid or beyond `max_depth_m`."""
    measured = (frame.depth_m > 0) & (frame.depth_m <= max_depth_m)
    return torch.from_numpy(shrink_depth(frame.depth_m, measured, DEPTH_SIZE_PX))


def evaluation_samples(
    pairs: Pairs,
    allowance: Allowance,
    max_depth_m: float = MAX_DEPTH_M,
    has_truth: Callable[[Tensor], bool] = lambda truth_m: bool(truth_m.any()),
) -> Iterator[Sample]:
    """Yield every frame once, in order, at full size, except those that `allowance` collects."""
    for index, name in enumerate(pairs.names):
        try:
            sample = make_sample(name, pairs[index], max_depth_m)
            if not has_truth(sample.truth_m):
                raise NoValidDepth
            yield sample
        except UserError as error:
            allowance.leave_out(index, error)


def _load(packed: Packed, plan: list[list[int]], device: torch.device, workers: int) -> Iterator[Batch]:
    pinned = device.type == "cuda"
    loader = DataLoader(
        packed,
        sampler=plan,
        batch_size=None,
        num_workers=workers,
        pin_memory=pinned,
        collate_fn=share_batch,
        worker_init_fn=postpone_signals,
        generator=torch.Generator(),  # the default generator is dropout's
    )
    try:
        if workers:
            kill_workers_at_exit()
            # the locks of torch's queues, whose own failure prints a traceback
            [multiprocessing.Lock() for _ in range(8 + 3 * workers)]
        batches = iter(loader)
    except OSError as error:
        raise UserError(f"--workers {workers}: cannot be started ({error.strerror}). {ADVICE}") from None
    for batch in batches:
        yield batch.to(device, non_blocking=pinned)


def _generator(*key: int) -> torch.Generator:
    """Make a generator seeded by all numbers of the key. It is on the CPU, so that devices agree."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]) >> 1)
