from pathlib import Path

import pytest
import torch

from src.data.augment import Augmentation
from src.data.batches import EvaluationSamples, TrainingBatches, ValidationBatches
from src.data.nyu import open_nyu
from src.data.packed import TRAINING_SIZES, VALIDATION_SIZES, Packed, pack

CPU = torch.device("cpu")


@pytest.fixture
def packed(nyu_folder: Path, tmp_path: Path) -> Packed:
    pairs = open_nyu(nyu_folder / "nyu_data", "train", validation=0.1)
    return pack(pairs, tmp_path / "cache", TRAINING_SIZES, max_depth_m=10)


def batches(packed: Packed, seed: int = 0, workers: int = 0) -> TrainingBatches:
    return TrainingBatches(packed, 4, augmentation=Augmentation(), seed=seed, device=CPU, workers=workers)


def test_an_epoch_is_whole_batches_of_the_networks_sizes(packed: Packed) -> None:
    epoch = list(batches(packed).epoch(0))
    assert len(epoch) == len(batches(packed)) == 3  # 15 frames, 3 left for another shuffle
    assert epoch[0].image.shape == (4, 3, 224, 224)
    assert epoch[0].depth_m.shape == epoch[0].valid.shape == (4, 1, 56, 56)


def test_epoch_number_and_seed_fix_every_draw(packed: Packed) -> None:
    first = [batch.image for batch in batches(packed).epoch(3)]
    again = [batch.image for batch in batches(packed, workers=2).epoch(3)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for other in (batches(packed).epoch(4), batches(packed, seed=1).epoch(3)):
        assert not torch.equal(first[0], next(other).image)


def test_batches_of_one_epoch_are_augmented_differently(packed: Packed) -> None:
    brighter = Augmentation.none()._replace(brightness=1.2)
    factors = []
    lit, plain = (
        TrainingBatches(packed, 4, augmentation=how, seed=0, device=CPU) for how in (brighter, Augmentation.none())
    )
    for after, before in zip(lit.epoch(0), plain.epoch(0), strict=True):
        factors.append((after.image / before.image).flatten(1).nanmedian(dim=1).values)
    assert factors[0].isfinite().all()
    assert not torch.allclose(factors[0], factors[1], atol=1e-3)


def test_fewer_frames_than_a_batch_still_train(packed: Packed) -> None:
    source = TrainingBatches(packed, 64, augmentation=Augmentation.none(), seed=0, device=CPU)
    assert [len(batch.image) for batch in source.epoch(0)] == [15]


def test_validation_shows_every_frame_once(nyu_folder: Path, tmp_path: Path) -> None:
    pairs = open_nyu(nyu_folder / "nyu_data", "test", validation=0.1)
    packed = pack(pairs, tmp_path / "cache", VALIDATION_SIZES, max_depth_m=10)
    validation = ValidationBatches(packed, 2, device=CPU)
    shown = list(validation)
    assert [len(batch.image) for batch in shown] == [2, 1]
    assert len(validation) == 2
    assert shown[0].image.max() <= 1


def test_a_sample_keeps_the_whole_truth_and_its_border(nyu_folder: Path) -> None:
    pairs = open_nyu(nyu_folder / "nyu_data", "test", validation=0.1)
    sample = next(iter(EvaluationSamples(pairs)))
    assert sample.image.shape == (1, 3, 224, 224)
    assert sample.truth_m.shape == (96, 128)
    assert sample.small_truth_m.shape == (56, 56)
    assert (sample.small_truth_m > 0).all()
