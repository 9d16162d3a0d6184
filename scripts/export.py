"""Write a checkpoint's weights to ship: safetensors, half precision, a checksum, and its figures in the header.

python scripts/export.py runs/…/best.pt
"""

from _root import run

from src.cli.options import parse_export

if __name__ == "__main__":
    parse_export(__doc__)  # --help and usage errors are answered before the imports that take seconds

from src.cli.network import choose_split, open_its_data, open_network
from src.cli.report import report
from src.training import checkpoint

OF_THIS_MACHINE = ("data_dir", "cache_dir", "device", "amp", "workers")


def main() -> None:
    options = parse_export(__doc__)
    machine = {"device": options.device, "amp": options.amp}
    trained = open_network(options.checkpoint, options.weights, **machine)
    kept = {key: value for key, value in trained.about["options"].items() if key not in OF_THIS_MACHINE}
    about = {**trained.about, "options": kept, "weights": trained.weights}
    data = open_its_data(trained.about, options)
    split = choose_split(options.split, data, trained.about)

    # What is scored is what ships: the rounded weights, read back.
    checkpoint.export(options.out, about, trained.network.state_dict())
    rounded = open_network(options.out, None, **machine)
    folder = options.checkpoint.parent / "exported"
    bounds = {"limit": options.limit, "max_bad": options.max_bad}
    scores = report(rounded, data, split, folder=folder, name=options.out.name, **bounds)
    checkpoint.export(options.out, {**about, "scores": scores}, trained.network.state_dict())
    print(f"\nweights  {options.out}, {options.out.stat().st_size / 1e6:.1f} MB")
    print(f"checksum  {checkpoint.checksum_of(options.out)}")


if __name__ == "__main__":
    run(main)
