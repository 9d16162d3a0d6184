"""Training images per second: this loop, and the original project's recipe on its own network; data are excluded."""

import itertools
import time
from collections.abc import Iterator
from itertools import islice

import torch
from torch import nn

from src.benchmarks.peers import OriginalNetwork
from src.conventions import DEPTH_SIZE_PX, IMAGE_SIZE_PX, MAX_DEPTH_M, NYU_INTRINSICS, Batch
from src.network import DepthNet
from src.rooms.rooms import RoomPairs
from src.training.allocator import keep_freed_memory
from src.training.engine import Units, choose_precision, train_epoch
from src.training.losses import make_target, mse
from src.training.optim import make_ema, make_optimizer, make_schedule
from src.training.state import State

OUR_BATCH, ORIGINAL_BATCH = 16, 32
WARM_UP_STEPS = 2


def time_our_loop(steps: int) -> float:
    """Time `train_epoch` as scripts/train.py calls it: images per second."""
    keep_freed_memory()
    precision = choose_precision("auto", "auto", training=True)
    network = DepthNet(pretrained=False).to(precision.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(network, "adan", lr=2e-3, weight_decay=1e-4)
    schedule = make_schedule(optimizer, steps=100, warmup_steps=10)
    state = State(network, optimizer, schedule, precision.scaler(), make_ema(network, 0.998))
    timer = Timer(random_batch(OUR_BATCH).to(precision.device), steps)
    train_epoch(state, timer, loss=mse, units=Units("metric", MAX_DEPTH_M), precision=precision)
    return steps * OUR_BATCH / timer.elapsed_s


def time_original_recipe(steps: int) -> float:
    """Time the original's recipe: its network, batch 32, torch's memory format and allocator: images per second."""
    precision = choose_precision("auto", "auto", training=True)
    network = OriginalNetwork().to(precision.device)
    optimizer = make_optimizer(network, "adan", lr=2e-3, weight_decay=1e-4)
    scaler = precision.scaler()
    timer = Timer(random_batch(ORIGINAL_BATCH).to(precision.device), steps)
    for batch in timer:
        with precision.autocast():
            prediction = network(batch.image.float() / 255)
        loss = mse(prediction.float(), make_target(batch.depth_m, batch.valid, "relative", MAX_DEPTH_M), batch.valid)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        scaler.step(optimizer)
        scaler.update()
    return steps * ORIGINAL_BATCH / timer.elapsed_s


def rooms_per_s(count: int = 80) -> float:
    """Render rooms one after the other: pairs per second of processor time, at 224x224, not counting compilation."""
    rooms = RoomPairs(count, intrinsics=NYU_INTRINSICS.resized(IMAGE_SIZE_PX, IMAGE_SIZE_PX))
    rooms[0]
    started = time.process_time()
    for index in range(count):
        rooms[index]
    return count / (time.process_time() - started)


def random_batch(size: int) -> Batch:
    """Make a batch of noise, with depth of up to `MAX_DEPTH_M`."""
    image = torch.randint(0, 256, (size, 3, IMAGE_SIZE_PX, IMAGE_SIZE_PX), dtype=torch.uint8)
    depth_m = MAX_DEPTH_M * torch.rand(size, 1, DEPTH_SIZE_PX, DEPTH_SIZE_PX)
    return Batch(image, depth_m, depth_m > 0, torch.ones(size))


class Timer:
    """Yield a batch for two steps of warm-up, then for `steps` more, and measure the time of these."""

    def __init__(self, batch: Batch, steps: int) -> None:
        self.batches, self.steps, self.elapsed_s = itertools.repeat(batch), steps, 0.0

    def __iter__(self) -> Iterator[Batch]:
        yield from islice(self.batches, WARM_UP_STEPS)
        started = self._now()
        yield from islice(self.batches, self.steps)
        self.elapsed_s = self._now() - started

    @staticmethod
    def _now() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()
