"""Show truth and prediction as point clouds side by side, with photo, depth and error: a Rerun recording.

python scripts/visualize.py runs/…/best.pt --data nyu --save nyu.rrd
"""

from __future__ import annotations

from _root import run

from src.cli.options import parse_visualization

if __name__ == "__main__":
    parse_visualization(__doc__)  # --help and usage errors are answered before the imports that take seconds

import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from src.cli.data import bar_options
from src.cli.network import open_its_data, open_network
from src.conventions import NYU_INTRINSICS, UserError
from src.data.photos import Photo, find_inputs, is_video, make_photo, read_photo, shrink_photo
from src.estimator import DepthEstimator
from src.viewing.rerun_log import Shot, check_ports, open_window, record, serve

LARGEST_PX = 1024
"""A photo's longer side in a recording: the network sees less than half of it."""


def main() -> None:
    options = parse_visualization(__doc__)
    photos = find_photos(options.photos) if options.photos else []
    if options.web:
        check_ports(options.port)
    estimator = open_network(options.checkpoint, options.weights, device=options.device, amp=options.amp)
    if estimator.unit_m is None:
        raise UserError(f"{estimator.name}: learnt relative depth, and a cloud needs metres. Take another checkpoint.")
    failed: list[str] = []
    shots = shoot_photos(photos, estimator, options, failed) if photos else shoot_frames(estimator, options, failed)
    if options.spawn or options.web:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "visualization.rrd"
            count = record(shots, path)
            if options.web:
                serve(path, options.port)
            else:
                open_window(path)
    else:
        path = options.save or Path("visualization.rrd")
        count = record(shots, path)
        print(f"recording  {path}  ({path.stat().st_size / 1e6:.1f} MB); open it with: rerun {path}")
    if failed:
        raise UserError(f"{len(failed)} of {count + len(failed)} frames failed, named above; the others are done.")


def find_photos(words: list[str]) -> list[Path]:
    """Find the photos that the words name.

    **Raises**: UserError when a film or a webcam is among them.
    """
    photos = []
    for found in find_inputs(words):
        if isinstance(found, str) or is_video(found):
            raise UserError(f"{found}: got a film or webcam, expected photos. Films go to scripts/predict.py.")
        photos.append(found)
    return photos


def shoot_photos(
    photos: list[Path], estimator: DepthEstimator, options: Namespace, failed: list[str]
) -> Iterator[Shot]:
    """Estimate each photo; what cannot be read is named, and noted in `failed`."""
    for path in tqdm(photos, desc="estimating", **bar_options()):
        try:
            photo = shrink_photo(read_photo(path, fov_deg=options.fov), LARGEST_PX)
        except UserError as error:
            tqdm.write(f"error: {error}", file=sys.stderr)
            failed.append(str(path))
            continue
        yield Shot(path.name, photo.image, photo.camera, estimator.estimate(photo))


def shoot_frames(estimator: DepthEstimator, options: Namespace, failed: list[str]) -> Iterator[Shot]:
    """Estimate frames of a data set, evenly spread; what cannot be read is named, and noted in `failed`."""
    data = open_its_data(estimator.about, options)
    pairs = data.open(options.split, options.limit)
    chosen = sorted({len(pairs) * place // options.frames for place in range(options.frames)})
    for index in tqdm(chosen, desc="estimating", **bar_options()):
        try:
            frame = pairs[index]
        except UserError as error:
            tqdm.write(f"error: {error}", file=sys.stderr)
            failed.append(pairs.names[index])
            continue
        if data.kind == "csv":
            photo = make_photo(frame.image, fov_deg=options.fov)
        else:
            # Rooms are seen through NYU's camera too, some at a smaller size.
            height, width = frame.depth_m.shape
            photo = Photo(frame.image, NYU_INTRINSICS.resized(width, height), data.kind)
        known_m = frame.depth_m * frame.valid
        yield Shot(pairs.names[index], frame.image, photo.camera, estimator.estimate(photo), known_m)


if __name__ == "__main__":
    run(main)
