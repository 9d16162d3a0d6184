"""The network that a script works with: a checkpoint's, or the one that ships."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from src.cli.data import open_data
from src.cli.sources import Data
from src.data.frame import enlarge_depth
from src.data.photos import Photo, view
from src.network import SHIPPED, DepthNet, rebuild
from src.training import checkpoint
from src.training.engine import Precision, predict


class Opened(NamedTuple):
    """A network ready to predict, what is known of it, and how to call it."""

    network: DepthNet
    about: dict[str, Any]
    name: str
    weights: str
    shipped: bool

    @property
    def unit_m(self) -> float | None:
        """Metres that the network calls 1; None where it learnt shares of the farthest point."""
        return self.about["max_depth_m"] if self.about["target"] == "metric" else None

    @property
    def unit(self) -> str:
        """What the numbers of `estimate` are, in a word."""
        return "m" if self.unit_m else "of the farthest"


def open_network(path: Path | None, weights: str | None, precision: Precision) -> Opened:
    """Load a checkpoint's network onto the device, or where none is named the shipped one, and say which it is."""
    content = checkpoint.load(path or SHIPPED)
    about = content["about"]
    chosen, which = checkpoint.choose_weights(content, weights)
    network = rebuild(about["encoder"], chosen).to(precision.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    name = f"{path} ({which})" if path else "the weights that ship with the repository"
    print(f"network: {name}, trained on {about['data']}{describe_scores(about)}", flush=True)
    return Opened(network.eval(), about, name, which, path is None)


def open_its_data(opened: Opened, options: Namespace) -> Data:
    """Open the data to score a network on: what the command line leaves open is as in its training."""
    trained = opened.about["options"]
    if options.data is None and options.data_dir is None:
        options.data = trained["data"] if "data_dir" in trained else "auto"  # exported weights know no folder
    options.data = options.data or "auto"
    if options.data_dir is None and options.data in ("auto", trained["data"]):
        options.data_dir = known_folder(trained)
    for name in ("depth_scale", "validation"):
        if getattr(options, name) is None:
            setattr(options, name, trained[name])
    return open_data(options, opened.about["max_depth_m"])


def known_folder(trained: dict[str, Any]) -> Path | None:
    """Recall where a training found its NYU or csv; None where it used neither or they lie there no more."""
    folder = trained.get("data_dir") and Path(trained["data_dir"])
    return folder if folder and folder.exists() else None


def describe_scores(about: dict[str, Any]) -> str:
    """Put the figures that exported weights carry into words."""
    scores = about.get("scores")
    if not scores:
        return ""
    eigen = scores["protocols"]["eigen"]
    frames = f"{scores['count']} {scores['split']} frames of {scores['data']}"
    return f"; on {frames} (Eigen): d1 {eigen['d1']:.3f}, RMSE {eigen['rmse_m']:.3f} m, AbsRel {eigen['abs_rel']:.3f}"


def estimate(opened: Opened, photo: Photo, precision: Precision) -> NDArray[np.float32]:
    """Estimate depth at the photo's size: (H, W), in metres, or in shares of the farthest point."""
    seen = view(photo)
    image = torch.from_numpy(seen.image.copy()).permute(2, 0, 1)[None].to(precision.device)
    depth = predict(opened.network, image, precision)[0, 0].cpu().numpy()
    factor = opened.unit_m * seen.scale if opened.unit_m else 1 / max(float(depth.max()), 1e-6)
    return enlarge_depth(depth * np.float32(factor), photo.camera.width_px, photo.camera.height_px)
