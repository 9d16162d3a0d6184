"""The one table of options: every script's parser, without the imports that take seconds."""

from __future__ import annotations

import sys
from argparse import BooleanOptionalAction, Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from src.choices import (
    AMP,
    DEVICES,
    EMBEDDED_ENCODER,
    INGREDIENTS,
    KINDS,
    LOSSES,
    OPTIMIZERS,
    ROOMS,
    TARGETS,
    WEIGHTS,
    default_cache,
    parse_every,
    parse_max_bad,
)
from src.cli.parsing import ROOT, Parser, number, read_preset, spelled
from src.conventions import MAX_DEPTH_M, UserError

SWITCH = BooleanOptionalAction
POSITIVE = number(float, lambda x: 0 < x < float("inf"), "a number above 0")
NOT_NEGATIVE = number(float, lambda x: 0 <= x < float("inf"), "a number from 0")
SHARE = number(float, lambda x: 0 <= x < 1, "a number from 0 to below 1")
SIDE = number(float, lambda x: 0 < x <= 1, "a number above 0, at most 1")
COUNT = number(int, lambda x: x > 0, "a whole number above 0")
ANGLE = number(float, lambda x: 0 < x < 180, "an angle between 0 and 180")
INDEX = number(int, lambda x: x >= 0, "a whole number from 0")
PORT = number(int, lambda x: 0 < x < 65535, "a port from 1 to 65534")

KINDS_WITH = {
    "rooms": ("rooms",),
    "holes": ("rooms",),
    "without": ("rooms",),
    "depth_scale": ("csv",),
    "data_dir": ("nyu", "csv"),
    "validation": ("nyu", "csv"),
    "max_bad": ("nyu", "csv"),
    "fov": ("csv",),
}
"""The kinds of data on which these options have an effect."""

Typed = Sequence[str] | None
"""The words of a command line; None for those of this process."""


def parse_training(description: str | None) -> Namespace:
    """Parse the options of a new run; those of a resumed one are known only when its checkpoint is read."""
    parser = training_parser(description)
    typed = parser.peek()
    if typed.resume:
        return typed
    try:
        return parser.parse_over(read_preset(typed.preset), sys.argv[1:])
    except UserError as error:
        parser.error(str(error).rstrip("."))


def training_parser(description: str | None) -> Parser:
    """Make the parser of train.py: the data, the network, the training, the files, the machine."""
    parser = Parser(description)
    add_data_options(parser, kind="auto", validation=0.1)
    add = parser.add_argument_group("network").add_argument
    add("--encoder", default=EMBEDDED_ENCODER, metavar="NAME", help="any EfficientNet of timm")
    add("--pretrained", action=SWITCH, default=True, help="start the encoder from ImageNet weights")
    what = "start from a checkpoint's weights, as after training on rooms, or on others' frames"
    add("--init", type=Path, metavar="PATH", help=what)
    what = "keep ImageNet's statistics in the encoder's norms, where training pictures are no photos"
    add("--keep-norms", action=SWITCH, default=False, help=what)
    what = "leave the encoder's stem and first N stages as ImageNet made them; 0: let all learn"
    add("--freeze", type=INDEX, default=0, metavar="N", help=what)
    add("--target", choices=TARGETS, default="metric", help="depth / --max-depth, or / the image's own maximum")
    add("--max-depth", type=POSITIVE, default=MAX_DEPTH_M, metavar="M", help="the depth in metres that is 1")
    parser.refuse_idle("pretrained", lambda typed: "with --init" if typed.init else None)

    add = parser.add_argument_group("training").add_argument
    add("--augment", action=SWITCH, default=False, help="flip, zoom and turn photo and depth; vary the photo's light")
    what = "the smallest crop of --augment, as a share of the frame; default: 0.65, but rooms stay whole"
    add("--zoom", type=SIDE, metavar="SHARE", help=what)
    add("--epochs", type=COUNT, default=5, metavar="N", help="times through the training frames")
    add("--batch-size", type=COUNT, default=16, metavar="N", help="frames per forward pass")
    add("--accumulate", type=COUNT, default=1, metavar="N", help="batches per step")
    add("--lr", type=POSITIVE, default=2e-3, help="peak learning rate")
    add("--encoder-lr-scale", type=POSITIVE, default=1.0, metavar="X", help="the encoder's share of it")
    add("--warmup", type=SHARE, default=0.1, metavar="SHARE", help="share of the steps in which the rate rises")
    add("--loss", choices=LOSSES, default="mse", help="mixed: logarithmic, absolute and gradient error")
    add("--optimizer", choices=OPTIMIZERS, default="adan", help="what moves the weights")
    add("--weight-decay", type=NOT_NEGATIVE, default=1e-4, metavar="X", help="on kernels, not on norms and biases")
    add("--clip", type=POSITIVE, default=0.5, metavar="NORM", help="largest norm of the gradient")
    add("--ema", type=SHARE, default=0.998, metavar="DECAY", help="moving average of the weights; 0: none")
    add("--swa", type=SHARE, default=0.0, metavar="SHARE", help="average the weights of this last share of the steps")
    what = "share of --lr at which the rate stays meanwhile"
    add("--swa-lr-scale", type=SHARE, default=0.25, metavar="SHARE", help=what)
    what = "save and stop in time, to resume later; the last evaluation not counted"
    add("--max-minutes", type=POSITIVE, metavar="MINUTES", help=what)
    add("--seed", type=INDEX, default=0, help="fixes the weights, the order and the augmentation")
    parser.refuse_idle("zoom", lambda typed: None if typed.augment else "without --augment")
    parser.refuse_idle("swa_lr_scale", lambda typed: None if typed.swa else "without --swa")

    add = parser.add_argument_group("files").add_argument
    add("--preset", type=Path, metavar="YAML", help="options from a file, or from configs/; the command line wins")
    add("--out", type=Path, metavar="DIR", help="the run's folder; else runs/<time>-<name>")
    add("--name", help="ends the name of the run's folder; else the data's kind")
    what = "resume from a last.pt, with the run's own options; auto: the run in --out, or the newest one"
    add("--resume", metavar="auto|PATH", help=what)
    what = "save so often, besides at each epoch's end: 500 is every 500 steps, 10m every 10 minutes"
    every = spelled(parse_every, "a number of steps like 500, or minutes like 10m")
    add("--checkpoint-every", type=every, default="10m", metavar="N|Nm", help=what)
    add("--cache-dir", type=Path, default=default_cache(), metavar="DIR", help="where decoded frames are kept")
    add("--workers", type=INDEX, default=0, metavar="N", help="processes that load batches")
    add_max_bad_option(parser)
    parser.refuse_idle("name", lambda typed: "with --out" if typed.out else None)
    for name in ("preset", "init", "pretrained"):
        # `auto` may find nothing to resume; these then do their work.
        parser.refuse_idle(name, lambda typed: "with --resume" if typed.resume not in (None, "auto") else None)
    add_machine_options(parser, amp="auto")
    return parser


def parse_evaluation(description: str | None, argv: Typed = None) -> Namespace:
    """Parse evaluate.py's options; what they leave open about the data is taken from the checkpoint."""
    parser = Parser(description)
    what = "best.pt or last.pt of a run, or .safetensors; without one, the weights that ship are scored"
    parser.add_argument("checkpoint", type=Path, nargs="?", help=what)
    add_weights_option(parser)
    add_data_options(parser, kind=None, validation=None)
    add_max_bad_option(parser)
    parser.add_argument("--split", choices=("test", "val"), default="test", help="which frames to score")
    add_machine_options(parser)
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the result there")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the files; default: beside the checkpoint")
    return parser.parse_args(argv)


def parse_prediction(description: str | None, argv: Typed = None) -> Namespace:
    """Parse predict.py's options."""
    parser = Parser(description)
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="photos, films, folders, globs, a webcam's number")
    add("--checkpoint", type=Path, metavar="PATH", help="a run's; default: the weights that ship")
    add_weights_option(parser)
    add("--out", type=Path, default=Path("predictions"), metavar="DIR", help="folder of the results")
    add_fov_option(parser)
    add("--pointcloud", action="store_true", help="also write a PLY for MeshLab or Blender")
    add("--seconds", type=POSITIVE, metavar="S", help="how long to film a webcam; default: until Ctrl-C")
    add_machine_options(parser)
    webcam = "without a webcam's number among the inputs"
    parser.refuse_idle("seconds", lambda typed: None if any(map(str.isdigit, typed.inputs)) else webcam)
    return parser.parse_args(argv)


def parse_visualization(description: str | None, argv: Typed = None) -> Namespace:
    """Parse visualize.py's options, and tell checkpoints and photos among its words."""
    parser = Parser(description)
    what = "a checkpoint (.pt or .safetensors; without one, the weights that ship), and photos, folders or globs"
    parser.add_argument("words", nargs="*", metavar="CHECKPOINT|PHOTO", help=what)
    add_weights_option(parser)
    add_fov_option(parser)
    add_data_options(parser, kind=None, validation=None)
    parser.add_argument("--split", choices=("test", "val"), default="test", help="which frames to show")
    parser.add_argument("--frames", type=COUNT, default=6, metavar="N", help="how many of them, evenly spread")
    add_machine_options(parser)
    group = parser.add_argument_group("where to show it; without any of these, visualization.rrd is saved")
    add = group.add_mutually_exclusive_group().add_argument
    add("--save", type=Path, metavar="RRD", help="write the recording there")
    add("--spawn", action="store_true", help="open Rerun's own window")
    add("--web", action="store_true", help="serve it to a browser on this machine until Ctrl-C")
    group.add_argument("--port", type=PORT, default=9090, metavar="N", help="--web: of the page; its data take N + 1")
    refuse_on_other_data(parser, "fov")
    parser.refuse_idle("port", lambda typed: None if typed.web else "without --web")
    for name in ("data", "data_dir", "depth_scale", "validation", "limit", "split", "frames"):
        parser.refuse_idle(name, lambda typed: "on photos" if any(map(is_photo, typed.words)) else None)
    options = parser.parse_args(argv)
    options.photos = [word for word in options.words if is_photo(word)]
    checkpoints = [Path(word) for word in options.words if not is_photo(word)]
    if len(checkpoints) > 1:
        parser.error(f"got {len(checkpoints)} checkpoints, expected at most one")
    options.checkpoint = checkpoints[0] if checkpoints else None
    return options


def is_photo(word: str) -> bool:
    """Tell visualize.py's photos from its checkpoints."""
    return not word.lower().endswith((".pt", ".safetensors"))


def parse_page(description: str | None, argv: Typed = None) -> Namespace:
    """Parse app.py's options."""
    parser = Parser(description)
    what = "best.pt or last.pt of a run, or .safetensors; without one, the weights that ship are used"
    parser.add_argument("checkpoint", type=Path, nargs="?", help=what)
    add_weights_option(parser)
    parser.add_argument("--port", type=PORT, default=7860, help="where the page listens")
    parser.add_argument("--host", default="127.0.0.1", help="who may come: 127.0.0.1 this machine only, 0.0.0.0 anyone")
    add_machine_options(parser)
    return parser.parse_args(argv)


def parse_sweep(description: str | None, argv: Typed = None) -> Namespace:
    """Parse sweep.py's options."""
    parser = Parser(description)
    add_data_options(parser, kind="auto", validation=0.1)
    add_machine_options(parser, amp="auto")
    add = parser.add_argument_group("sweep").add_argument
    add("--presets", type=Path, default=ROOT / "configs" / "seed", metavar="DIR", help="a preset for each run")
    add("--out", type=Path, default=Path("runs") / "sweep", metavar="DIR", help="the runs and the report")
    add("--epochs", type=COUNT, metavar="N", help="instead of the presets' own")
    add("--seed", type=INDEX, default=0, help="of every run")
    add("--cache-dir", type=Path, default=default_cache(), metavar="DIR", help="where decoded frames are kept")
    add("--workers", type=INDEX, default=0, metavar="N", help="processes that load batches")
    return parser.parse_args(argv)


def parse_export(description: str | None, argv: Typed = None) -> Namespace:
    """Parse export.py's options."""
    parser = Parser(description)
    parser.add_argument("checkpoint", type=Path, help="best.pt or last.pt of a run")
    add_weights_option(parser)
    add_data_options(parser, kind="auto", validation=0.1)
    add_machine_options(parser)
    parser.add_argument("--out", type=Path, metavar="PATH", help="the .safetensors; default: beside the checkpoint")
    options = parser.parse_args(argv)
    options.out = options.out or options.checkpoint.with_suffix(".safetensors")
    if options.out.suffix != ".safetensors":
        parser.error(f"argument --out: got {options.out}, expected a name that ends in .safetensors")
    return options


def parse_inspection(description: str | None, argv: Typed = None) -> Namespace:
    """Parse inspect_data.py's options."""
    parser = Parser(description)
    add_data_options(parser, kind="auto", validation=0.1)
    parser.add_argument("--out", type=Path, default=Path("contact_sheet.png"), metavar="PNG", help="the contact sheet")
    parser.add_argument("--all-scenes", action="store_true", help="count every scene, not only the largest")
    return parser.parse_args(argv)


def parse_benchmark(description: str | None, argv: Typed = None) -> Namespace:
    """Parse benchmark.py's options."""
    parser = Parser(description)
    add = parser.add_argument
    add("--rounds", type=COUNT, default=3, metavar="N", help="pairs of measurements")
    add("--steps", type=COUNT, default=8, metavar="N", help="timed steps per measurement, after two")
    add("--batch-size", type=COUNT, default=16, metavar="N", help="frames per step")
    add("--side", choices=("ours", "plain"), help="take one measurement only, in this process")
    add("--default-allocator", action="store_true", help="leave ours without src/training/allocator.py")
    add("--frames", type=Path, metavar="DIR", help="NYU in the Kaggle layout; else rooms, written so")
    add("--rooms", action="store_true", help="time only how fast one core renders rooms at 224x224")
    for name in ("rounds", "steps", "batch_size", "side", "default_allocator", "frames"):
        parser.refuse_idle(name, lambda typed: "with --rooms" if typed.rooms else None)
    return parser.parse_args(argv)


def add_data_options(parser: Parser, *, kind: str | None, validation: float | None) -> None:
    """Add the options that say which frames to read."""
    group = parser.add_argument_group("data")
    add = group.add_argument
    what = "NYU, generated rooms, or a csv of your own pairs; auto takes NYU where it finds it, else rooms"
    add("--data", choices=KINDS, default=kind, help=what)
    add("--data-dir", type=Path, metavar="PATH", help="the folder that holds NYU, or the csv file")
    add("--depth-scale", type=POSITIVE, metavar="UNITS", help="csv: how many stored units make a metre")
    what = "share of the training frames, in whole scenes, held out"
    add("--validation", type=SHARE, default=validation, metavar="SHARE", help=what)
    if kind:
        add("--rooms", type=COUNT, default=ROOMS["train"], metavar="N", help="rooms: how many to generate for training")
        what = "rooms: leave out of the training depth what a Kinect could not measure"
        add("--holes", action=SWITCH, default=False, help=what)
        what = "rooms: leave one ingredient out of those to train on, to see what it brings"
        add("--without", choices=INGREDIENTS, help=what)
        refuse_on_other_data(parser, "rooms", "holes", "without")
    add("--limit", type=COUNT, metavar="N", help="take only the first N frames of each split, for a quick try")
    refuse_on_other_data(parser, "data_dir", "depth_scale", "validation")


def refuse_on_other_data(parser: Parser, *names: str) -> None:
    """Refuse options beside a `--data` on which they have no effect; where it is open, `name_idle` tells later."""
    for name in names:
        parser.refuse_idle(name, partial(_tell_other_data, KINDS_WITH[name]))


def _tell_other_data(kinds: Sequence[str], typed: Namespace) -> str | None:
    return None if typed.data in (None, "auto", *kinds) else f"on --data {typed.data}"


def name_idle(options: Namespace, kind: str) -> list[str]:
    """Name the typed options that have no effect on the kind of data that was found."""
    idle = (name for name in sorted(options.typed) if kind not in KINDS_WITH.get(name, (kind,)))
    return [f"--{name.replace('_', '-')}" for name in idle]


def add_machine_options(parser: Parser, *, amp: str = "off") -> None:
    """Add the options that say where and how to compute. What only predicts and scores does so in float32."""
    group = parser.add_argument_group("machine")
    group.add_argument("--device", choices=DEVICES, default="auto", help="where to compute")
    what = "mixed precision; auto: bf16, else fp16, on CUDA, off elsewhere"
    group.add_argument("--amp", choices=AMP, default=amp, help=what)


def add_fov_option(parser: Parser) -> None:
    """Add the option that says how wide the camera saw."""
    what = "angle of view along the longer side; default: from EXIF, else the training camera's 63"
    parser.add_argument("--fov", type=ANGLE, metavar="DEGREES", help=what)


def add_weights_option(parser: Parser) -> None:
    """Add the option that says which of a checkpoint's weights to take."""
    what = "which to take: as trained, their moving average, their SWA; default: those that training judged best"
    parser.add_argument("--weights", choices=WEIGHTS, help=what)


def add_max_bad_option(parser: Parser) -> None:
    """Add the option that says how many frames may be bad."""
    what = "how many frames may be left out because they cannot be read; else 10 or 0.1%%, the larger"
    few = spelled(parse_max_bad, "a number of frames, or a share like 0.5%")
    parser.add_argument("--max-bad", type=few, metavar="N|P%", help=what)
    refuse_on_other_data(parser, "max_bad")
