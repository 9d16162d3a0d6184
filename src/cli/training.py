"""The parts of a training run, made from its options: frames, batches, network, state, the checkpoint's facts."""

import os
from argparse import Namespace
from typing import Any, NamedTuple

import torch
from torch import nn

from src.cli.data import announce, decode, describe_frames, open_data
from src.cli.parsing import as_preset
from src.cli.sources import Data, join_keys
from src.conventions import MAX_DEPTH_M, Pairs, UserError
from src.data.augment import Augmentation
from src.data.batches import TrainingBatches, ValidationBatches
from src.data.frame import common_size
from src.data.listing import Concatenation
from src.data.packed import TRAINING_SIZES, VALIDATION_SIZES, Packed
from src.network import ARCHITECTURE, MEAN_DEPTH, DepthNet, rebuild, summarize
from src.training import checkpoint, distributed
from src.training.engine import Precision
from src.training.optim import make_ema, make_optimizer, make_schedule, make_swa
from src.training.provenance import describe_machine, revision
from src.training.state import State
from src.training.step_profile import LEAST_STEPS

MOST_WORKERS = 4
SWA_LR_SHARE = 0.25  # the learning rate during SWA, as a share of --lr: weights to be averaged must keep moving


class Frames(NamedTuple):
    """A data set, its training frames, and its validation frames if any are held out."""

    data: Data
    training: Pairs
    validation: Pairs | None


def open_frames(options: Namespace) -> Frames:
    """Open the data set; its kind and its folder are entered into the options."""
    with distributed.first_on_its_machine():
        data = open_data(options, options.max_depth)
        options.data, options.data_dir = data.name, data.root
        training = announce(data.open_training(options.limit))
        validation = data.open("val", options.limit) if data.holds_out else None
        if data.last_split == "test" and distributed.is_first():  # a mistake there is told before the training
            data.open("test", options.limit)
    distributed.require_same(describe_frames(data.name, training, validation), "data")
    return Frames(data, training, validation)


def make_network(options: Namespace, resumed: dict[str, Any] | None) -> DepthNet:
    """Make the network to train, with the weights of `--init` where it is given, and print its parts.

    **Raises**: UserError when that checkpoint has another encoder or output.
    """
    torch.manual_seed(options.seed)
    with distributed.first_on_its_machine():  # the encoder's weights may be downloaded
        if resumed:
            network = rebuild(resumed["about"], resumed["network"])
        elif options.init is None:
            mean = MEAN_DEPTH[options.target]
            network = DepthNet(options.encoder, pretrained=options.pretrained, output=options.output, mean=mean)
        else:
            network = load_initial(options)
        network.encoder.keeps_norms = options.keep_norms
        network.encoder.freeze(options.freeze)
    for part in summarize(network):
        print(f"{part.name:>10}  {part.parameters / 1e6:6.3f} M parameters  {part.macs / 1e6:6.1f} M MACs")
    return network


def load_initial(options: Namespace) -> DepthNet:
    """Load the network of `--init`. Its metres stay metres; between the targets, mean depth becomes mean depth.

    **Raises**: UserError when it has another encoder or output than the options ask for.
    """
    content = checkpoint.load(options.init)
    about, (weights, chosen) = content["about"], checkpoint.choose_weights(content)
    network = rebuild(about, weights)
    for name in ("encoder", "output"):
        if about[name] != getattr(options, name):
            raise UserError(
                f"--init {options.init}: got {name} {about[name]}, expected {getattr(options, name)}. "
                f"Add --{name} {about[name]}."
            )
    print(f"starting from {options.init} ({chosen}), trained on {about['data']}", flush=True)
    factor = mean_output(options.target, options.max_depth) / mean_output(about["target"], about["max_depth_m"])
    if factor != 1:
        if options.output == "sigmoid":
            got, expected = (
                f"{options.target}, {options.max_depth:g} m",
                f"{about['target']}, {about['max_depth_m']:g} m",
            )
            raise UserError(f"--init with a sigmoid: got the target {got}, expected the checkpoint's, {expected}.")
        network.rescale(factor)
    return network


def mean_output(target: str, max_depth_m: float) -> float:
    """Return what NYU's mean depth is in the units of a target, whose metric 1 is `max_depth_m`."""
    return MEAN_DEPTH[target] / (max_depth_m / MAX_DEPTH_M if target == "metric" else 1)


def make_batches(
    options: Namespace, frames: Frames, device: torch.device
) -> tuple[TrainingBatches, ValidationBatches | None]:
    """Decode all frames into the cache, and make the batches of this process."""
    with distributed.first_on_its_machine():
        size_px = common_size(frames.training.cameras)
        training = decode(frames.training, TRAINING_SIZES, options, size_px)
        validation = decode(frames.validation, VALIDATION_SIZES, options, size_px) if frames.validation else None
    readable = f"{len(frames.training)} frames, unreadable {sorted(training.left_out) or 'none'}"
    distributed.require_same(readable, "readable frames")
    workers = options.workers
    if workers is None:  # a CPU that computes has no core to spare
        workers = min(MOST_WORKERS, (os.cpu_count() or 1) - 1) if device.type == "cuda" else 0
    shared: dict[str, Any] = {"device": device, "workers": workers}
    shared |= {"rank": distributed.rank(), "world_size": distributed.world_size()}
    augmentation = choose_augmentation(options, frames.data.kind)
    order = order_frames(training, frames.training, options.repeat)
    batches = TrainingBatches(
        training, options.batch_size, augmentation=augmentation, seed=options.seed, order=order, **shared
    )
    return batches, None if validation is None else ValidationBatches(validation, options.batch_size, **shared)


def order_frames(packed: Packed, pairs: Pairs, repeat: int | None) -> list[int]:
    """List the packed frames of an epoch: each once, but real ones that are mixed with rooms several times.

    **Raises**: UserError when none of the real ones can be used.
    """
    rows = list(range(len(packed)))
    if not isinstance(pairs, Concatenation):
        return rows
    real = int((packed.rows < len(pairs.parts[0])).sum())
    rooms = len(rows) - real
    if not real:
        raise UserError("+rooms: none of the real frames has valid depth. Raise --max-depth, or take --data rooms.")
    repeat = repeat or max(1, round(rooms / real))
    share = repeat * real / (repeat * real + rooms)
    print(f"an epoch: {real} real frames {repeat} times, {rooms} rooms once; {share:.0%} of it real", flush=True)
    return rows[:real] * repeat + rows[real:]


def choose_augmentation(options: Namespace, kind: str) -> Augmentation:
    """Choose the augmentation. Rooms are not zoomed by default, since their objects have real sizes."""
    zoom = options.zoom or (1.0 if kind == "rooms" else Augmentation().zoom)
    return Augmentation(zoom=zoom).only(options.augment)


def make_state(options: Namespace, network: nn.Module, precision: Precision, batches_per_epoch: int) -> State:
    """Make the optimiser, the schedule and the averages for a network on its device.

    **Raises**: UserError when an epoch has too few batches for one step, or the training too few for `--profile`.
    """
    steps = batches_per_epoch // options.accumulate * options.epochs
    if not steps:
        raise UserError(
            f"--accumulate {options.accumulate}: an epoch has {batches_per_epoch} batches, so no step would be made. "
            "Lower it, or --batch-size."
        )
    if options.profile and steps < LEAST_STEPS:
        raise UserError(f"--profile: got a training of {steps} steps, expected at least {LEAST_STEPS}.")
    optimizer = make_optimizer(
        network,
        options.optimizer,
        lr=options.lr,
        weight_decay=options.weight_decay,
        encoder_lr_scale=options.encoder_lr_scale,
    )
    swa_start = steps - (max(1, round(options.swa * steps)) if options.swa else 0)
    warmup_steps = max(1, round(options.warmup * steps))
    floor = SWA_LR_SHARE if options.swa else 0.0
    schedule = make_schedule(optimizer, options.schedule, steps=swa_start, warmup_steps=warmup_steps, floor=floor)
    ema = make_ema(network, options.ema) if options.ema else None
    swa = make_swa(network) if options.swa else None
    patience = 0 if options.swa else options.patience
    return State(network, optimizer, schedule, precision.scaler(), ema, swa, swa_start, patience=patience)


def describe_epoch(state: State, epochs: int, trained: dict[str, float], measured: dict[str, float]) -> str:
    """Describe a finished epoch in one line."""
    skipped = f"  {state.skipped} steps skipped" if state.skipped else ""
    return (
        f"epoch {state.epoch:3}/{epochs}  train_loss {trained['loss']:.4f}{describe_measures(measured)}  "
        f"{trained['images_per_s']:.1f} img/s{skipped}"
    )


def describe_measures(measured: dict[str, float]) -> str:
    """Write validation measures beside one another."""
    return "".join(f"  val_{key} {value:.4f}" for key, value in measured.items())


def describe_run(options: Namespace, frames: Frames, plan: str, precision: Precision) -> dict[str, Any]:
    """Collect what a checkpoint records about its run; `plan` is what the order of the frames depends on."""
    return {
        "encoder": options.encoder,
        "architecture": ARCHITECTURE,
        "target": options.target,
        "output": options.output,
        "max_depth_m": options.max_depth,
        "data": options.data,
        "weights": "ema" if options.ema else "raw",
        "validation": {},
        "options": as_preset(options),
        "revision": revision(),
        "machine": describe_machine(precision.device, precision.name, distributed.world_size()),
        "plan": plan,
        "frames": join_keys(frames.training),
        "held_out": frames.validation.identity if frames.validation else "",
    }
