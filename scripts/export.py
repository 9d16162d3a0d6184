"""Write a checkpoint's weights to ship: safetensors, half precision, a checksum, and its figures in the header.

python scripts/export.py runs/…/best.pt
"""

from __future__ import annotations

import sys
from pathlib import Path

from _data import open_data
from _network import open_network
from _options import Parser, add_data_options, add_machine_options, add_weights_option
from _root import run
from evaluate import report

from src.training import checkpoint
from src.training.engine import choose_precision

OF_THIS_MACHINE = ("data_dir", "cache_dir", "device", "amp", "workers")


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("checkpoint", type=Path, help="best.pt or last.pt of a run")
    add_weights_option(parser)
    add_data_options(parser, kind="auto", validation=0.1)
    add_machine_options(parser)
    parser.add_argument("--out", type=Path, metavar="PATH", help="the .safetensors; default: beside the checkpoint")
    options = parser.parse_args(sys.argv[1:])
    out = options.out or options.checkpoint.with_suffix(".safetensors")
    if out.suffix != ".safetensors":
        parser.error(f"argument --out: got {out}, expected a name that ends in .safetensors")
    precision = choose_precision(options.device, options.amp)
    trained = open_network(options.checkpoint, options.weights, precision)
    kept = {key: value for key, value in trained.about["options"].items() if key not in OF_THIS_MACHINE}
    about = {**trained.about, "options": kept, "weights": trained.weights}
    data = open_data(options, about["max_depth_m"])

    # What is scored is what ships: the rounded weights, read back.
    checkpoint.export(out, about, trained.network.state_dict())
    rounded = open_network(out, None, precision)
    scores = report(
        rounded.network,
        about,
        data.open("test", options.limit),
        data=data.kind,
        split="test",
        name=out.name,
        weights=trained.weights,
        folder=options.checkpoint.parent / "exported",
        precision=precision,
    )
    checkpoint.export(out, {**about, "scores": scores}, trained.network.state_dict())
    print(f"\nweights  {out}, {out.stat().st_size / 1e6:.1f} MB\nchecksum  {checkpoint.checksum_of(out)}")


if __name__ == "__main__":
    run(main)
