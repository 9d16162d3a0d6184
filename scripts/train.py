"""Train a depth network, evaluate it, and leave all of it in a run folder.

python scripts/train.py --lr 2e-3 --augment
"""

from __future__ import annotations

import math
import os
import shlex
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from _options import (
    Parser,
    add_data_options,
    add_machine_options,
    add_training_options,
    as_preset,
    bar_options,
    open_data,
    read_preset,
)
from _root import run
from evaluate import compare, report

from src.conventions import UserError
from src.data.augment import Augmentation
from src.data.batches import TrainingBatches, ValidationBatches
from src.data.frame import Pairs
from src.data.packed import TRAINING_SIZES, VALIDATION_SIZES, Batch, Packed, Sizes, pack
from src.network import DepthNet, rebuild, summarize
from src.training import checkpoint
from src.training.allocator import keep_freed_memory
from src.training.engine import Units, choose_precision, settle_swa, train_epoch, validate
from src.training.logbook import Logbook, check_writable
from src.training.losses import LOSSES
from src.training.optim import make_ema, make_optimizer, make_schedule, make_swa
from src.training.provenance import revision
from src.training.state import State
from src.viewing.figures import draw_strip


def parse(argv: list[str]) -> tuple[Namespace, dict[str, Any] | None]:
    """Read defaults < preset, or the resumed run's options, < command line; and the checkpoint to go on from."""
    parser = Parser(__doc__)
    add_data_options(parser, kind="auto", validation=0.1)
    add_training_options(parser)
    add_machine_options(parser)
    options = parser.parse_args(argv)
    path = find_resumable(options.resume, options.out)
    if path is None:
        return parser.parse_over(read_preset(options.preset), argv), None
    content = checkpoint.load(path)
    if "progress" not in content:
        raise UserError(f"--resume {path}: holds weights, but no optimiser state. Resume from the last.pt beside it.")
    options = parser.parse_over(content["about"]["options"], argv)
    options.out = path.parent
    return options, content


def find_resumable(resume: str | None, out: Path | None) -> Path | None:
    """Find the checkpoint that `--resume` means; None to start afresh."""
    if resume is None:
        return None
    if resume != "auto":
        return Path(resume) / "last.pt" if Path(resume).is_dir() else Path(resume)
    found = [out / "last.pt"] if out else sorted(Path("runs").glob("*/last.pt"), key=lambda path: path.stat().st_mtime)
    if found and found[-1].exists():
        return found[-1]
    print("nothing to resume: starting a new run")
    return None


def main() -> None:
    options, resumed = parse(sys.argv[1:])
    keep_freed_memory()
    torch.manual_seed(options.seed)
    precision = choose_precision(options.device, options.amp)
    units, loss = Units(options.target, options.max_depth), LOSSES[options.loss]

    # Data: chosen, split, decoded once.
    data = open_data(options, options.max_depth)
    options.data, options.data_dir = data.kind, data.root
    folder = options.out or Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{options.name or data.kind}"
    if resumed is None and (folder / "last.pt").exists():
        raise UserError(f"--out {folder}: holds a run already. Go on with it by --resume auto, or name another folder.")
    check_writable(folder)
    frames = data.open("train", options.limit)
    held_out = data.open("val", options.limit) if options.validation or data.kind == "rooms" else None
    network = DepthNet(options.encoder, pretrained=options.pretrained and resumed is None)
    prepare = partial(prepare_frames, cache=options.cache_dir, max_depth_m=options.max_depth)
    batches = TrainingBatches(
        prepare(frames, TRAINING_SIZES),
        options.batch_size,
        augmentation=Augmentation() if options.augment else Augmentation.none(),
        seed=options.seed,
        device=precision.device,
        workers=options.workers,
    )
    validation = None
    if held_out is not None:
        validation = ValidationBatches(
            prepare(held_out, VALIDATION_SIZES), options.batch_size, device=precision.device, workers=options.workers
        )

    # The network and what moves it.
    for part in summarize(network):
        print(f"{part.name:>10}  {part.parameters / 1e6:6.3f} M parameters  {part.macs / 1e6:6.1f} M MACs")
    network.to(precision.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(
        network,
        options.optimizer,
        lr=options.lr,
        weight_decay=options.weight_decay,
        encoder_lr_scale=options.encoder_lr_scale,
    )
    per_epoch = max(1, len(batches) // options.accumulate)
    steps = per_epoch * options.epochs
    swa_start = steps - round(options.swa * steps)
    schedule = make_schedule(
        optimizer,
        steps=swa_start,
        warmup_steps=max(1, round(options.warmup * steps)),
        floor=options.swa_lr_scale if options.swa else 0.0,
    )
    average = make_ema(network, options.ema) if options.ema else None
    swa = make_swa(network) if options.swa else None
    state = State(network, optimizer, schedule, precision.scaler(), average, swa, swa_start)
    if resumed is not None:
        state.restore(resumed)
        print(f"resumed after epoch {state.epoch}")

    def keep(measured: dict[str, float], weights: str) -> None:
        """Save the state, and the weights as the best ones if they are."""
        about = {
            "encoder": options.encoder,
            "target": options.target,
            "max_depth_m": options.max_depth,
            "data": data.kind,
            "epoch": state.epoch,
            "weights": weights,
            "validation": measured,
            "options": as_preset(options),
            "revision": revision(),
        }
        # Without validation frames the newest weights count as the best.
        error = measured.get("rmse_m", measured.get("rmse", -state.epoch - (weights == "swa")))
        if not math.isfinite(error):
            raise UserError(f"epoch {state.epoch}: predictions are not finite. Try a lower --lr; last.pt is older.")
        if error < state.best:
            state.best = error
            checkpoint.save(folder / "best.pt", about=about, **state.weights())
            some = held_out or frames
            chosen = sorted({len(some) * eighth // 8 for eighth in (1, 3, 5, 7)})
            judged = swa.module if swa and weights == "swa" else state.judged
            rows = [compare(judged, some, index, f"epoch {state.epoch}", about, precision) for index in chosen]
            draw_strip(rows, folder / "samples.png")
        checkpoint.save(folder / "last.pt", about=about, **state.weights(), progress=state.progress())

    # The loop.
    logbook = Logbook(folder, as_preset(options))
    print(f"{len(frames)} training frames, {precision.name}, run folder {folder}", flush=True)
    images = len(batches) * batches.batch_size
    bar = tqdm(total=options.epochs * images, initial=state.epoch * images, smoothing=0.05, **bar_options())
    begun = time.perf_counter()
    check = partial(validate, batches=validation, loss=loss, units=units, precision=precision) if validation else None
    while state.epoch < options.epochs:
        started = time.perf_counter()
        train_loss = train_epoch(
            state,
            watch(batches.epoch(state.epoch), bar),
            loss=loss,
            units=units,
            precision=precision,
            clip=options.clip,
            accumulate=options.accumulate,
            on_read=lambda mean: bar.set_postfix_str(f"epoch {state.epoch + 1}, loss {mean:.4f}"),
        )
        rate = images / (time.perf_counter() - started)
        if not math.isfinite(train_loss):
            raise UserError(
                f"epoch {state.epoch}: the loss is not finite. Try a lower --lr; last.pt is one epoch older."
            )
        measured = check(state.judged) if check else {}
        values = {f"val_{key}": value for key, value in measured.items()}
        rates = {"train_lr": schedule.get_last_lr()[-1], "train_images_per_s": rate}
        logbook.record(schedule.last_epoch, epoch=state.epoch, train_loss=train_loss, **rates, **values)
        shown = "  ".join(f"{key} {value:.4f}" for key, value in {"train_loss": train_loss, **values}.items())
        bar.write(f"epoch {state.epoch:3}/{options.epochs}  {shown}  {rate:.1f} img/s")
        keep(measured, "ema" if average else "raw")
        now = time.perf_counter()
        if (
            options.max_minutes
            and state.epoch < options.epochs
            and 2 * now - started - begun > 60 * options.max_minutes
        ):
            bar.close()
            print(f"\nstopped by --max-minutes after epoch {state.epoch}. Go on with:")
            print(f"  python {as_typed('train.py')} --resume {shlex.quote(str(folder / 'last.pt'))}")
            return
    bar.close()
    if swa:
        judged = settle_swa(state, batches.epoch(state.epoch), precision)
        measured = check(judged) if check else {}
        print("SWA  " + "  ".join(f"val_{key} {value:.4f}" for key, value in measured.items()), flush=True)
        keep(measured, "swa")
    logbook.close()

    # What it came to.
    best = checkpoint.load(folder / "best.pt")
    weights, which = checkpoint.choose_weights(best)
    report(
        rebuild(options.encoder, weights),
        best["about"],
        data.open(data.last_split, options.limit),
        data=data.kind,
        split=data.last_split,
        name=str(folder / "best.pt"),
        weights=which,
        folder=folder,
        precision=precision,
    )
    print(f"\nThe run is in {folder}. Next:")
    print(f"  python {as_typed('evaluate.py')} {shlex.quote(str(folder / 'best.pt'))}")


def prepare_frames(frames: Pairs, sizes: Sizes, *, cache: Path, max_depth_m: float) -> Packed:
    """Decode frames into the cache, with a bar and on all cores where there are many."""
    workers = min(4, os.cpu_count() or 1) if len(frames) > 100 else 0
    progress = partial(tqdm, desc=f"preparing {len(frames)} frames", **bar_options())
    return pack(frames, cache, sizes, max_depth_m=max_depth_m, workers=workers, progress=progress)


def as_typed(script: str) -> str:
    """Write the path of another script as one would type it here."""
    return os.path.relpath(Path(__file__).with_name(script))


def watch(batches: Iterable[Batch], bar: Any) -> Iterator[Batch]:
    """Count the images of each batch on the bar."""
    for batch in batches:
        yield batch
        bar.update(len(batch.image))


if __name__ == "__main__":
    run(main)
