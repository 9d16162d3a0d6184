"""Estimate the depth of photos, films or a webcam's view: metres as files, pictures and point clouds.

python scripts/predict.py photo.jpg
"""

from __future__ import annotations

from _root import run

from src.cli.options import parse_prediction

if __name__ == "__main__":
    parse_prediction(__doc__)  # --help and usage errors are answered before the imports that take seconds

import itertools
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from src.cli.data import bar_options
from src.cli.network import open_network
from src.conventions import UserError
from src.data.frame import shrink_image
from src.data.photos import find_inputs, is_video, make_photo, read_photo
from src.data.video import Video
from src.estimator import DepthEstimator
from src.files import whole_file
from src.viewing.figures import colour_depth, draw_depth, draw_legend, draw_pair, far_end
from src.viewing.film import film
from src.viewing.pointcloud import make_cloud, write_ply

FILM_HEIGHT_PX = 480


def main() -> None:
    options = parse_prediction(__doc__)
    inputs = find_inputs(options.inputs)
    estimator = open_network(options.checkpoint, options.weights, device=options.device, amp=options.amp)
    if options.pointcloud and estimator.unit_m is None:
        raise UserError("--pointcloud: needs metres, and this network learnt relative depth. Take another checkpoint.")

    failed = 0
    named = list(zip(inputs, name_results(inputs), strict=True))
    for source, name in tqdm(named, **bar_options() | {"unit": " input", "disable": len(named) == 1}):
        try:
            if isinstance(source, str) or is_video(source):
                predict_film(source, options.out / name, estimator, options)
            else:
                predict_photo(source, options.out / name, estimator, options)
        except UserError as error:
            tqdm.write(f"error: {error}", file=sys.stderr)
            failed += 1
    if failed:
        raise UserError(f"{failed} of {len(inputs)} inputs failed, named above; the others are done.")


def name_results(inputs: Sequence[str | Path]) -> list[str]:
    """Name each input's results after it, with a number where two would share a name."""
    names: list[str] = []
    for source in inputs:
        stem = f"webcam{source}" if isinstance(source, str) else source.stem
        free = (f"{stem}-{count}" if count > 1 else stem for count in itertools.count(1))
        names.append(next(name for name in free if name not in names))
    return names


def predict_photo(path: Path, out: Path, estimator: DepthEstimator, options: Namespace) -> None:
    """Write a photo's depth: 16-bit PNG, NPY, picture, side by side, and a cloud if asked."""
    photo = read_photo(path, fov_deg=options.fov)
    depth = estimator.estimate(photo)
    # A 16-bit PNG counts millimetres, or under the relative target 65,535ths of the farthest point.
    steps = depth * (1000 if estimator.unit_m else 65535)
    with whole_file(out.with_name(f"{out.name}_depth.png")) as unfinished:
        Image.fromarray(np.rint(steps).clip(0, 65535).astype(np.uint16)).save(unfinished, format="PNG")
    with whole_file(out.with_name(f"{out.name}_depth.npy")) as unfinished, unfinished.open("wb") as file:
        np.save(file, depth)
    draw_depth(depth, out.with_name(f"{out.name}_colour.png"), unit=estimator.unit)
    draw_pair(photo.image, depth, out.with_name(f"{out.name}_pair.png"), unit=estimator.unit)
    results = "depth.png, _depth.npy, _colour.png, _pair.png"
    if options.pointcloud:
        write_ply(make_cloud(photo.image, depth, photo.camera), out.with_name(f"{out.name}_cloud.ply"))
        results += ", _cloud.ply"
    low, middle, high = np.percentile(depth[::8, ::8], (1, 50, 99))
    tqdm.write(
        f"{path}: {low:.2f} to {high:.2f}, median {middle:.2f} {estimator.unit}; "
        f"focal length {photo.camera.fx_px:.0f} px ({photo.focal_from}) -> {out}_{results}"
    )


def predict_film(source: Path | str, out: Path, estimator: DepthEstimator, options: Namespace) -> None:
    """Write a film of the view beside its depth. What comes before a film's damage is kept."""
    frames = Video(source)
    webcam = isinstance(source, str)
    path = out.with_name(f"{out.name}_depth.mp4")
    damage: UserError | None = None
    started, done = time.monotonic(), 0
    far, legend = 0.0, np.empty(0)
    with film(path, frames.fps) as append:
        try:
            for image in tqdm(
                frames, desc=frames.name, total=frames.count or None, **bar_options() | {"unit": " frame"}
            ):
                small = shrink_image(image, round(image.shape[1] * FILM_HEIGHT_PX / image.shape[0]), FILM_HEIGHT_PX)
                depth = estimator.estimate(make_photo(small, fov_deg=options.fov))
                if not done:
                    # One scale for the whole film, from its first frame, with some room.
                    far = 1.25 * far_end(depth)
                    legend = draw_legend(far, FILM_HEIGHT_PX, unit=estimator.unit)
                append(np.concatenate([small, colour_depth(depth, far), legend], axis=1))
                done += 1
                if webcam and options.seconds and time.monotonic() - started > options.seconds:
                    break
        except UserError as error:
            damage = error
        except KeyboardInterrupt:
            if not webcam:
                raise
        if not done:
            raise damage or UserError(f"{frames.name}: holds no frame.")
    tqdm.write(f"{frames.name}: {done} frames -> {path}")
    if damage:
        raise damage


if __name__ == "__main__":
    run(main)
