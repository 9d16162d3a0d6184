"""Write a checkpoint's network to ship: weights as safetensors, or a graph as ONNX; its figures stand in the file.

python scripts/export.py runs/…/best.pt
"""

from _root import run

from src.cli.options import parse_export

if __name__ == "__main__":
    parse_export(__doc__)  # --help and usage errors are answered before the imports that take seconds

import contextlib
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.cli.network import choose_split, open_its_data, open_network
from src.cli.report import report
from src.cli.sources import Data
from src.conventions import IMAGE_SIZE_PX, UserError
from src.data.frame import shrink_image
from src.data.listing import sample_frames
from src.estimator import DepthEstimator
from src.network import DepthNet
from src.training import checkpoint

OF_THIS_MACHINE = ("data_dir", "cache_dir", "device", "amp", "workers")
CALIBRATION_FRAMES = 100


def main() -> None:
    options = parse_export(__doc__)
    trained, *others = (open_weights(path, options) for path in (options.checkpoint, *options.average))
    kept = {key: value for key, value in trained.about["options"].items() if key not in OF_THIS_MACHINE}
    if kept.get("init"):
        kept["init"] = Path(kept["init"]).name  # not where this machine keeps it
    about = {**trained.about, "options": kept, "weights": trained.weights}
    about.pop("scores", None)  # of exported weights, which are not those of what is written
    if others:
        about |= average_networks(trained, others)
    data = open_its_data(trained.about, options)
    split = choose_split(options.split, data, trained.about)
    write = make_writer(trained.network, trained.unit_m or 1.0, data, options)

    # What is scored is what ships: the rounded or quantised network, read back. An earlier file stays until then.
    unscored = options.out.with_name(f".unscored-{options.out.name}")
    try:
        write(unscored, about)
        exported = open_network(unscored, None, options)
        folder = options.out.parent / "exported"
        bounds = {"limit": options.limit, "max_bad": options.max_bad}
        scores, _ = report(exported, data, split, folder=folder, name=options.out.name, **bounds)
    finally:
        for path in (unscored, checkpoint.checksum_of(unscored)):
            with contextlib.suppress(OSError):
                path.unlink()
    write(options.out, {**about, "scores": scores})
    print(f"\n{options.to}  {options.out}, {options.out.stat().st_size / 1e6:.1f} MB")
    if options.to == "safetensors":
        print(f"checksum  {checkpoint.checksum_of(options.out)}")


def open_weights(path: Path, options: Namespace) -> DepthEstimator:
    """Open a checkpoint's network. **Raises**: UserError for an exported graph, which has no weights to convert."""
    estimator = open_network(path, options.weights, options)
    if not isinstance(estimator.network, DepthNet):
        raise UserError(f"{path}: got an exported graph, expected weights. Name the run's checkpoint.")
    return estimator


def average_networks(trained: DepthEstimator, others: Sequence[DepthEstimator]) -> dict[str, Any]:
    """Give a network the mean of its weights and the others'; return what describes the training of all.

    **Raises**: UserError for a network of another kind.
    """
    for other in others:
        for key in ("encoder", "target", "output", "max_depth_m"):
            if (got := other.about.get(key)) != (expected := trained.about[key]):
                raise UserError(f"--average {other.name}: got {key} {got}, expected {expected}, as of {trained.name}.")
    every = [trained, *others]
    trained.network.load_state_dict(checkpoint.average_weights([estimator.network.state_dict() for estimator in every]))
    frames = dict.fromkeys(estimator.about.get("frames", "") for estimator in every)
    return {
        "averaged_seeds": [estimator.about["options"].get("seed") for estimator in every],
        "frames": "".join(frames) if all(frames) else "",  # which are unknown if those of one are
    }


def make_writer(
    network: DepthNet, unit: float, data: Data, options: Namespace
) -> Callable[[Path, dict[str, Any]], None]:
    """Convert the network once; return what writes it with a description."""
    if options.to == "safetensors":
        return lambda path, about: checkpoint.export(path, about, network.state_dict())
    from src.network.int8 import to_int8
    from src.network.onnx_export import to_onnx, write_model

    if options.int8:
        model = to_int8(network, unit=unit, images=calibration_photos(data))
    else:
        model = to_onnx(network, unit=unit, dynamic=options.dynamic)
    facts = {"unit": unit, "parameters": sum(weights.numel() for weights in network.parameters())}
    facts["precision"] = "int8" if options.int8 else "float32"
    return lambda path, about: write_model(model, path, {**about, **facts})


def calibration_photos(data: Data) -> list[NDArray[np.uint8]]:
    """Read training photos at the network's input size; UserError when none is readable."""
    frames = sample_frames(data.open("train"), CALIBRATION_FRAMES)
    photos = [shrink_image(frame.image, IMAGE_SIZE_PX) for _, frame in frames]
    if not photos:
        raise UserError("--int8: none of the training photos to measure ranges on can be read. Name other --data.")
    return photos


if __name__ == "__main__":
    run(main)
