"""Show truth and prediction as point clouds side by side, with photo, depth and error: a Rerun recording.

python scripts/visualize.py runs/…/best.pt --data nyu --save nyu.rrd
"""

from _root import run

from src.cli.options import parse_visualization

if __name__ == "__main__":
    parse_visualization(__doc__)  # --help and usage errors are answered before the imports that take seconds

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from src.cli.data import announce, bar_options
from src.cli.network import choose_split, open_its_data, open_network, put_in_metres
from src.cli.resume import shell_line
from src.conventions import Pairs, UserError
from src.data.frame import shrink_depth
from src.data.photos import Photo, find_inputs, is_video, read_photo, shrink_photo
from src.estimator import DepthEstimator
from src.files import check_file
from src.viewing.ports import check_ports
from src.viewing.recording import PredictedFrame, write_recording
from src.viewing.rerun_viewer import HOST, open_window, serve

MAX_SIDE_PX = 1024  # larger photos and frames are shrunk to this: the network sees less than half of it

Reader = Callable[[], tuple[Photo, np.ndarray | None]]  # reads a photo, and its true depth in metres where it has one


def main() -> None:
    options = parse_visualization(__doc__)
    photos = find_inputs(options.photos) if options.photos else []
    for source in photos:
        if isinstance(source, str) or is_video(source):
            raise UserError(f"{source}: got a video or webcam, expected photos. Use scripts/predict.py.")
    if options.save:
        check_file(options.save, "--save")
    if options.web:
        check_ports(HOST, options.port, options.port + 1)
    estimator = open_network(options.checkpoint, options.weights, options)
    readers: list[tuple[str, Reader]] = [(path.name, partial(read_small, path, options.fov)) for path in photos]
    if not photos:
        data = open_its_data(estimator.about, options)
        pairs = announce(data.open(choose_split(options.split, data, estimator.about), options.limit))
        for index in sorted({len(pairs) * number // options.frames for number in range(options.frames)}):
            readers.append((pairs.names[index], partial(read_pair, pairs, index)))
    frames = predict_frames(readers, estimator)
    with tempfile.TemporaryDirectory() as folder:
        path = options.save or Path(folder if options.spawn or options.web else "") / "visualization.rrd"
        count = write_recording(frames, path)
        if options.web:
            serve(path, options.port)
        elif options.spawn:
            open_window(path)
        else:
            print(f"recording  {path}  ({path.stat().st_size / 1e6:.1f} MB); open it with: {shell_line('rerun', path)}")
    if failed := len(readers) - count:
        raise UserError(f"{failed} of {len(readers)} frames failed, named above; the others are done.")


def predict_frames(readers: Sequence[tuple[str, Reader]], estimator: DepthEstimator) -> Iterator[PredictedFrame]:
    """Predict each titled frame; report and skip those that cannot be read."""
    for title, read in tqdm(readers, desc="predicting", **bar_options()):
        try:
            photo, truth_m = read()
        except UserError as error:
            tqdm.write(f"error: {error}", file=sys.stderr)
            continue
        depth_m, scale = put_in_metres(estimator, estimator.estimate(photo), truth_m)
        if scale:
            tqdm.write(f"{title}: {scale}")
        yield PredictedFrame(title, photo.image, photo.camera, depth_m, truth_m, scale)


def read_small(path: Path, fov_deg: float | None) -> tuple[Photo, None]:
    return shrink_photo(read_photo(path, fov_deg=fov_deg), MAX_SIDE_PX), None


def read_pair(pairs: Pairs, index: int) -> tuple[Photo, np.ndarray]:
    frame = pairs[index]
    photo = shrink_photo(Photo(frame.image, frame.camera, "data"), MAX_SIDE_PX)
    return photo, shrink_depth(frame.depth_m, frame.valid, photo.camera.width_px, photo.camera.height_px)


if __name__ == "__main__":
    run(main)
