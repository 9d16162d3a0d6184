"""Estimate the depth of photos, videos or a webcam: metres as files, pictures and point clouds.

python scripts/predict.py photo.jpg
"""

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
from src.cli.network import open_network, put_in_metres
from src.conventions import UserError
from src.data.frame import shrink_image
from src.data.photos import find_inputs, is_video, make_photo, read_photo
from src.data.video import Video
from src.estimator import DepthEstimator
from src.files import whole_file
from src.viewing.figures import colour_depth, draw_depth, draw_legend, scale_max
from src.viewing.mp4 import write_video
from src.viewing.pointcloud import make_cloud, write_ply

VIDEO_HEIGHT_PX = 480


def main() -> None:
    options = parse_prediction(__doc__)
    inputs = find_inputs(options.inputs)
    machine = {"device": options.device, "amp": options.amp}
    estimator = open_network(options.checkpoint, options.weights, scale_m=options.scale_m, **machine)
    failed = 0
    named = list(zip(inputs, name_results(inputs), strict=True))
    for source, name in tqdm(named, **bar_options() | {"unit": " input", "disable": len(named) == 1}):
        predict = predict_video if isinstance(source, str) or is_video(source) else predict_photo
        try:
            predict(source, str(options.out / name), estimator, options)
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
        candidates = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
        names.append(next(name for name in candidates if name not in names))
    return names


def predict_photo(path: Path, out: str, estimator: DepthEstimator, options: Namespace) -> None:
    """Write a photo's depth as 16-bit PNG, NPY and figures, and a point cloud if asked."""
    photo = read_photo(path, fov_deg=options.fov)
    depth = estimator.estimate(photo)
    # A 16-bit PNG holds millimetres, or 1/65535 of the farthest point under the relative target.
    steps = np.rint(depth * (1000 if estimator.unit_m else 65535)).clip(0, 65535).astype(np.uint16)
    with whole_file(Path(f"{out}_depth.png")) as unfinished:
        Image.fromarray(steps).save(unfinished, format="PNG")
    with whole_file(Path(f"{out}_depth.npy")) as unfinished, unfinished.open("wb") as file:
        np.save(file, depth)
    draw_depth(depth, Path(f"{out}_colour.png"), unit=estimator.unit)
    draw_depth(depth, Path(f"{out}_pair.png"), photo=photo.image, unit=estimator.unit)
    scale = ""
    if options.pointcloud:
        depth_m, scale = put_in_metres(estimator, depth)
        write_ply(make_cloud(photo.image, depth_m, photo.camera), Path(f"{out}_cloud.ply"))
    low, median, high = np.percentile(depth[::8, ::8], (1, 50, 99))
    tqdm.write(
        f"{path}: {low:.2f} to {high:.2f}, median {median:.2f} {estimator.unit}; "
        f"focal length {photo.camera.fx_px:.0f} px ({photo.focal_from}){scale and f'; point cloud: {scale}'} -> {out}_*"
    )


def predict_video(source: Path | str, out: str, estimator: DepthEstimator, options: Namespace) -> None:
    """Write a video of the input beside its depth; of a damaged one, the frames before the damage."""
    frames = Video(source)
    is_webcam = isinstance(source, str)
    deadline = time.monotonic() + options.seconds if is_webcam and options.seconds else float("inf")
    bar = tqdm(frames, desc=frames.name, total=frames.count or None, **bar_options() | {"unit": " frame"})
    damage: UserError | None = None
    done = 0
    with write_video(Path(f"{out}_depth.mp4"), frames.fps) as append:
        try:
            for image, time_s in bar:
                small = shrink_image(image, round(image.shape[1] * VIDEO_HEIGHT_PX / image.shape[0]), VIDEO_HEIGHT_PX)
                depth = estimator.estimate(make_photo(small, fov_deg=options.fov))
                if not done:
                    # One colour scale for the whole video: the first frame's, and a quarter more.
                    vmax = 1.25 * scale_max(depth)
                    legend = draw_legend(vmax, VIDEO_HEIGHT_PX, unit=estimator.unit)
                append(np.concatenate([small, colour_depth(depth, vmax), legend], axis=1), time_s)
                done += 1
                if time.monotonic() > deadline:
                    break
        except UserError as error:
            damage = error
        except KeyboardInterrupt:
            if not is_webcam:
                raise
        if not done:
            raise damage or UserError(f"{frames.name}: holds no frame.")
    tqdm.write(f"{frames.name}: {done} frames -> {out}_depth.mp4")
    if damage:
        raise damage


if __name__ == "__main__":
    run(main)
