import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from src.conventions import UserError
from src.data.augment import Augmentation, augment
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


def test_an_epoch_goes_on_in_its_middle(packed: Packed) -> None:
    whole = list(batches(packed).epoch(2))
    for workers in (0, 2):
        rest = list(batches(packed, workers=workers).epoch(2, start=1))
        assert len(rest) == 2
        assert all(torch.equal(a.image, b.image) for a, b in zip(rest, whole[1:], strict=True))


def test_the_shares_of_several_processes_are_the_whole_batch(packed: Packed) -> None:
    make = partial(TrainingBatches, packed, 4, augmentation=Augmentation(), seed=0, device=CPU)
    shares = zip(*(make(rank=rank, world=2).epoch(2) for rank in (0, 1)), strict=True)
    for whole, parts in zip(make().epoch(2), shares, strict=True):
        for together, apart in zip(whole, zip(*parts, strict=True), strict=True):
            assert [len(each) for each in apart] == [2, 2]
            torch.testing.assert_close(torch.cat(apart), together)
    with pytest.raises(UserError, match="--batch-size 4: cannot be shared evenly by 3 processes"):
        make(world=3)


def test_batches_know_their_frames_names(packed: Packed) -> None:
    plain = TrainingBatches(packed, 4, augmentation=Augmentation.none(), seed=0, device=CPU)
    named = [plain.names(1, index) for index in range(3)]
    assert len({name for names in named for name in names}) == 12
    rows = [packed.names.index(name) for name in named[2]]
    expected = augment(packed[rows], Augmentation.none(), aspect=4 / 3, generator=torch.Generator())
    torch.testing.assert_close(list(plain.epoch(1))[2].image, expected.image)


def test_each_process_validates_other_frames(nyu_folder: Path, tmp_path: Path) -> None:
    pairs = open_nyu(nyu_folder / "nyu_data", "train", validation=0)
    packed = pack(pairs, tmp_path / "cache", VALIDATION_SIZES, max_depth_m=10)  # 18 frames
    ranks = [ValidationBatches(packed, 4, device=CPU, rank=rank, world=3) for rank in range(3)]
    assert [len(each) for each in ranks] == [2, 2, 1]
    seen = torch.cat([batch.image for each in ranks for batch in each]).flatten(1).sum(dim=1)
    expected = torch.cat([batch.image for batch in ValidationBatches(packed, 4, device=CPU)]).flatten(1).sum(dim=1)
    assert sorted(seen.tolist()) == sorted(expected.tolist())


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


ABANDONED = """
import sys, torch
from src.data.batches import _load
frames = [(torch.zeros(1),) * 3] * 1000
batches = _load(frames, range(1000), torch.device("cpu"), workers=2)
next(batches)
sys.exit("a mistake")  # while the batches, like those that a traceback holds, are still there
"""


def test_workers_of_an_abandoned_epoch_end_with_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", ABANDONED], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.stderr == "a mistake\n"
