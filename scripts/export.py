"""Write a checkpoint's network to ship: weights as safetensors, or a graph as ONNX; its figures stand in the file.

python scripts/export.py runs/…/best.pt
"""

from _root import run

from src.cli.options import parse_export

if __name__ == "__main__":
    parse_export(__doc__)  # --help and usage errors are answered before the imports that take seconds

from argparse import Namespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.cli.network import choose_split, open_its_data, open_network
from src.cli.report import report
from src.cli.sources import Data
from src.conventions import IMAGE_SIZE_PX
from src.data.frame import shrink_image
from src.data.listing import evenly_spaced
from src.estimator import DepthEstimator
from src.training import checkpoint

OF_THIS_MACHINE = ("data_dir", "cache_dir", "device", "amp", "workers")
CALIBRATION_FRAMES = 100


def main() -> None:
    options = parse_export(__doc__)
    machine = {"device": options.device, "amp": options.amp}
    trained = open_network(options.checkpoint, options.weights, **machine)
    kept = {key: value for key, value in trained.about["options"].items() if key not in OF_THIS_MACHINE}
    about = {**trained.about, "options": kept, "weights": trained.weights}
    data = open_its_data(trained.about, options)
    split = choose_split(options.split, data, trained.about)

    # What is scored is what ships: the rounded or quantised network, read back.
    write(trained, about, data, options)
    exported = open_network(options.out, None, **machine)
    folder = options.checkpoint.parent / "exported"
    bounds = {"limit": options.limit, "max_bad": options.max_bad}
    scores = report(exported, data, split, folder=folder, name=options.out.name, **bounds)
    write(trained, {**about, "scores": scores}, data, options)
    print(f"\n{options.to}  {options.out}, {options.out.stat().st_size / 1e6:.1f} MB")
    if options.to == "safetensors":
        print(f"checksum  {checkpoint.checksum_of(options.out)}")


def write(trained: DepthEstimator, about: dict[str, Any], data: Data, options: Namespace) -> None:
    """Write the file that the options ask for."""
    if options.to == "safetensors":
        checkpoint.export(options.out, about, trained.network.state_dict())
        return
    from src.network.onnx_export import export_int8, export_onnx

    unit = trained.unit_m or 1.0
    about = {**about, "unit": unit, "parameters": sum(weights.numel() for weights in trained.network.parameters())}
    if options.int8:
        export_int8(trained.network, options.out, about, unit=unit, images=calibration_photos(data))
    else:
        export_onnx(trained.network, options.out, about, unit=unit, dynamic_batch=options.dynamic_batch)


def calibration_photos(data: Data) -> list[NDArray[np.uint8]]:
    """Read training photos, evenly spaced in the list, at the network's input size."""
    frames = data.open("train")
    chosen = evenly_spaced(len(frames), CALIBRATION_FRAMES)
    return [shrink_image(frames[index].image, IMAGE_SIZE_PX) for index in chosen]


if __name__ == "__main__":
    run(main)
