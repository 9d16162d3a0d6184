"""Train a depth network, evaluate it, and leave all of it in a run folder.

python scripts/train.py --lr 2e-3 --augment
"""

from __future__ import annotations

from _root import run

from src.cli.options import parse_training, training_parser

if __name__ == "__main__":
    parse_training(__doc__)  # --help and usage errors are answered before the imports that take seconds

import math
import shlex
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from src.cli.data import bar_options, decode, describe_frames, open_data
from src.cli.parsing import as_preset
from src.cli.report import compare, report
from src.cli.resume import as_typed, choose_run, go_on, how_to_go_on, make_network, name_folder
from src.cli.sources import Data
from src.conventions import Batch, Pairs, UserError
from src.data.augment import Augmentation
from src.data.batches import TrainingBatches, ValidationBatches
from src.data.packed import TRAINING_SIZES, VALIDATION_SIZES
from src.estimator import DepthEstimator
from src.network import summarize
from src.training import distributed
from src.training.allocator import keep_freed_memory
from src.training.checkpoint_manager import BEST, CheckpointManager
from src.training.engine import Precision, Units, choose_precision, finalize_swa, train_epoch, validate
from src.training.interruption import Interruption, Stopped
from src.training.losses import LOSSES
from src.training.optim import make_ema, make_optimizer, make_schedule, make_swa
from src.training.provenance import describe_machine, revision
from src.training.run_log import RunLog
from src.training.state import State
from src.viewing.figures import draw_strip


def main() -> None:
    parser = training_parser(__doc__)
    typed = options = parser.peek()
    with Interruption() as interruption:
        try:
            with distributed.joined(typed.device):
                # The first of several processes knows for all which run it is.
                options, resumed = distributed.broadcast(choose_run(parser, typed) if distributed.is_first() else None)
                interruption.limit_s = 60 * (options.max_minutes or math.inf)
                data, precision = train(options, resumed, interruption)
            if distributed.is_first():
                score(options, data, precision)
        except Stopped as stopped:
            if distributed.is_first():
                print(f"{stopped}{how_to_go_on(options)}")
            sys.exit(stopped.status)


def train(options: Namespace, resumed: dict[str, Any] | None, interruption: Interruption) -> tuple[Data, Precision]:
    """Train as the options ask, from the start or from where `resumed` was saved; leave it all in the run's folder."""
    keep_freed_memory()
    precision = choose_precision(options.device, options.amp)
    units, loss = Units(options.target, options.max_depth), LOSSES[options.loss]
    ours = {"device": precision.device, "rank": distributed.rank(), "world": distributed.world_size()}

    # Data: chosen, split, decoded once. The network comes before the decoding, so that a mistake in it costs no wait.
    with distributed.first_on_its_machine():
        data = open_data(options, options.max_depth)
        options.data, options.data_dir = data.kind, data.root
        options.out = options.out or name_folder(options.name or data.kind)
        frames = data.open("train", options.limit)
        held_out = data.open("val", options.limit) if options.validation or data.kind == "rooms" else None
    distributed.require_same(describe_frames(data.kind, frames, held_out), "data")
    with distributed.first_on_its_machine():
        torch.manual_seed(options.seed)
        network = make_network(options, resumed=resumed is not None)
        network.encoder.keeps_norms = options.keep_norms
        network.encoder.freeze(options.freeze)
        decoded = decode(frames, TRAINING_SIZES, options)
        held_out_decoded = decode(held_out, VALIDATION_SIZES, options) if held_out else None
    distributed.require_same(
        f"{len(frames)} frames, unreadable {sorted(decoded.left_out) or 'none'}", "readable frames"
    )
    how = choose_augmentation(options, data.kind)
    batches = TrainingBatches(
        decoded, options.batch_size, augmentation=how, seed=options.seed, workers=options.workers, **ours
    )
    validation = None
    if held_out_decoded is not None:
        validation = ValidationBatches(held_out_decoded, options.batch_size, workers=options.workers, **ours)

    # What moves the network.
    for part in summarize(network):
        print(f"{part.name:>10}  {part.parameters / 1e6:6.3f} M parameters  {part.macs / 1e6:6.1f} M MACs")
    network.to(precision.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    distributed.share_statistics(network, precision.device)
    optimizer = make_optimizer(
        network,
        options.optimizer,
        lr=options.lr,
        weight_decay=options.weight_decay,
        encoder_lr_scale=options.encoder_lr_scale,
    )
    steps = len(batches) // options.accumulate * options.epochs
    if not steps:
        raise UserError(
            f"--accumulate {options.accumulate}: an epoch has {len(batches)} batches, so no step would be made. "
            "Lower it, or --batch-size."
        )
    swa_start = steps - (max(1, round(options.swa * steps)) if options.swa else 0)
    schedule = make_schedule(
        optimizer,
        steps=swa_start,
        warmup_steps=max(1, round(options.warmup * steps)),
        floor=options.swa_lr_scale if options.swa else 0.0,
    )
    average = make_ema(network, options.ema) if options.ema else None
    swa = make_swa(network) if options.swa else None
    state = State(network, optimizer, schedule, precision.scaler(), average, swa, swa_start)
    facts: dict[str, Any] = {
        "encoder": options.encoder,
        "target": options.target,
        "max_depth_m": options.max_depth,
        "data": data.kind,
        "weights": "ema" if average else "raw",
        "validation": {},
        "options": as_preset(options),
        "revision": revision(),
        "machine": describe_machine(precision.device, precision.name, distributed.world_size()),
        "plan": batches.plan,
    }
    if resumed is not None:
        go_on(state, resumed, facts)
    forward = distributed.share_gradients(network)
    keeper = CheckpointManager(options.out, state, facts, every=options.checkpoint_every, interruption=interruption)
    logbook = None
    if distributed.is_first():
        logbook = RunLog(options.out, as_preset(options), epochs=state.epoch)

    # The loop.
    print(f"{len(decoded)} training frames, {precision.name}, run folder {options.out}", flush=True)
    images = len(batches) * batches.batch_size
    done = state.epoch * images + state.batch * batches.batch_size
    bar = tqdm(total=options.epochs * images, initial=done, smoothing=0.05, **bar_options())
    check = partial(validate, loss=loss, units=units, precision=precision.exact)
    pictured = (held_out, held_out_decoded.rows) if held_out and held_out_decoded else (frames, decoded.rows)
    validation_s = 0.0
    with interruption.deferred(), bar:
        while state.epoch < options.epochs:
            started, begun_with = time.monotonic(), state.batch
            train_loss = train_epoch(
                state,
                count_on(bar, batches.epoch(state.epoch, state.batch), batches.batch_size),
                loss=loss,
                units=units,
                precision=precision,
                forward=forward,
                clip=options.clip,
                accumulate=options.accumulate,
                on_read=lambda mean: bar.set_postfix_str(f"epoch {state.epoch + 1}, loss {mean:.4f}"),
                after_step=keeper.after_step,
                name_batch=lambda index: ", ".join(batches.names(state.epoch, index)),
            )
            trained = time.monotonic()
            rate = (state.batch - begun_with) * batches.batch_size / (trained - started)
            keeper.stop_if_requested(validation_s)
            measured = check(state.eval_network, keeper.interruptible(validation)) if validation is not None else {}
            validation_s = time.monotonic() - trained
            state.end_epoch()
            values = {"train_loss": train_loss, **{f"val_{key}": value for key, value in measured.items()}}
            if logbook:
                about = {"train_lr": schedule.get_last_lr()[-1], "train_images_per_s": rate, "skipped": state.skipped}
                logbook.record(schedule.last_epoch, epoch=state.epoch, **values, **about)
            shown = "  ".join(f"{key} {value:.4f}" for key, value in values.items())
            skipped = f"  {state.skipped} steps skipped" if state.skipped else ""
            bar.write(f"epoch {state.epoch:3}/{options.epochs}  {shown}  {rate:.1f} img/s{skipped}")
            if keeper.save_best(measured, "ema" if average else "raw"):
                draw_samples(state.eval_network, *pictured, facts, precision.exact, options.out)
            keeper.save()
    if swa and not state.has_swa:
        print("SWA  has no weights: all of its steps were skipped", flush=True)
    elif swa:
        judged = finalize_swa(state, batches.epoch(state.epoch), precision)
        measured = check(judged, validation) if validation is not None else {}
        print("SWA  " + "  ".join(f"val_{key} {value:.4f}" for key, value in measured.items()), flush=True)
        if keeper.save_best(measured, "swa"):
            draw_samples(judged, *pictured, facts, precision.exact, options.out)
        keeper.save()
    return data, precision


def choose_augmentation(options: Namespace, kind: str) -> Augmentation:
    """Leave generated rooms whole, whatever else changes: a crop looks like a smaller world, and theirs is to scale."""
    if not options.augment:
        return Augmentation.none()
    return Augmentation(zoom=options.zoom or (1.0 if kind == "rooms" else Augmentation().zoom))


def score(options: Namespace, data: Data, precision: Precision) -> None:
    """Evaluate the best weights, and say what to do next."""
    path = options.out / BEST
    if not path.exists():
        raise UserError(f"{options.out}: no epoch ended with finite figures, so there is no best.pt. Try a lower --lr.")
    if data.last_split == "val" and not options.validation:
        print("\n--validation 0: no frames were held out of the csv, so nothing is scored.")
    else:
        estimator = DepthEstimator(path, device=precision.device.type)
        report(estimator, data, data.last_split, folder=options.out, limit=options.limit, max_bad=options.max_bad)
    print(f"\nThe run is in {options.out}. Next:")
    print(f"  python {as_typed('evaluate.py')} {shlex.quote(str(path))}")
    print(f"  python {as_typed('predict.py')} photo.jpg --checkpoint {shlex.quote(str(path))}")


def draw_samples(
    network: nn.Module,
    frames: Pairs,
    sound: NDArray[np.int64],
    about: dict[str, Any],
    precision: Precision,
    folder: Path,
) -> None:
    """Draw what the best weights make of four of the sound frames. No run shall end for a picture."""
    if not distributed.is_first():
        return
    chosen = sorted({int(sound[len(sound) * eighth // 8]) for eighth in (1, 3, 5, 7)})
    label = f"RMSE {about['validation']['rmse_m']:.3f} m" if "rmse_m" in about["validation"] else ""
    try:
        rows = [compare(network, frames, index, label, about, precision) for index in chosen]
        draw_strip(rows, folder / "samples.png")
    except UserError as error:
        print(f"no samples.png: {error}", flush=True)


def count_on(bar: Any, batches: Iterable[Batch], size: int) -> Iterator[Batch]:
    """Count the images of each batch on the bar."""
    for batch in batches:
        yield batch
        bar.update(size)


if __name__ == "__main__":
    run(main)
