"""The command line of every script, without the imports that take seconds."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from src.choices import (
    AUGMENTATIONS,
    EMBEDDED_ENCODER,
    EXPORTS,
    LEAST_CHANGE,
    LOSSES,
    OPTIMIZERS,
    OUTPUTS,
    SCHEDULES,
    TARGETS,
    USUAL_AUGMENTATIONS,
    parse_every,
)
from src.cli.option_groups import (
    ANGLE,
    COUNT,
    INDEX,
    NOT_NEGATIVE,
    PORT,
    POSITIVE,
    SHARE,
    SIDE,
    SWITCH,
    add_cache_options,
    add_checkpoint_argument,
    add_data_options,
    add_machine_options,
    add_scale_option,
    add_weights_option,
)
from src.cli.parsing import ROOT, Names, Parser, checked, file_named, read_preset
from src.conventions import MAX_DEPTH_M, UserError

Words = Sequence[str] | None  # the words of a command line; None for those of this process


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
    """Make the parser of train.py: data, network, training, files, cache, machine."""
    parser = Parser(description)
    add_data_options(parser, trains=True, mixes=True, max_bad=True)
    add = parser.add_argument_group("network").add_argument
    add("--encoder", default=EMBEDDED_ENCODER, metavar="NAME", help="any EfficientNet of timm")
    add("--pretrained", action=SWITCH, default=True, help="start the encoder from ImageNet weights")
    add("--init", type=Path, metavar="PATH", help="start from the weights of this checkpoint")
    add("--keep-norms", action=SWITCH, default=False, help="keep the encoder's batch norm statistics as they start")
    add("--freeze", type=INDEX, default=0, metavar="N", help="keep the encoder's stem and first N stages as they are")
    add("--target", choices=TARGETS, default="metric", help="depth / --max-depth, or / the image's own maximum")
    help_ = "metres that are 1 under the metric target; farther depth is invalid"
    add("--max-depth", type=POSITIVE, default=MAX_DEPTH_M, metavar="M", help=help_)
    add("--output", choices=OUTPUTS, default="relu6", help="activation of the output")
    parser.refuse_idle("pretrained", lambda typed: "with --init" if typed.init else None)

    add = parser.add_argument_group("training").add_argument
    help_ = "change photo and depth together, light and colour of the photo alone; without names: all but colour"
    add("--augment", action=Names, nargs="*", choices=AUGMENTATIONS, const=USUAL_AUGMENTATIONS, default=[], help=help_)
    add("--no-augment", action="store_const", dest="augment", const=[], help="change nothing")
    help_ = "smallest crop of --augment, as a share of the frame; default: 0.65, on rooms alone 1"
    add("--zoom", type=SIDE, metavar="SHARE", help=help_)
    add("--epochs", type=COUNT, default=5, metavar="N", help="passes over the training frames")
    add("--batch-size", type=COUNT, default=16, metavar="N", help="frames per batch, of all processes together")
    add("--accumulate", type=COUNT, default=1, metavar="N", help="batches per step")
    help_ = f"stop after N epochs in which the validation loss did not fall by {LEAST_CHANGE:g}; 0: never"
    add("--patience", type=INDEX, default=0, metavar="N", help=help_)
    add("--lr", type=POSITIVE, default=2e-3, help="peak learning rate")
    add("--encoder-lr-scale", type=POSITIVE, default=1.0, metavar="X", help="the encoder's rate, as a multiple of --lr")
    add("--schedule", choices=SCHEDULES, default="cosine", help="course of the learning rate after the warm-up")
    add("--warmup", type=SHARE, default=0.1, metavar="SHARE", help="share of the steps in which the rate rises")
    help_ = (
        "mixed: log, absolute and gradient error; mixed+mse: squared error too; mixed+mse+ssim: 1 - SSIM too; "
        "log+mse: as mixed+mse, not scale-invariant"
    )
    add("--loss", choices=LOSSES, default="mse", help=help_)
    add("--optimizer", choices=OPTIMIZERS, default="adan", help="optimiser")
    add("--weight-decay", type=NOT_NEGATIVE, default=1e-4, metavar="X", help="on kernels, not on norms and biases")
    add("--clip", type=POSITIVE, default=0.5, metavar="NORM", help="largest norm of the gradient")
    add("--ema", type=SHARE, default=0.998, metavar="DECAY", help="exponential moving average of the weights; 0: none")
    add("--swa", type=SHARE, default=0.0, metavar="SHARE", help="average the weights of this last share of the steps")
    add("--profile", action=SWITCH, default=False, help="trace some of the first steps into the run's trace.json")
    help_ = "save and stop before this time, not counting the last evaluation"
    add("--max-minutes", type=POSITIVE, metavar="MINUTES", help=help_)
    add("--seed", type=INDEX, default=0, help="what initial weights, order and augmentation depend on")
    parser.refuse_idle("zoom", lambda typed: None if "zoom" in typed.augment else "without --augment zoom")
    parser.refuse_idle("patience", lambda typed: "with --swa, which averages the last steps" if typed.swa else None)
    certain = ("auto", "rooms")  # rooms have validation frames, and auto may find rooms
    parser.refuse_idle(
        "patience", lambda typed: None if typed.validation or typed.data in certain else "with --validation 0"
    )

    add = parser.add_argument_group("files").add_argument
    add("--preset", type=Path, metavar="YAML", help="options from a file, or from configs/; the command line wins")
    add("--out", type=Path, metavar="DIR", help="the run's folder; default: runs/<time>-<data>")
    help_ = "resume a last.pt with its run's own options; auto: the run in --out, or the newest one"
    add("--resume", metavar="auto|PATH", help=help_)
    interval = checked(str, parse_every, "a number of steps like 500, or minutes like 10m")
    help_ = "save after every N steps or minutes (10m), and after each epoch"
    add("--checkpoint-every", type=interval, default="10m", metavar="N|Nm", help=help_)
    for name in ("preset", "init", "pretrained"):
        # `auto` may find nothing to resume; these options are then used.
        parser.refuse_idle(name, lambda typed: "with --resume" if typed.resume not in (None, "auto") else None)
    add_cache_options(parser)
    add_machine_options(parser, amp="auto")
    return parser


def parse_evaluation(description: str | None, words: Words = None) -> Namespace:
    """Parse evaluate.py's options."""
    parser = Parser(description)
    add_checkpoint_argument(parser)
    add_data_options(parser, trains=False, max_bad=True)
    add_machine_options(parser)
    add = parser.add_argument
    add("--compare", type=Path, metavar="PATH", help="another checkpoint to score on the same frames, with p-values")
    help_ = "write predictions and truth as 16-bit PNG in millimetres, as bts's eval_with_pngs.py reads them"
    add("--save-png", type=Path, metavar="DIR", help=help_)
    add("--json", type=Path, metavar="PATH", help="also write the result there")
    help_ = "folder of the files; default: the checkpoint's, or runs/shipped; with --limit N, limit-N in it"
    add("--out", type=Path, metavar="DIR", help=help_)
    return parser.parse_args(words)


def parse_prediction(description: str | None, words: Words = None) -> Namespace:
    """Parse predict.py's options."""
    parser = Parser(description)
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="photos, videos, folders, globs, a webcam's number")
    add("--checkpoint", type=Path, metavar="PATH", help="a run's; default: the weights that ship")
    add_weights_option(parser)
    add("--out", type=Path, default=Path("predictions"), metavar="DIR", help="folder of the results")
    help_ = "camera's angle of view along the longer side; default: from EXIF, else NYU's 63"
    add("--fov", type=ANGLE, metavar="DEGREES", help=help_)
    add("--pointcloud", action="store_true", help="also write a PLY for MeshLab or Blender")
    add_scale_option(parser, f"{MAX_DEPTH_M:g}")
    add("--seconds", type=POSITIVE, metavar="S", help="how long to record a webcam; default: until Ctrl-C")
    add_machine_options(parser)
    without_webcam = "without a webcam's number among the inputs"
    parser.refuse_idle("scale_m", lambda typed: None if typed.pointcloud else "without --pointcloud")
    parser.refuse_idle("seconds", lambda typed: None if any(map(str.isdigit, typed.inputs)) else without_webcam)
    return parser.parse_args(words)


def parse_visualization(description: str | None, words: Words = None) -> Namespace:
    """Parse visualize.py's options, and separate its words into a checkpoint and photos."""
    parser = Parser(description)
    help_ = "a checkpoint (.pt, .safetensors or .onnx; default: the weights that ship), and photos, folders or globs"
    parser.add_argument("words", nargs="*", metavar="CHECKPOINT|PHOTO", help=help_)
    add_weights_option(parser)
    add_data_options(parser, trains=False)
    parser.add_argument(
        "--frames", type=COUNT, default=6, metavar="N", help="how many frames of the data to show, evenly spaced"
    )
    add_scale_option(parser, f"the truth's, {MAX_DEPTH_M:g} on photos")
    add_machine_options(parser)
    group = parser.add_argument_group("output; default: visualization.rrd is saved")
    add = group.add_mutually_exclusive_group().add_argument
    add("--save", type=file_named(".rrd"), metavar="RRD", help="write the recording there")
    add("--spawn", action="store_true", help="open Rerun's own window")
    add("--web", action="store_true", help="serve it to a browser on this machine until Ctrl-C")
    group.add_argument("--port", type=PORT, default=9090, metavar="N", help="--web: of the page; its data use N + 1")

    def is_checkpoint(word: str) -> bool:
        return word.lower().endswith((".pt", ".safetensors", ".onnx"))

    parser.refuse_idle("port", lambda typed: None if typed.web else "without --web")
    for name in ("data", "data_dir", "depth_scale", "validation", "limit", "split", "frames"):
        parser.refuse_idle(name, lambda typed: None if all(map(is_checkpoint, typed.words)) else "on photos")
    options = parser.parse_args(words)
    options.photos = [word for word in options.words if not is_checkpoint(word)]
    checkpoints = [Path(word) for word in options.words if is_checkpoint(word)]
    if len(checkpoints) > 1:
        parser.error(f"got {len(checkpoints)} checkpoints, expected at most one")
    options.checkpoint = checkpoints[0] if checkpoints else None
    return options


def parse_page(description: str | None, words: Words = None) -> Namespace:
    """Parse app.py's options."""
    parser = Parser(description)
    add_checkpoint_argument(parser)
    add_scale_option(parser, f"{MAX_DEPTH_M:g}")
    parser.add_argument("--port", type=PORT, default=7860, help="of the page")
    parser.add_argument("--host", default="127.0.0.1", help="127.0.0.1: this machine only; 0.0.0.0: the whole network")
    add_machine_options(parser)
    return parser.parse_args(words)


def parse_sweep(description: str | None, words: Words = None) -> Namespace:
    """Parse sweep.py's options."""
    parser = Parser(description)
    add_data_options(parser, trains=True)
    add_cache_options(parser)
    add_machine_options(parser, amp="auto")
    add = parser.add_argument_group("sweep").add_argument
    help_ = "folder of one preset per run"
    add("--presets", type=Path, default=ROOT / "configs" / "original", metavar="DIR", help=help_)
    add("--out", type=Path, default=Path("runs") / "sweep", metavar="DIR", help="folder of the runs and the report")
    add("--seed", type=INDEX, default=0, help="the --seed of every run")
    add = parser.add_argument_group("instead of the presets' own").add_argument
    add("--encoder", metavar="NAME", help="any EfficientNet of timm")
    add("--epochs", type=COUNT, metavar="N", help="passes over the training frames")
    add("--short-epochs", type=COUNT, metavar="N", help="of the presets in the folder short/")
    add("--batch-size", type=COUNT, metavar="N", help="frames per batch")
    add("--patience", type=INDEX, metavar="N", help="of early stopping; 0: never")
    return parser.parse_args(words)


def parse_export(description: str | None, words: Words = None) -> Namespace:
    """Parse export.py's options."""
    parser = Parser(description)
    parser.add_argument("checkpoint", type=Path, help="best.pt or last.pt of a run")
    add_weights_option(parser)
    add_data_options(parser, trains=False, max_bad=True)
    add_machine_options(parser)
    add = parser.add_argument_group("exported file").add_argument
    add("--to", choices=EXPORTS, default="safetensors", help="safetensors: weights in half precision; onnx: a graph")
    help_ = "other runs from the same first weights, to export the mean of their weights and the checkpoint's"
    add("--average", type=Path, nargs="+", default=[], metavar="PATH", help=help_)
    help_ = "quantise the graph; the ranges of its activations are measured on training frames"
    add("--int8", action="store_true", help=help_)
    help_ = "let the graph take any number of photos of any size, not one of 224x224"
    add("--dynamic", action="store_true", help=help_)
    add("--out", type=Path, metavar="PATH", help="default: beside the checkpoint")
    for name in ("int8", "dynamic"):
        parser.refuse_idle(name, lambda typed: None if typed.to == "onnx" else "without --to onnx")
    parser.refuse_idle("dynamic", lambda typed: "with --int8" if typed.int8 else None)
    options = parser.parse_args(words)
    options.out = options.out or options.checkpoint.with_suffix(f"{'.int8' if options.int8 else ''}.{options.to}")
    if options.out.suffix != f".{options.to}":
        parser.error(f"argument --out: got {options.out}, expected a name that ends in .{options.to}")
    if options.out.resolve() in [path.resolve() for path in (options.checkpoint, *options.average)]:
        parser.error(f"argument --out: got the checkpoint {options.out}, expected another name")
    return options


def parse_inspection(description: str | None, words: Words = None) -> Namespace:
    """Parse inspect_data.py's options."""
    parser = Parser(description)
    add_data_options(parser, trains=True)
    parser.add_argument("--max-depth", type=POSITIVE, default=MAX_DEPTH_M, metavar="M", help="farther depth is invalid")
    help_ = "the contact sheet; the augmentation is drawn beside it, in a file that ends in -augmentation.png"
    picture = file_named(".png", ".jpg", ".jpeg")
    parser.add_argument("--out", type=picture, default=Path("contact_sheet.png"), metavar="PNG", help=help_)
    return parser.parse_args(words)


LEAST_ROWS = 144  # as many are read in one measurement


def _without_effect(kinds: Sequence[str], options: Namespace) -> str | None:
    return None if options.what in kinds else f"with {options.what}"


def parse_benchmark(description: str | None, words: Words = None) -> Namespace:
    """Parse benchmark.py's options."""
    parser = Parser(description)
    add = parser.add_argument
    what = ("train", "infer", "data", "time-to", "rooms")
    add("what", choices=what, help="training, inference, reading of frames, minutes to an error, rendering of rooms")
    help_ = "measurements of each; time-to: trainings, with seeds from 0"
    add("--rounds", type=COUNT, default=5, metavar="N", help=help_)
    add("--json", type=Path, metavar="PATH", help="also write the result there")
    own = {"steps": ("train", "data"), "threads": ("infer",), "rows": ("data",)}
    own |= dict.fromkeys(("rmse_m", "data_dir", "epochs", "max_minutes", "init"), ("time-to",))
    help_ = "timed training steps per measurement, after two of warm-up"
    add("--steps", type=COUNT, default=6, metavar="N", help=help_)
    add("--threads", type=COUNT, nargs="+", default=[1, 2], metavar="N", help="numbers of threads of the inference")
    add("--rows", type=COUNT, nargs="+", default=[1_000, 10_000, 100_000], metavar="N", help="lengths of the lists")
    add("--rmse-m", type=POSITIVE, default=0.8, metavar="M", help="the error on NYU's validation scenes to reach")
    add("--data-dir", type=Path, metavar="PATH", help="what contains NYU")
    add("--epochs", type=COUNT, default=7, metavar="N", help="of our recipe")
    add("--max-minutes", type=POSITIVE, default=6.0, metavar="MINUTES", help="of one training")
    add("--init", type=Path, metavar="PATH", help="our recipe starts from the weights of this checkpoint")
    for name in own:
        parser.refuse_idle(name, partial(_without_effect, own[name]))
    options = parser.parse_args(words)
    if min(options.rows) < LEAST_ROWS:
        parser.error(f"argument --rows: got {min(options.rows)}, expected at least {LEAST_ROWS}")
    return options
