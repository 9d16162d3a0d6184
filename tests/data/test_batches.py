import multiprocessing
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, make_nyu

from src.conventions import Batch, UserError
from src.data.allowance import Allowance
from src.data.augment import Augmentation, augment
from src.data.batches import TrainingBatches, ValidationBatches, evaluation_samples, small_truth
from src.data.examples import augmented_examples
from src.data.frame import shrink_image
from src.data.nyu import open_nyu
from src.data.packed import TRAINING_SIZES, VALIDATION_SIZES, Packed, pack

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_nyu(tmp_path_factory.mktemp("batches")) / "nyu_data"


@pytest.fixture(scope="module")
def packed(root: Path) -> Packed:
    return pack(open_nyu(root, "train", validation=0.1), root / "cache", TRAINING_SIZES, max_depth_m=10)  # 15 frames


@pytest.fixture(scope="module")
def validation_pack(root: Path) -> Packed:
    return pack(open_nyu(root, "train", validation=0), root / "cache", VALIDATION_SIZES, max_depth_m=10)  # 18 frames


def batches(packed: Packed, seed: int = 0, size: int = 4, **options: int) -> TrainingBatches:
    return TrainingBatches(packed, size, augmentation=Augmentation(), seed=seed, device=CPU, **options)


def assert_equal(batch: Batch, expected: Batch) -> None:
    for tensor, expected_tensor in zip(batch, expected, strict=True):
        assert torch.equal(tensor, expected_tensor)


def test_seed_and_epoch_determine_every_draw(packed: Packed) -> None:
    first = list(batches(packed).epoch(3))
    assert len(first) == len(batches(packed)) == 3  # the last 3 frames are dropped
    assert [len(batch.image) for batch in batches(packed, size=64).epoch(0)] == [15]
    assert first[0].image.shape == (4, 3, 224, 224)
    assert first[0].depth_m.shape == first[0].valid.shape == (4, 1, 56, 56)
    for start, workers in ((0, 2), (1, 0), (2, 2)):
        again = batches(packed, workers=workers).epoch(3, start)
        for batch, expected in zip(again, first[start:], strict=True):
            assert_equal(batch, expected)
    for other in (batches(packed).epoch(4), batches(packed, seed=1).epoch(3)):
        assert not torch.equal(first[0].image, next(other).image)


def test_an_epoch_shows_frames_as_often_as_its_order_names_them(packed: Packed) -> None:
    repeated = TrainingBatches(packed, 5, augmentation=Augmentation(), seed=0, device=CPU, order=[0, *[7] * 9])
    assert len(repeated) == 2
    names = [repeated.names(4, index) for index in range(2)]
    assert sorted(names[0] + names[1]) == sorted([packed.names[0], *[packed.names[7]] * 9])
    assert sum(len(batch.image) for batch in repeated.epoch(4)) == 10


def test_examples_show_each_frame_before_and_after(nyu_folder: Path) -> None:
    pairs = open_nyu(nyu_folder / "nyu_data", "train", validation=0)
    frames = [pairs[row] for row in (0, 5, 17)]
    (nyu_folder / "nyu_data" / pairs.names[11]).write_bytes(b"no")
    flip = Augmentation.none()._replace(flip=0.5)
    examples, aspect = augmented_examples(pairs, flip, count=4, epochs=3, max_depth_m=10)
    assert (aspect, [name for name, _ in examples]) == (128 / 96, [pairs.names[row] for row in (0, 5, 17)])
    mirrored = []
    for frame, (_, ((image, depth_m), *changed)) in zip(frames, examples, strict=True):
        assert np.abs(shrink_image(frame.image, 224).astype(int) - image).max() < 20
        for other, other_m in changed:
            mirrored.append(np.abs(other.astype(int) - image).max() > 1)
            step = -1 if mirrored[-1] else 1
            np.testing.assert_allclose(other[:, ::step].astype(int), image, atol=1)
            np.testing.assert_allclose(other_m[:, ::step], depth_m, atol=1e-3)
    assert 0 < sum(mirrored) < len(mirrored) == 9


def test_batches_of_one_epoch_are_augmented_differently(packed: Packed) -> None:
    augmentations = Augmentation.none()._replace(brightness=1.2), Augmentation.none()
    lit, plain = (TrainingBatches(packed, 4, augmentation=choice, seed=0, device=CPU) for choice in augmentations)
    factors = [
        (after.image / before.image).flatten(1).nanmedian(dim=1).values
        for after, before in zip(lit.epoch(0), plain.epoch(0), strict=True)
    ]
    assert factors[0].isfinite().all()
    assert not torch.allclose(factors[0], factors[1], atol=1e-3)


def test_the_shares_of_several_processes_are_the_whole_batch(packed: Packed) -> None:
    shares = [batches(packed, rank=rank, world_size=2).epoch(2) for rank in (0, 1)]
    for whole, *parts in zip(batches(packed).epoch(2), *shares, strict=True):
        for expected, tensors in zip(whole, zip(*parts, strict=True), strict=True):
            assert [len(tensor) for tensor in tensors] == [2, 2]
            torch.testing.assert_close(torch.cat(tensors), expected)
    with pytest.raises(UserError, match=r"--batch-size 4: .* 3 processes"):
        batches(packed, world_size=3)


def test_batches_know_their_frames_names(packed: Packed) -> None:
    names = [batches(packed).names(1, index) for index in range(3)]
    assert len({name for batch in names for name in batch}) == 12
    plain = TrainingBatches(packed, 4, augmentation=Augmentation.none(), seed=0, device=CPU)
    rows = [packed.names.index(name) for name in names[2]]
    expected = augment(packed[rows], Augmentation.none(), aspect=4 / 3, generator=torch.Generator())
    assert_equal(next(plain.epoch(1, start=2)), expected)


def test_validation_yields_every_frame_once_whatever_the_processes(validation_pack: Packed) -> None:
    ranks = [list(ValidationBatches(validation_pack, 4, device=CPU, rank=rank, world_size=3)) for rank in range(3)]
    assert [[len(batch.image) for batch in rank] for rank in ranks] == [[4, 4], [4, 2], [4]]
    batch = ranks[1][0]
    expected = validation_pack[range(4, 8)]
    assert_equal(batch, expected._replace(image=expected.image.float() / 255))


def test_a_sample_keeps_the_whole_truth_and_its_border(root: Path) -> None:
    frames = open_nyu(root, "test", validation=0.1)
    (sample, *_) = evaluation_samples(frames, Allowance(3))
    assert sample.image.shape == (1, 3, 224, 224)
    assert sample.truth_m.shape == (96, 128)
    assert sample.small_truth_m.shape == (56, 56)
    assert (sample.small_truth_m > 0).all()
    frame = frames[0]
    assert torch.equal(small_truth(frame), sample.small_truth_m)
    assert not small_truth(frame._replace(depth_m=frame.depth_m + 10)).any()


ABANDONED = """
import sys, torch
from src.conventions import Batch
from src.data.batches import _load
frames = [Batch(*[torch.zeros(1)] * 4)] * 1000
batches = _load(frames, range(1000), torch.device("cpu"), workers=2)
next(batches)
sys.exit("a mistake")  # while the batches still exist, as after a traceback
"""


def test_workers_of_an_abandoned_epoch_end_with_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", ABANDONED], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.stderr == "a mistake\n"


def test_workers_that_are_spawned_yield_the_same(packed: Packed, root: Path, tmp_path: Path) -> None:
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    try:
        for batch, expected in zip(batches(packed, workers=1).epoch(3), batches(packed).epoch(3), strict=True):
            assert_equal(batch, expected)
        frames = open_nyu(root, "test", validation=0.1)
        assert len(pack(frames, tmp_path, VALIDATION_SIZES, max_depth_m=10, workers=1)) == 3
    finally:
        multiprocessing.set_start_method(before, force=True)


LOST = """
import os, signal, subprocess, sys, torch
from src.conventions import Batch
from src.data.batches import _load
from src.data.workers import worker_errors
class Frames(list):
    def __getitem__(self, index):
        if size == "1g":
            os.kill(os.getpid(), signal.SIGBUS)
        return super().__getitem__(index)
for size in sys.argv[1:]:
    if os.fork() == 0:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", "/dev/shm"], check=True)
        frames = Frames([Batch(*[torch.zeros(2_000_000)] * 4)] * 20)
        with worker_errors():
            list(_load(frames, range(20), torch.device("cpu"), workers=2))
    os.wait()
    print("--", file=sys.stderr, flush=True)
"""


def test_a_lost_worker_and_a_lost_batch_end_in_one_line() -> None:
    expected = {
        "1g": r"UserError: DataLoader worker \(pid",
        # torch 2.6 to 2.8 crash and name the worker instead of the cause.
        "4m": r"(No space left on device \(28\)|DataLoader worker \(pid.*)\. Take fewer workers, or --workers 0",
        "4k": r"--workers 2: cannot be started \(No space left",
    }
    command = ["unshare", "-m", sys.executable, "-c", LOST, *expected]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    if "mount: " in done.stderr or "unshare" in done.stderr:
        pytest.skip("no right to mount a small /dev/shm")
    # A worker that gets SIGBUS says so itself, maybe after the process that started it has ended.
    *ends, _ = re.sub(r"\0|ERROR: Unexpected bus error.*\n", "", done.stderr).split("--\n")
    for end, message in zip(ends, expected.values(), strict=True):
        assert re.search(message, end.splitlines()[-1]), done.stderr
        assert end.count("Traceback") == 1
