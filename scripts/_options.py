"""The one table of options, and presets: flags written as YAML, read by the same parser."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

import yaml

from _root import ROOT

from src.conventions import MAX_DEPTH_M, UserError
from src.data.ablation import INGREDIENTS
from src.data.allowance import parse_max_bad
from src.data.sources import KINDS, ROOMS, default_cache
from src.network.encoder import EMBEDDED_ENCODER
from src.training.checkpoint import WEIGHTS
from src.training.engine import AMP, DEVICES
from src.training.keeper import parse_every
from src.training.losses import LOSSES, TARGETS
from src.training.optim import OPTIMIZERS


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, and that reads presets as if they were typed."""

    def __init__(self, description: str | None) -> None:
        formatter = argparse.ArgumentDefaultsHelpFormatter
        super().__init__(description=(description or "").split("\n")[0], allow_abbrev=False, formatter_class=formatter)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line, and where to read what is right."""
        line = " ".join(message.split())
        line = line if len(line) < 500 else f"{line[:500]} …"
        self.exit(2, f"error: {line}. See: python scripts/{self.prog} --help\n")

    def parse_over(self, preset: Mapping[str, Any], argv: Sequence[str]) -> argparse.Namespace:
        """Parse defaults < preset < command line."""
        return self.parse_args([*as_tokens(preset), *argv])


FLAG = re.compile(r"(?!help$)[a-z][a-z_-]*")
LARGEST_INT = 10**18


def as_tokens(preset: Mapping[str, Any]) -> list[str]:
    """Write `{lr: 0.002, augment: true, limit: null}` as `--lr=0.002 --augment`; null leaves the default.

    **Raises**: UserError for a key that names no option, and for a value that is not a single one. A few lines of YAML
    can stand for a list of millions, so such a value is not even written out.
    """
    tokens = []
    for key, value in preset.items():
        if not isinstance(key, str) or not FLAG.fullmatch(key):
            got = repr(key[:60]) if isinstance(key, str) else f"a {type(key).__name__}"
            raise UserError(f"a preset's key: got {got}, expected an option's name, as in lr: 0.002")
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            tokens.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, str | int | float | date) and not (isinstance(value, int) and abs(value) > LARGEST_INT):
            tokens.append(f"--{flag}={value}")
        elif value is not None:
            raise UserError(f"a preset's {key}: got a {type(value).__name__}, expected one value, as in lr: 0.002")
    return tokens


def as_preset(options: argparse.Namespace) -> dict[str, Any]:
    """Write options as plain values that, read as a preset, repeat the run."""
    about_this_run = ("out", "name", "resume", "preset", "max_minutes")
    values = {key: value for key, value in vars(options).items() if key not in about_this_run}
    return {key: str(value.resolve()) if isinstance(value, Path) else value for key, value in values.items()}


def read_preset(path: Path | None) -> dict[str, Any]:
    """Read a preset; one without folder is also looked for in `configs/`.

    **Raises**: UserError when there is no such file or it holds no flags.
    """
    if path is None:
        return {}
    found = next((place for place in (path, ROOT / "configs" / path) if place.is_file()), None)
    if found is None:
        known = ", ".join(sorted(place.name for place in (ROOT / "configs").glob("*.yaml")))
        raise UserError(f"--preset {path}: no such file. configs/ has {known}.")
    try:
        preset = yaml.safe_load(found.read_text(encoding="utf-8"))
    except Exception as error:  # PyYAML lets through what its makers of dates and numbers raise
        raise UserError(f"--preset {path}: not YAML ({' '.join(str(error).split())[:120]}).") from None
    if not isinstance(preset, dict):
        raise UserError(f"--preset {path}: got {type(preset).__name__}, expected lines like lr: 0.002")
    return preset


def number(kind: Callable[[str], Any], accept: Callable[[Any], bool], wanted: str) -> Callable[[str], Any]:
    """Make a type for argparse that takes only numbers in a range."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not accept(value):
            raise argparse.ArgumentTypeError(f"got {text!r}, expected {wanted}")
        return value

    return parse


def spelled(parse: Callable[[str], Any], wanted: str) -> Callable[[str], str]:
    """Make a type for argparse that keeps a text as it is, if it can be read."""

    def check(text: str) -> str:
        try:
            parse(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected {wanted}") from None
        return text

    return check


POSITIVE = number(float, lambda x: 0 < x < float("inf"), "a number above 0")
NOT_NEGATIVE = number(float, lambda x: 0 <= x < float("inf"), "a number from 0")
SHARE = number(float, lambda x: 0 <= x < 1, "a number from 0 to below 1")
SIDE = number(float, lambda x: 0 < x <= 1, "a number above 0, at most 1")
COUNT = number(int, lambda x: x > 0, "a whole number above 0")
ANGLE = number(float, lambda x: 0 < x < 180, "an angle between 0 and 180")
INDEX = number(int, lambda x: x >= 0, "a whole number from 0")


def add_data_options(parser: argparse.ArgumentParser, *, kind: str | None, validation: float | None) -> None:
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
        add("--holes", action=argparse.BooleanOptionalAction, default=False, help=what)
        what = "rooms: leave one ingredient out of those to train on, to see what it brings"
        add("--without", choices=sorted(INGREDIENTS), help=what)
    add("--limit", type=COUNT, metavar="N", help="take only the first N frames of each split, for a quick try")


def add_machine_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where and how to compute."""
    group = parser.add_argument_group("machine")
    group.add_argument("--device", choices=DEVICES, default="auto", help="where to compute")
    what = "mixed precision; auto: bf16, else fp16, on CUDA, off elsewhere"
    group.add_argument("--amp", choices=AMP, default="auto", help=what)


def add_fov_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how wide the camera saw."""
    what = "angle of view along the longer side; default: from EXIF, else the training camera's 63"
    parser.add_argument("--fov", type=ANGLE, metavar="DEGREES", help=what)


def add_weights_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that says which of a checkpoint's weights to take."""
    what = "which to take: as trained, their moving average, their SWA; default: those that training judged best"
    parser.add_argument("--weights", choices=WEIGHTS, help=what)


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add what only training asks: the network, the loop, the run's files."""
    switch = argparse.BooleanOptionalAction
    add = parser.add_argument_group("network").add_argument
    add("--encoder", default=EMBEDDED_ENCODER, metavar="NAME", help="any EfficientNet of timm")
    add("--pretrained", action=switch, default=True, help="start the encoder from ImageNet weights")
    what = "start from a checkpoint's weights, as after training on rooms, or on others' frames"
    add("--init", type=Path, metavar="PATH", help=what)
    what = "keep ImageNet's statistics in the encoder's norms, where training pictures are no photos"
    add("--keep-norms", action=switch, default=False, help=what)
    what = "leave the encoder's stem and first N stages as ImageNet made them; 0: let all learn"
    add("--freeze", type=INDEX, default=0, metavar="N", help=what)
    add("--target", choices=TARGETS, default="metric", help="depth / --max-depth, or / the image's own maximum")
    add("--max-depth", type=POSITIVE, default=MAX_DEPTH_M, metavar="M", help="the depth in metres that is 1")

    add = parser.add_argument_group("training").add_argument
    add("--augment", action=switch, default=False, help="flip, zoom and turn photo and depth; vary the photo's light")
    what = "the smallest crop of --augment, as a share of the frame; default: 0.65, but rooms stay whole"
    add("--zoom", type=SIDE, metavar="SHARE", help=what)
    add("--epochs", type=COUNT, default=5, metavar="N", help="times through the training frames")
    add("--batch-size", type=COUNT, default=16, metavar="N", help="frames per forward pass")
    add("--accumulate", type=COUNT, default=1, metavar="N", help="batches per step")
    add("--lr", type=POSITIVE, default=2e-3, help="peak learning rate")
    add("--encoder-lr-scale", type=POSITIVE, default=1.0, metavar="X", help="the encoder's share of it")
    add("--warmup", type=SHARE, default=0.1, metavar="SHARE", help="share of the steps in which the rate rises")
    add("--loss", choices=sorted(LOSSES), default="mse", help="mixed: logarithmic, absolute and gradient error")
    add("--optimizer", choices=OPTIMIZERS, default="adan", help="what moves the weights")
    add("--weight-decay", type=NOT_NEGATIVE, default=1e-4, metavar="X", help="on kernels, not on norms and biases")
    add("--clip", type=POSITIVE, default=0.5, metavar="NORM", help="largest norm of the gradient")
    add("--ema", type=SHARE, default=0.998, metavar="DECAY", help="moving average of the weights; 0: none")
    add("--swa", type=SHARE, default=0.0, metavar="SHARE", help="average the weights of this last share of the steps")
    what = "share of --lr at which the rate stays meanwhile"
    add("--swa-lr-scale", type=SHARE, default=0.25, metavar="SHARE", help=what)
    what = "save and stop in time, to go on later; the last evaluation not counted"
    add("--max-minutes", type=POSITIVE, metavar="MINUTES", help=what)
    add("--seed", type=INDEX, default=0, help="fixes the weights, the order and the augmentation")

    add = parser.add_argument_group("files").add_argument
    add("--preset", type=Path, metavar="YAML", help="options from a file, or from configs/; the command line wins")
    add("--out", type=Path, metavar="DIR", help="the run's folder; else runs/<time>-<name>")
    add("--name", help="ends the name of the run's folder; else the data's kind")
    add("--resume", metavar="auto|PATH", help="go on from a last.pt; auto: that of --out, or of the newest run")
    what = "save so often, besides at each epoch's end: 500 is every 500 steps, 10m every 10 minutes"
    every = spelled(parse_every, "a number of steps like 500, or minutes like 10m")
    add("--checkpoint-every", type=every, default="10m", metavar="N|Nm", help=what)
    add("--cache-dir", type=Path, default=default_cache(), metavar="DIR", help="where decoded frames are kept")
    add("--workers", type=INDEX, default=0, metavar="N", help="processes that load batches")
    add_max_bad_option(parser)


def make_training_parser(description: str | None) -> Parser:
    """Make the parser of train.py: the data, the training, the machine."""
    parser = Parser(description)
    add_data_options(parser, kind="auto", validation=0.1)
    add_training_options(parser)
    add_machine_options(parser)
    return parser


def add_max_bad_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how many frames may be bad."""
    what = "how many frames may be left out because they cannot be read; else 10 or 0.1%%, the larger"
    few = spelled(parse_max_bad, "a number of frames, or a share like 0.5%")
    parser.add_argument("--max-bad", type=few, metavar="N|P%", help=what)
