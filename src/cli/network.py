"""The network that a script uses: a checkpoint's, or the one that ships."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.choices import PLUS_ROOMS
from src.cli.data import introduce, select_data
from src.cli.sources import Data
from src.conventions import MAX_DEPTH_M, UserError
from src.estimator import DepthEstimator


def open_network(path: Path | None, weights: str | None, options: Namespace) -> DepthEstimator:
    """Load a checkpoint's network, or the shipped one, for `--device`, `--amp` and `--scale-m`; print which it is."""
    scale_m = getattr(options, "scale_m", None)
    estimator = DepthEstimator(path, scale_m=scale_m, weights=weights, device=options.device, amp=options.amp)
    print(f"network: {describe_network(estimator)}", flush=True)
    return estimator


def describe_network(estimator: DepthEstimator) -> str:
    """Describe a network in one line: its checkpoint, its training data, and the scores stored in exported weights."""
    about = estimator.about
    words = f"{estimator.name}, trained on {about['data']}"
    if scores := about.get("scores"):
        key, protocol = ("eigen", "Eigen") if estimator.unit_m else ("eigen_median", "Eigen, median-scaled")
        eigen = scores["protocols"][key]
        words += f"; on {scores['count']} {scores['split']} frames of {scores['data']} ({protocol}): "
        words += f"d1 {eigen['d1']:.3f}, RMSE {eigen['rmse_m']:.3f} m, AbsRel {eigen['abs_rel']:.3f}"
    return words


def put_in_metres(
    estimator: DepthEstimator, depth: NDArray[np.float32], truth_m: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float32], str]:
    """Convert what `estimate` returned to metres, and say at which scale: "" for those that the network predicted.

    A relative network's farthest point is put at `scale_m`, else at the truth's, else at `MAX_DEPTH_M`.
    """
    if estimator.unit_m:
        return depth, ""
    truths_m = None if truth_m is None or estimator.scale_m else float(truth_m.max())  # 0 without a measured pixel
    far_m = truths_m or estimator.scale_m or MAX_DEPTH_M
    words = f"the truth's {far_m:.4g} m" if truths_m else f"{far_m:.4g} m (--scale-m)"
    return depth * np.float32(far_m), f"farthest point put at {words}"


def open_its_data(about: dict[str, Any], options: Namespace) -> Data:
    """Open the data to evaluate a network on; options that were not typed are those of its training."""
    trained = about["options"]
    kind = trained["data"].removesuffix(PLUS_ROOMS)
    if options.data is None and options.data_dir is None:
        options.data = kind if "data_dir" in trained else "auto"  # exported weights store no folder
    options.data = options.data or "auto"
    if options.data_dir is None and options.data in ("auto", kind):
        options.data_dir = known_folder(trained)
    if options.validation is None:
        options.validation = trained["validation"]
    given = {name: getattr(options, name) for name in ("depth_scale", "fov")}
    as_trained = {name: value or trained.get(name) for name, value in given.items()} if options.data_dir else given
    vars(options).update(as_trained)
    data = select_data(options, about["max_depth_m"])
    if as_trained != given and not data.is_of_training(about):
        vars(options).update(given)
        data = select_data(options, about["max_depth_m"])
    return introduce(data, options)


def choose_split(asked: str | None, data: Data, about: dict[str, Any]) -> str:
    """Choose the split to evaluate: of files that the network was trained on, what was held out, if anything was."""
    held_out = data.last_split if data.has_seen(about) and data.leaves_some_to_score else "test"
    return asked or held_out


def known_folder(trained: dict[str, Any]) -> Path | None:
    """Return the folder or csv of a training run; None if it had none, or NYU is to be found elsewhere.

    **Raises**: UserError when a csv or folder of one's own no longer exists.
    """
    folder = trained.get("data_dir") and Path(trained["data_dir"])
    if not folder or folder.exists():
        return folder or None
    if trained["data"].removesuffix(PLUS_ROOMS) == "nyu":
        return None
    raise UserError(
        f"{folder}: got no such file or folder, expected the data of the training. Name it with --data-dir."
    )
