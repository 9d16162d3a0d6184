"""Train a depth network, evaluate it, and write everything into a run folder.

python scripts/train.py --lr 2e-3 --augment
"""

from _root import run

from src.cli.options import parse_training, training_parser

if __name__ == "__main__":
    parse_training(__doc__)  # --help and usage errors are answered before the imports that take seconds

import math
import sys
import time
from argparse import Namespace
from functools import partial
from typing import Any

import torch

from src.choices import LEAST_CHANGE
from src.cli.data import count_images, image_bar
from src.cli.parsing import as_preset
from src.cli.report import draw_samples, report_best
from src.cli.resume import choose_run, make_run_folder, restore, resume_hint
from src.cli.sources import Data
from src.cli.training import (
    describe_epoch,
    describe_measures,
    describe_run,
    make_batches,
    make_network,
    make_state,
    open_frames,
)
from src.data.workers import worker_errors
from src.training import distributed
from src.training.allocator import keep_freed_memory
from src.training.checkpoint_manager import CheckpointManager
from src.training.engine import Units, choose_precision, finalize_swa, train_epoch, validate
from src.training.interruption import Interruption, Stopped
from src.training.losses import LOSS_FUNCTIONS
from src.training.run_log import RunLog
from src.training.step_profile import profiled

PICTURES_EVERY = 5  # epochs


def main() -> None:
    parser = training_parser(__doc__)
    typed = options = parser.peek()
    with Interruption() as interruption:
        try:
            with distributed.joined(typed.device), worker_errors():
                # The first process decides for all which run this is.
                options, resumed = distributed.broadcast(choose_run(parser, typed) if distributed.is_first() else None)
                interruption.limit_s = 60 * (options.max_minutes or math.inf)
                data = train(options, resumed, interruption)
            if distributed.is_first():
                report_best(options, data)
        except Stopped as stopped:
            if distributed.is_first():
                print(f"{stopped}{resume_hint(options)}")
            sys.exit(stopped.status)


def train(options: Namespace, resumed: dict[str, Any] | None, interruption: Interruption) -> Data:
    """Train a new run, or from the checkpoint `resumed`, and return the data set that was trained on."""
    keep_freed_memory()
    precision = choose_precision(options.device, options.amp, training=True)
    units, loss = Units(options.target, options.max_depth), LOSS_FUNCTIONS[options.loss]
    frames = open_frames(options)
    network = make_network(options, resumed)
    batches, validation = make_batches(options, frames, precision.device)
    network.to(precision.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    distributed.share_statistics(network, precision.device)
    state = make_state(options, network, precision, len(batches))
    facts = describe_run(options, frames, batches.plan, precision)
    if resumed is not None:
        restore(state, resumed, facts, frames.validation)
        state.place_schedule(state.epoch * (len(batches) // options.accumulate) + state.batch // options.accumulate)
    forward = distributed.share_gradients(network)
    options.out = options.out or make_run_folder(options.data)
    manager = CheckpointManager(options.out, state, facts, every=options.checkpoint_every, interruption=interruption)
    log = RunLog(options.out, as_preset(options), epochs=state.epoch) if distributed.is_first() else None
    measure = partial(validate, loss=loss, units=units, precision=precision.exact)
    drawn = (frames.training, batches) if validation is None else (frames.validation, validation)
    after_step = manager.after_step
    if options.profile and distributed.is_first():
        after_step = profiled(after_step, network, options.out / "trace.json")
    draw = partial(draw_samples, drawn[0], drawn[1].packed, facts=facts, precision=precision.exact, log=log)

    counts = f"{len(batches.packed)} training frames, {len(validation.packed) if validation else 0} for validation"
    print(f"{counts}, {precision.name}, run folder {options.out}", flush=True)
    bar = image_bar(batches, state, options.epochs)
    validation_s = 0.0
    with interruption.deferred(), bar:
        while state.epoch < options.epochs and not state.has_stalled:
            started, first = time.monotonic(), state.batch
            trained = train_epoch(
                state,
                count_images(bar, batches.epoch(state.epoch, state.batch), batches.batch_size),
                loss=loss,
                units=units,
                precision=precision,
                forward=forward,
                clip=options.clip,
                accumulate=options.accumulate,
                on_read=lambda mean: bar.set_postfix_str(f"epoch {state.epoch + 1}, loss {mean:.4f}"),
                after_step=after_step,
                name_batch=lambda index: ", ".join(batches.names(state.epoch, index)),
            )
            rate = (state.batch - first) * batches.batch_size / (time.monotonic() - started)
            manager.stop_if_requested(validation_s)

            started = time.monotonic()
            measured = measure(state.eval_network, manager.interruptible(validation)) if validation is not None else {}
            validation_s = time.monotonic() - started
            state.end_epoch(measured.get("loss"))
            trained |= {"lr": state.schedule.get_last_lr()[-1], "images_per_s": rate}
            if log:
                log.record(state.schedule.last_epoch, state.epoch, train=trained, val=measured, skipped=state.skipped)
            bar.write(describe_epoch(state, options.epochs, trained, measured))
            manager.save_best(measured, "ema" if state.average else "raw")
            if state.epoch % PICTURES_EVERY == 1 or state.epoch == options.epochs:
                draw(state.eval_network)
            manager.save()
    if state.has_stalled:
        print(f"stopped early: in {state.waited} epochs, the validation loss did not fall by {LEAST_CHANGE:g}")

    if state.swa and not state.has_swa:
        print("SWA  has no weights: all of its steps were skipped", flush=True)
    elif state.swa:
        averaged = finalize_swa(state, batches.epoch(state.epoch), precision)
        measured = measure(averaged, validation) if validation is not None else {}
        print(f"SWA{describe_measures(measured)}", flush=True)
        manager.save_best(measured, "swa")
        manager.save()
    return frames.data


if __name__ == "__main__":
    run(main)
