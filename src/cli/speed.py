"""What benchmark.py measures: our training loop, a straightforward one, and the rendering of rooms."""

import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from src.conventions import IMAGE_SIZE_PX, MAX_DEPTH_M, NYU_INTRINSICS, Batch
from src.data.augment import Augmentation, augment
from src.data.batches import TrainingBatches
from src.data.frame import shrink_depth, shrink_image
from src.data.nyu import open_nyu
from src.data.packed import TRAINING_SIZES, pack
from src.network import DepthNet
from src.network.bifpn import BiFPN
from src.rooms.rooms import RoomPairs
from src.training.allocator import keep_freed_memory
from src.training.engine import Units, choose_precision, train_epoch
from src.training.losses import make_target, mse
from src.training.optim import make_ema, make_optimizer, make_schedule
from src.training.state import State


def time_our_loop(nyu: Path, steps: int, batch_size: int, *, keep_memory: bool = True) -> float:
    """Time `train_epoch` as scripts/train.py calls it: training images per second."""
    if keep_memory:
        keep_freed_memory()
    precision = choose_precision("auto", "auto")
    with tempfile.TemporaryDirectory() as cache:
        packed = pack(open_nyu(nyu, "train", validation=0), Path(cache), TRAINING_SIZES, max_depth_m=MAX_DEPTH_M)
        batches = TrainingBatches(packed, batch_size, augmentation=Augmentation(), seed=0, device=precision.device)
        network = DepthNet().to(precision.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = make_optimizer(network, "adan", lr=2e-3, weight_decay=1e-4)
        schedule = make_schedule(optimizer, steps=100, warmup_steps=10)
        state = State(network, optimizer, schedule, precision.scaler(), make_ema(network, 0.998))
        timer = Timer(batches.epoch(0), steps)
        train_epoch(state, timer, loss=mse, units=Units("metric", MAX_DEPTH_M), precision=precision)
        return steps * batch_size / timer.elapsed_s


def time_plain_loop(nyu: Path, steps: int, batch_size: int) -> float:
    """Time the straightforward loop: training images per second."""
    precision = choose_precision("auto", "auto")
    network = ThreeDecoders().to(precision.device)
    optimizer = make_optimizer(network, "adan", lr=2e-3, weight_decay=1e-4)
    scaler = precision.scaler()
    timer = Timer(decode_batches(nyu, batch_size, precision.device), steps)
    for batch in timer:
        with precision.autocast():
            prediction = network(batch.image)
        loss = mse(prediction.float(), make_target(batch.depth_m, batch.valid, "metric", MAX_DEPTH_M), batch.valid)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        scaler.step(optimizer)
        scaler.update()
    return steps * batch_size / timer.elapsed_s


def rooms_per_s(count: int = 80) -> float:
    """Render rooms one after the other: pairs per second of processor time, at 224x224, not counting compilation."""
    rooms = RoomPairs(count, intrinsics=NYU_INTRINSICS.resized(IMAGE_SIZE_PX, IMAGE_SIZE_PX))
    rooms[0]
    started = time.process_time()
    for index in range(count):
        rooms[index]
    return count / (time.process_time() - started)


class ThreeDecoders(DepthNet):
    """The same network with its decoders as three modules."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.ModuleList(BiFPN(self.encoder.channels, decoders=1) for _ in range(3))  # type: ignore[assignment]

    def forward(self, image: Tensor) -> Tensor:
        features = self.encoder(image)
        joined = torch.cat([decoder(features) for decoder in self.decoder], dim=1)  # type: ignore[attr-defined]
        joined = joined + nn.functional.max_pool2d(self.residual(image), 4)
        return nn.functional.relu6(self.output(self.refine(self.inception(joined))))


def decode_batches(nyu: Path, batch_size: int, device: torch.device) -> Iterator[Batch]:
    """Decode, resize and augment each frame when it is needed."""
    frames = open_nyu(nyu, "train", validation=0)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(frames), generator=generator).tolist()
    for start in range(0, len(frames) - batch_size + 1, batch_size):
        singles = []
        for index in order[start : start + batch_size]:
            frame = frames[index]
            image = torch.from_numpy(shrink_image(frame.image, TRAINING_SIZES.image_px).copy()).permute(2, 0, 1)
            depth_m = torch.from_numpy(shrink_depth(frame.depth_m, frame.valid, TRAINING_SIZES.depth_px))[None, None]
            single = Batch(image[None].contiguous(), depth_m, depth_m > 0)
            singles.append(augment(single, Augmentation(), aspect=4 / 3, generator=generator))
        stacked = (torch.cat(parts) for parts in zip(*(single[:3] for single in singles), strict=True))
        yield Batch(*stacked).to(device)


class Timer:
    """Yield two batches to warm up, then `steps` more, and measure the time of their steps."""

    def __init__(self, batches: Iterator[Batch], steps: int) -> None:
        self.batches, self.steps, self.elapsed_s = batches, steps, 0.0

    def __iter__(self) -> Iterator[Batch]:
        yield from islice(self.batches, 2)
        started = self._now()
        yield from islice(self.batches, self.steps)
        self.elapsed_s = self._now() - started

    @staticmethod
    def _now() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()


def write_rooms(folder: Path, count: int) -> None:
    """Write rooms as NYU's files: JPEG and 8-bit PNG of 640x480, in the Kaggle layout."""
    scene = folder / "data" / "nyu2_train" / "rooms_out"
    scene.mkdir(parents=True)
    rooms = RoomPairs(min(count, 48))
    for index in range(len(rooms)):
        frame = rooms[index]
        Image.fromarray(frame.image).save(scene / f"{index}.jpg", quality=92)
        Image.fromarray(np.rint(frame.depth_m * 25.5).clip(0, 255).astype(np.uint8)).save(scene / f"{index}.png")
    stems = (f"data/nyu2_train/rooms_out/{index % len(rooms)}" for index in range(count))
    (folder / "data" / "nyu2_train.csv").write_text("".join(f"{stem}.jpg,{stem}.png\n" for stem in stems))
