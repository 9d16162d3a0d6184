"""Time our training loop against a straightforward one, side by side, on the same network and files.

    python scripts/benchmark.py

The straightforward loop decodes files at every step, keeps torch's default memory format and allocator,
and runs the three decoders one after the other. Each measurement is a process of its own; the two take turns.
"""

from __future__ import annotations

from _root import run

from src.cli.options import parse_benchmark

if __name__ == "__main__":
    parse_benchmark(__doc__)  # --help and usage errors are answered before the imports that take seconds

import json
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from src.conventions import IMAGE_SIZE_PX, NYU_INTRINSICS, Batch
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

SIDES = ("ours", "plain")


def main() -> None:
    options = parse_benchmark(__doc__)
    if options.rooms:
        print(f"rooms  {measure_rooms():.1f} pairs per second of one core, at {IMAGE_SIZE_PX}x{IMAGE_SIZE_PX}")
        return
    if options.side:
        print(json.dumps(measure_ours(options) if options.side == "ours" else measure_plain(options)))
        return
    choose_precision("auto", "auto")  # a GPU that cannot be used is named here, not by each measurement
    with tempfile.TemporaryDirectory() as folder:
        if options.frames is None:
            options.frames = Path(folder)
            write_rooms(options.frames, count=(options.steps + 2) * options.batch_size)
        rates: dict[str, list[float]] = {side: [] for side in SIDES}
        for round_ in tqdm(range(options.rounds), desc="measuring", unit=" pair"):
            for side in SIDES if round_ % 2 else reversed(SIDES):
                rates[side].append(measure_in_process(side, options))
    ratios = [ours / plain for ours, plain in zip(rates["ours"], rates["plain"], strict=True)]
    for side in SIDES:
        print(f"{side:>6}  " + "  ".join(f"{rate:6.2f}" for rate in rates[side]) + "  training images/s")
    print(" ratio  " + "  ".join(f"{ratio:6.2f}" for ratio in ratios) + f"  median {statistics.median(ratios):.2f}")


def measure_in_process(side: str, options: Namespace) -> float:
    """Take one measurement in a fresh process: training images per second."""
    command = [sys.executable, __file__, "--side", side, "--frames", str(options.frames)]
    command += ["--steps", str(options.steps), "--batch-size", str(options.batch_size)]
    command += ["--default-allocator"] if options.default_allocator else []
    return float(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))


def measure_ours(options: Namespace) -> float:
    """Time `train_epoch` as scripts/train.py calls it."""
    if not options.default_allocator:
        keep_freed_memory()
    precision = choose_precision("auto", "auto")
    with tempfile.TemporaryDirectory() as cache:
        frames = open_nyu(options.frames, "train", validation=0)
        packed = pack(frames, Path(cache), TRAINING_SIZES, max_depth_m=10.0)
        batches = TrainingBatches(
            packed, options.batch_size, augmentation=Augmentation(), seed=0, device=precision.device
        )
        network = DepthNet().to(precision.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = make_optimizer(network, "adan", lr=2e-3, weight_decay=1e-4)
        schedule = make_schedule(optimizer, steps=100, warmup_steps=10)
        state = State(network, optimizer, schedule, precision.scaler(), make_ema(network, 0.998))
        watch = Watch()
        timed = watch.batches(batches.epoch(0), options.steps)
        train_epoch(state, timed, loss=mse, units=Units("metric", 10.0), precision=precision)
        return watch.rate(options)


def measure_plain(options: Namespace) -> float:
    """Time the loop that one would write first."""
    precision = choose_precision("auto", "auto")
    network = ThreeDecoders().to(precision.device)
    optimizer = make_optimizer(network, "adan", lr=2e-3, weight_decay=1e-4)
    scaler = precision.scaler()
    watch = Watch()
    for batch in watch.batches(decode_batches(options, precision.device), options.steps):
        with precision.autocast():
            prediction = network(batch.image)
        loss = mse(prediction.float(), make_target(batch.depth_m, batch.valid, "metric", 10.0), batch.valid)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        scaler.step(optimizer)
        scaler.update()
    return watch.rate(options)


def measure_rooms(count: int = 80) -> float:
    """Render rooms one after the other: pairs per second of processor time, once all is compiled."""
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
        self.join = lambda features: torch.cat([decoder(features) for decoder in self.decoder], dim=1)

    def forward(self, image: Tensor) -> Tensor:
        joined = self.join(self.encoder(image)) + nn.functional.max_pool2d(self.residual(image), 4)
        return nn.functional.relu6(self.output(self.refine(self.inception(joined))))


def decode_batches(options: Namespace, device: torch.device) -> Iterator[Batch]:
    """Decode, resize and augment each frame when its turn comes."""
    frames = open_nyu(options.frames, "train", validation=0)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(frames), generator=generator).tolist()
    for start in range(0, len(frames) - options.batch_size + 1, options.batch_size):
        singles = []
        for index in order[start : start + options.batch_size]:
            frame = frames[index]
            image = torch.from_numpy(shrink_image(frame.image, TRAINING_SIZES.image_px).copy()).permute(2, 0, 1)
            depth_m = torch.from_numpy(shrink_depth(frame.depth_m, frame.valid, TRAINING_SIZES.depth_px))[None, None]
            single = Batch(image[None].contiguous(), depth_m, depth_m > 0)
            singles.append(augment(single, Augmentation(), aspect=4 / 3, generator=generator))
        yield Batch(*(torch.cat(parts).to(device) for parts in zip(*singles, strict=True)))


class Watch:
    """Time the steps between the third batch and the last."""

    def batches(self, batches: Iterator[Batch], steps: int) -> Iterator[Batch]:
        """Pass batches on, two to warm up and then as many as are timed."""
        for index, batch in zip(range(steps + 2), batches, strict=False):
            if index == 2:
                self.started = self.now()
            yield batch
        self.ended = self.now()

    def rate(self, options: Namespace) -> float:
        """Give images per second."""
        return options.steps * options.batch_size / (self.ended - self.started)

    @staticmethod
    def now() -> float:
        """Read the clock once the device has done its work."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()


def write_rooms(folder: Path, count: int) -> None:
    """Write rooms as NYU's files are: JPEG and 8-bit PNG of 640x480, in the Kaggle layout."""
    scene = folder / "data" / "nyu2_train" / "rooms_out"
    scene.mkdir(parents=True)
    rooms, rows = RoomPairs(min(count, 48)), []
    for index in range(count):
        if index < len(rooms):
            frame = rooms[index]
            Image.fromarray(frame.image).save(scene / f"{index}.jpg", quality=92)
            Image.fromarray(np.rint(frame.depth_m * 25.5).clip(0, 255).astype(np.uint8)).save(scene / f"{index}.png")
        stem = f"data/nyu2_train/rooms_out/{index % len(rooms)}"
        rows.append(f"{stem}.jpg,{stem}.png")
    (folder / "data" / "nyu2_train.csv").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    run(main)
