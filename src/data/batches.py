"""Packed frames, shuffled, augmented and on the device: the loop's daily bread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from src.conventions import DEPTH_SIZE_PX, IMAGE_SIZE_PX, MAX_DEPTH_M
from src.data.augment import Augmentation, augment
from src.data.frame import Frame, Pairs, shrink_depth, shrink_image
from src.data.packed import Batch, Packed


class TrainingBatches:
    """Shuffled, augmented batches. Epoch and batch number fix every random draw, so nothing needs saving.

    The last frames that do not fill a batch are left for another epoch's shuffle.
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
    ) -> None:
        self.packed, self.batch_size = packed, min(batch_size, len(packed))
        self.augmentation, self.seed, self.device, self.workers = augmentation, seed, device, workers

    def __len__(self) -> int:
        return len(self.packed) // self.batch_size

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        order = RandomSampler(self.packed, generator=_generator(self.seed, number))
        sampler = BatchSampler(order, self.batch_size, drop_last=True)
        for index, batch in enumerate(_load(self.packed, sampler, self.device, self.workers)):
            generator = _generator(self.seed, number, index)
            yield augment(batch, self.augmentation, aspect=self.packed.aspect, generator=generator)


class ValidationBatches:
    """Every frame once, in order, as it is."""

    def __init__(self, packed: Packed, batch_size: int, *, device: torch.device, workers: int = 0) -> None:
        self.packed, self.batch_size, self.device, self.workers = packed, batch_size, device, workers

    def __len__(self) -> int:
        return -(-len(self.packed) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        sampler = BatchSampler(SequentialSampler(self.packed), self.batch_size, drop_last=False)
        for batch in _load(self.packed, sampler, self.device, self.workers):
            yield batch._replace(image=batch.image.float() / 255)


class Sample(NamedTuple):
    """One frame as evaluation wants it: small for the network and the seed's protocols, whole for the field's.

    **Shape**: image (1, 3, 224, 224) uint8, truth_m (H, W), small_truth_m (56, 56).
    **Units**: metres; 0 where nothing was measured, in the small truth also beyond 10 m. NYU's in-painted border
    counts as measured, as in the work that is compared with; the Eigen crop leaves it out anyway.
    """

    name: str
    image: Tensor
    truth_m: Tensor
    small_truth_m: Tensor


def make_sample(name: str, frame: Frame) -> Sample:
    """Prepare one frame for evaluation."""
    measured = (frame.depth_m > 0) & (frame.depth_m <= MAX_DEPTH_M)
    small = shrink_depth(frame.depth_m, measured, DEPTH_SIZE_PX)
    image = torch.from_numpy(shrink_image(frame.image, IMAGE_SIZE_PX).copy()).permute(2, 0, 1)[None]
    return Sample(name, image, torch.from_numpy(frame.depth_m), torch.from_numpy(small))


class EvaluationSamples:
    """Every frame of a source once, in order, at full size."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[Sample]:
        for index, name in enumerate(self.pairs.names):
            yield make_sample(name, self.pairs[index])


def _load(packed: Packed, sampler: BatchSampler, device: torch.device, workers: int) -> Iterator[Batch]:
    pinned = device.type == "cuda"
    loader = DataLoader(packed, sampler=sampler, batch_size=None, num_workers=workers, pin_memory=pinned)
    for batch in loader:
        yield Batch(*(tensor.to(device, non_blocking=pinned) for tensor in batch))


def _generator(*key: int) -> torch.Generator:
    """Make a generator that depends on all numbers of the key. It lives on the CPU, so devices agree."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]) >> 1)
