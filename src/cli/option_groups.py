"""Options that several scripts share, and the types of their values."""

from argparse import BooleanOptionalAction, Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from src.choices import AMP, DEVICES, INGREDIENTS, KINDS, MIXED_KINDS, ROOMS, WEIGHTS, default_cache, parse_max_bad
from src.cli.parsing import Parser, checked
from src.conventions import ANGLES, is_angle

SWITCH = BooleanOptionalAction
POSITIVE = checked(float, lambda x: 0 < x < float("inf"), "a number above 0")
NOT_NEGATIVE = checked(float, lambda x: 0 <= x < float("inf"), "a number from 0")
SHARE = checked(float, lambda x: 0 <= x < 1, "a number from 0 to below 1")
SIDE = checked(float, lambda x: 0 < x <= 1, "a number above 0, at most 1")
COUNT = checked(int, lambda x: x > 0, "a whole number above 0")
ANGLE = checked(float, is_angle, f"an angle of {ANGLES}")
INDEX = checked(int, lambda x: x >= 0, "a whole number from 0")
PORT = checked(int, lambda x: 0 < x < 65535, "a port from 1 to 65534")

KINDS_WITH = {
    "rooms": ("rooms",),
    "without": ("rooms",),
    "repeat": ("+",),
    "depth_scale": ("csv", "folder"),
    "data_dir": ("nyu", "csv", "folder"),
    "validation": ("nyu", "csv", "folder"),
    "max_bad": ("nyu", "csv", "folder"),
    "fov": ("csv", "folder"),
}
"""The kinds of data on which these options have an effect; "+" are mixed ones."""


def add_data_options(parser: Parser, *, trains: bool, mixes: bool = False, max_bad: bool = False) -> None:
    """Add the options that choose the frames; those of a script that only evaluates default to the checkpoint's own."""
    add = parser.add_argument_group("data").add_argument
    kind = "auto" if trains else None
    help_ = "your own pairs in a csv or folder, or auto: NYU if it is found, else rooms"
    help_ += "; +rooms trains on generated rooms as well" * mixes
    its_own = "" if trains else "; default: the checkpoint's"
    add("--data", choices=KINDS + MIXED_KINDS * mixes, default=kind, help=help_ + its_own)
    add("--data-dir", type=Path, metavar="PATH", help="what contains NYU, the csv file, or images/ and depth/")
    add("--depth-scale", type=POSITIVE, metavar="UNITS", help="own pairs: how many stored units are a metre")
    help_ = "camera's angle of view along the longer side; default: from EXIF, else a csv's fov_deg, else NYU's 63"
    add("--fov", type=ANGLE, metavar="DEGREES", help=help_)
    help_ = f"share of the training frames, in whole scenes, held out{its_own}"
    add("--validation", type=SHARE, default=0.1 if trains else None, metavar="SHARE", help=help_)
    if trains:
        add("--rooms", type=COUNT, default=ROOMS["train"], metavar="N", help="rooms: how many to generate for training")
        help_ = "rooms: generate training rooms without one ingredient, to measure its effect"
        add("--without", choices=INGREDIENTS, help=help_)
        refuse_on_other_data(parser, "rooms", "without")
    if mixes:
        help_ = "+rooms: how often an epoch shows each real frame; default: until half of the frames are real"
        add("--repeat", type=COUNT, metavar="N", help=help_)
        refuse_on_other_data(parser, "repeat")
    if not trains:
        help_ = "which frames; default: test, or of a csv or folder that was trained on, what was held out"
        add("--split", choices=("test", "val"), help=help_)
    if max_bad:
        count_or_share = checked(str, lambda text: parse_max_bad(text) >= 0, "a number of frames, or a share like 0.5%")
        help_ = "how many unreadable frames may be left out; default: 10 or 0.1%%, the larger"
        add("--max-bad", type=count_or_share, metavar="N|P%", help=help_)
        refuse_on_other_data(parser, "max_bad")
    add("--limit", type=COUNT, metavar="N", help="use only the first N frames of each split, for a quick test")
    refuse_on_other_data(parser, "data_dir", "depth_scale", "fov", "validation")


def add_machine_options(parser: Parser, *, amp: str = "off") -> None:
    """Add the device and the precision: float32 by default for what only predicts or evaluates."""
    add = parser.add_argument_group("machine").add_argument
    add("--device", choices=DEVICES, default="auto", help="where to compute")
    help_ = "mixed precision; auto: on CUDA bf16 or fp16, as the GPU has it, off elsewhere"
    add("--amp", choices=AMP, default=amp, help=help_)


def add_cache_options(parser: Parser) -> None:
    """Add where decoded frames are cached, and how many processes load them."""
    add = parser.add_argument_group("cache").add_argument
    add("--cache-dir", type=Path, default=default_cache(), metavar="DIR", help="folder of the decoded frames")
    help_ = "processes that load batches; default: on a GPU one for each spare CPU core, at most 4, else 0"
    add("--workers", type=INDEX, metavar="N", help=help_)


def add_checkpoint_argument(parser: Parser) -> None:
    """Add the checkpoint as an optional argument, and which of its weights to use."""
    help_ = "best.pt or last.pt of a run, .safetensors or .onnx; default: the weights that ship"
    parser.add_argument("checkpoint", type=Path, nargs="?", help=help_)
    add_weights_option(parser)


def add_weights_option(parser: Parser) -> None:
    """Add which of a checkpoint's weights to use."""
    help_ = "trained weights, their moving average, or SWA; default: the average, or SWA where it validated better"
    parser.add_argument("--weights", choices=WEIGHTS, help=help_)


def add_scale_option(parser: Parser, default: str) -> None:
    """Add the scale of networks that predict none, those of `--target relative`."""
    help_ = f"relative networks: where to put each photo's farthest point, in metres; default: {default}"
    parser.add_argument("--scale-m", type=POSITIVE, metavar="M", help=help_)


def refuse_on_other_data(parser: Parser, *names: str) -> None:
    """Refuse options with a `--data` on which they have no effect; with `auto`, `idle_options` names them later."""
    for name in names:
        parser.refuse_idle(name, partial(_other_data, KINDS_WITH[name]))


def _other_data(kinds: Sequence[str], options: Namespace) -> str | None:
    return None if options.data in (None, "auto") or _concerns(kinds, options.data) else f"on --data {options.data}"


def _concerns(kinds: Sequence[str], data: str) -> bool:
    """Tell whether any of the kinds that `data` names, such as nyu and + and rooms, is among `kinds`."""
    return any(part in kinds for part in data.replace("+", " + ").split())


def idle_options(options: Namespace, kind: str) -> list[str]:
    """List the typed options that have no effect on the kind of data that was found."""
    limited = sorted(options.typed & KINDS_WITH.keys())
    return [f"--{name.replace('_', '-')}" for name in limited if not _concerns(KINDS_WITH[name], kind)]
