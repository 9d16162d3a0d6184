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
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from src.cli.data import bar_options
from src.cli.network import open_network, put_in_metres
from src.conventions import MOST_PNG_M, UserError
from src.data.frame import shrink_image
from src.data.photos import Photo, find_inputs, is_video, make_photo, read_photo
from src.data.video import Video
from src.estimator import DepthEstimator
from src.files import check_writable, whole_file
from src.viewing.figures import DepthMap, draw_depth, scale_max
from src.viewing.mp4 import write_video
from src.viewing.pointcloud import make_cloud, write_ply

T = TypeVar("T")
VIDEO_HEIGHT_PX = 480
RESULTS = ("depth.png", "colour.png", "depth.npy", "cloud.ply", "depth.mp4")  # how their names end
AHEAD = 2  # photos read before the network needs them, and as many written behind it: memory holds no more

Finish = Callable[[], str]  # waits for an input's results, and returns the line to print; raises UserError


def main() -> None:
    options = parse_prediction(__doc__)
    inputs = find_inputs(options.inputs)
    keep_inputs(inputs, options.out)
    check_writable(options.out)
    if options.pointcloud and all(isinstance(source, str) or is_video(source) for source in inputs):
        raise UserError(f"--pointcloud: got {inputs[0]}, expected a photo. Leave it out for videos.")
    estimator = open_network(options.checkpoint, options.weights, options)
    failed = 0
    pool = ThreadPoolExecutor(2 * AHEAD)
    try:
        work = delayed(predict_each(inputs, estimator, options, pool))
        for finish in tqdm(work, total=len(inputs), **bar_options() | {"unit": " input", "disable": len(inputs) == 1}):
            try:
                tqdm.write(finish())
            except UserError as error:
                tqdm.write(f"error: {error}", file=sys.stderr)
                failed += 1
    finally:
        pool.shutdown(cancel_futures=True)
    if failed:
        done = "; the others are done" if failed < len(inputs) else ""
        raise UserError(f"{failed} of {len(inputs)} inputs failed, named above{done}.")


def predict_each(
    inputs: Sequence[str | Path], estimator: DepthEstimator, options: Namespace, pool: Executor
) -> Iterator[Finish]:
    """Predict one photo after the other; threads read the next ones and write the last. A video waits for `Finish`."""
    read = partial(read_photo, fov_deg=options.fov)
    are_videos = [isinstance(source, str) or is_video(source) for source in inputs]
    readings = delayed(
        None if is_moving else pool.submit(read, source) for source, is_moving in zip(inputs, are_videos, strict=True)
    )
    for source, name, reading in zip(inputs, name_results(inputs), readings, strict=True):
        out = str(options.out / name)
        if reading is None:
            yield partial(predict_video, source, out, estimator, options)
        elif reading.exception():
            yield reading.result  # raises the exception
        else:
            photo = reading.result()
            yield pool.submit(write_results, source, photo, estimator.estimate(photo), out, estimator, options).result


def delayed(started: Iterable[T]) -> Iterator[T]:
    """Yield each item when `AHEAD` more have been started, or all."""
    waiting: deque[T] = deque()
    for item in started:
        waiting.append(item)
        if len(waiting) > AHEAD:
            yield waiting.popleft()
    yield from waiting


def name_results(inputs: Sequence[str | Path]) -> list[str]:
    """Name each input's results after it, with a number where two would share a name."""
    names: dict[str, None] = {}
    for source in inputs:
        stem = f"webcam{source}" if isinstance(source, str) else source.stem
        candidates = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
        names[next(name for name in candidates if name not in names)] = None
    return list(names)


def keep_inputs(inputs: Sequence[str | Path], folder: Path) -> None:
    """Refuse, before anything is written, results that would replace an input, or a file beside one, such as truth."""
    results = [(folder / f"{name}_{kind}").resolve() for name in name_results(inputs) for kind in RESULTS]
    paths = [source.resolve() for source in inputs if isinstance(source, Path)]
    is_beside = folder.resolve() in {path.parent for path in paths}
    for path in results:
        if path in paths or (is_beside and path.exists()):
            raise UserError(f"--out {folder}: results would replace {path.name} there. Name another folder.")


def write_results(
    path: Path, photo: Photo, depth: DepthMap, out: str, estimator: DepthEstimator, options: Namespace
) -> str:
    """Write a photo's depth as 16-bit PNG, NPY and a picture, and a point cloud if asked; describe it in a line."""
    # A 16-bit PNG holds millimetres, or 1/65535 of the farthest point under the relative target.
    steps = np.rint(depth * (1000 if estimator.unit_m else 65535)).clip(0, 65535).astype(np.uint16)
    picture = draw_depth(photo.image, depth, scale_max(depth), unit=estimator.unit)
    for kind, pixels in (("depth", steps), ("colour", picture)):
        with whole_file(Path(f"{out}_{kind}.png")) as unfinished:
            # Level 1 takes a quarter of the default's time, and a third more of the disk.
            Image.fromarray(pixels).save(unfinished, format="PNG", compress_level=1)
    with whole_file(Path(f"{out}_depth.npy")) as unfinished, unfinished.open("wb") as file:
        np.save(file, depth)
    scale = ""
    if options.pointcloud:
        depth_m, words = put_in_metres(estimator, depth)
        scale = words and f"; point cloud: {words}"
        write_ply(make_cloud(photo.image, depth_m, photo.camera), Path(f"{out}_cloud.ply"))
    if estimator.unit_m and depth.max() > MOST_PNG_M:
        scale += f"; the PNG ends at {MOST_PNG_M} m, the NPY does not"
    low, median, high = np.percentile(depth[::8, ::8], (1, 50, 99))
    return (
        f"{path}: {low:.2f} to {high:.2f}, median {median:.2f} {estimator.unit}; "
        f"focal length {photo.camera.fx_px:.0f} px ({photo.focal_from}){scale} -> {out}_*"
    )


def predict_video(source: Path | str, out: str, estimator: DepthEstimator, options: Namespace) -> str:
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
                depth = estimator.estimate(make_photo(small, fov_deg=options.fov, name=frames.name))
                if not done:
                    # One colour scale for the whole video: the first frame's, and a quarter more.
                    vmax = 1.25 * scale_max(depth)
                append(draw_depth(small, depth, vmax, unit=estimator.unit), time_s)
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
    line = f"{frames.name}: {done} frames{', no point cloud' * options.pointcloud} -> {out}_depth.mp4"
    if damage:
        tqdm.write(line)
        raise damage
    return line


if __name__ == "__main__":
    run(main)
