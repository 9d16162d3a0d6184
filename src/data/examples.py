"""Training frames before and after the augmentation, to look at."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from src.conventions import Pairs
from src.data.allowance import Allowance
from src.data.augment import Augmentation
from src.data.batches import TrainingBatches
from src.data.listing import Subset, evenly_spaced
from src.data.packed import TRAINING_SIZES, pack

Example = tuple[str, list[tuple[NDArray[np.uint8], NDArray[np.float32]]]]


def augmented_examples(
    pairs: Pairs, augmentation: Augmentation, *, count: int, epochs: int, max_depth_m: float
) -> tuple[list[Example], float]:
    """Take up to `count` frames through packing and training batches: without augmentation, then as in each epoch.

    Bad frames are left out. Return, for each frame, its name and the (photo, depth) of each version, and the
    width / height of all photos before they were resized for the network.

    **Shape**: photo (h, w, 3), depth (h/4, w/4). **Units**: metres as the network learns them, 0 where unknown.
    **Raises**: UserError when no frame can be used.
    """
    chosen = Subset(pairs, evenly_spaced(len(pairs), count))
    with TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        allowance = Allowance(len(chosen), report=lambda line: None)
        packed = pack(chosen, Path(cache), TRAINING_SIZES, max_depth_m=max_depth_m, allowance=allowance)
        plain, augmented = (
            # One batch holds all frames, in their order.
            TrainingBatches(packed, count, augmentation=choice, seed=0, device=torch.device("cpu"))
            for choice in (Augmentation.none(), augmentation)
        )
        batches = [*plain.epoch(0), *(batch for epoch in range(epochs) for batch in augmented.epoch(epoch))]
        versions = []
        for batch in batches:
            images = (batch.image.permute(0, 2, 3, 1) * 255).round().byte().numpy()
            versions.append(list(zip(images, batch.depth_m[:, 0].numpy(), strict=True)))
        return [(name, pictures) for name, *pictures in zip(packed.names, *versions, strict=True)], packed.aspect
