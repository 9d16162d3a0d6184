"""Open a page on this machine: drop a photo, read metres under the cursor, turn its points in space.

    python scripts/app.py

Nothing leaves the machine, and no photo stays on its disk.
"""

from __future__ import annotations

from _root import ROOT, run

from src.cli.options import parse_page

if __name__ == "__main__":
    parse_page(__doc__)  # --help and usage errors are answered before the imports that take seconds

import html
import logging
import math
import os
import shutil
import signal
import socket
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.cli.network import describe_network, open_network
from src.conventions import UserError
from src.data.photos import Photo, make_photo, read_photo, shrink_photo
from src.estimator import DepthEstimator
from src.viewing.pointcloud import make_cloud

EXAMPLES = sorted((ROOT / "src" / "viewing" / "examples").glob("room-*.jpg"))
SIDE_PX = 640
"""Larger photos are shrunk to this: the network takes at most 448 px, and a page shows no more."""

FOV_DEG = 20, 120
ORIGINS = {"EXIF": "as its EXIF says", "assumed": "assumed, since the file says none", "--fov": "as you set it"}
AT_HOME = {"share": False, "run_history": False, "footer_links": [], "css": ".modebar-btn--logo {display: none}"}
"""No tunnel, no photos kept by the browser, no links to elsewhere."""


def main() -> None:
    options = parse_page(__doc__)
    claim(options.host, options.port)
    estimator = open_network(options.checkpoint, options.weights, device=options.device, amp=options.amp)
    if estimator.unit_m is None:
        raise UserError(f"{estimator.name}: learnt relative depth, and the page shows metres. Take another checkpoint.")
    # A termination ends the page as Ctrl-C does: by leaving this block, which empties the disk.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with TemporaryDirectory(prefix="depth-app-") as uploads:
        page = build_page(estimator, Path(uploads))
        place = {"server_name": options.host, "server_port": options.port, "prevent_thread_lock": True}
        page.launch(**place, **AT_HOME, max_file_size="20mb", state_session_capacity=50, quiet=True)
        print(f"page     {page.local_url} (Ctrl-C ends it)", flush=True)
        page.block_thread()


def claim(host: str, port: int) -> None:
    """Make sure that the port is free, before anything slow is begun."""
    try:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
    except OSError as error:
        raise UserError(f"--host {host} --port {port}: {error.strerror}. Name another --port.") from None


def build_page(estimator: DepthEstimator, uploads: Path) -> Any:
    """Lay out the page and wire it.

    **Raises**: UserError when Gradio or plotly is not installed.
    """
    # Gradio reads where uploads go when it is imported, and asks the machine's proxy for its own page.
    os.environ.update(GRADIO_TEMP_DIR=str(uploads), NO_PROXY="*", no_proxy="*")
    try:
        import gradio as gr
        from gradio.data_classes import ImageData

        from src.viewing.interactive import MOST_POINTS, as_jpeg, cloud_figure, depth_figure
    except ImportError as error:
        raise UserError(f"{error.name} is not installed. Run: pip install -r requirements.txt") from None

    def take(path: Path | None) -> tuple:
        """Read what was dropped, and remove it."""
        try:
            photo = shrink_photo(read_photo(path), SIDE_PX) if path else None
        except UserError as error:
            gr.Warning(html.escape(str(error).replace(str(path), path.name)), duration=None)
            photo = None
        finally:
            if path and uploads in path.parents:
                shutil.rmtree(path.parent, ignore_errors=True)
        return show(photo)

    def show(photo: Photo | None) -> tuple:
        image, fov_deg = (photo.image, round(angle_deg(photo))) if photo else (None, gr.skip())
        return image, photo, fov_deg, *answer(photo)

    def answer(photo: Photo | None) -> tuple:
        if photo is None:
            return "", None, None
        depth_m = estimator.estimate(photo)
        cloud = make_cloud(photo.image, depth_m, photo.camera, most=MOST_POINTS)
        return describe(photo, depth_m), depth_figure(photo.image, depth_m), cloud_figure(cloud)

    def widen(photo: Photo | None, fov_deg: float) -> tuple:
        return answer(photo and make_photo(photo.image, fov_deg=fov_deg))

    gr.set_static_paths(EXAMPLES)
    samples = [[str(path)] for path in EXAMPLES]
    with gr.Blocks(title="Depth from one photo", analytics_enabled=False) as page:
        gr.Markdown(f"# Depth from one photo\nNetwork: {describe_network(estimator)}.")
        with gr.Row():
            with gr.Column(min_width=320):
                picture = gr.Image(label="Photo", height=420, buttons=[])
                examples = gr.Dataset(label="Or a generated room", components=["image"], samples=samples, type="index")
                info = "Along the longer side. From EXIF or assumed, unless you set it."
                fov = gr.Slider(*FOV_DEG, label="Field of view, degrees", info=info, step=1, value=63, buttons=[])
            with gr.Column(min_width=320):
                summary = gr.Markdown()
                depth = gr.Plot(show_label=False)
                cloud = gr.Plot(label="Drag to turn, scroll to come closer")
        photo = gr.State()
        # Gradio itself would stop at a file that it cannot open, and write to disk what it shows.
        picture.preprocess = lambda payload: Path(payload.path) if payload and payload.path else None
        picture.postprocess = lambda image: None if image is None else ImageData(url=as_jpeg(image))
        logging.getLogger("uvicorn.error").addFilter(is_news)
        answers = [summary, depth, cloud]
        everything = [picture, photo, fov, *answers]
        # One network, one prediction at a time.
        alone = {"concurrency_id": "network", "concurrency_limit": 1, "api_visibility": "private"}
        picture.input(take, picture, everything, show_progress_on=answers, **alone)
        examples.click(lambda index: show(read_photo(EXAMPLES[index])), examples, everything, **alone)
        fov.release(widen, [photo, fov], answers, **alone)
    return page


def angle_deg(photo: Photo) -> float:
    """Say how wide the camera sees along its longer side."""
    camera = photo.camera
    return math.degrees(2 * math.atan(max(camera.width_px / camera.fx_px, camera.height_px / camera.fy_px) / 2))


def is_news(record: logging.LogRecord) -> bool:
    """Tell other errors of the server from a browser's wish to preview an upload that is gone by now."""
    error = record.exc_info[1] if record.exc_info else None
    return not any(isinstance(one, FileNotFoundError) for one in (error, getattr(error, "__context__", None)))


def describe(photo: Photo, depth_m: NDArray[np.float32]) -> str:
    """Put the answer into a line."""
    near, middle, far = np.percentile(depth_m, (0, 50, 100))
    return (
        f"Nearest **{near:.2f} m**, median **{middle:.2f} m**, farthest **{far:.2f} m**. "
        f"Field of view {angle_deg(photo):.0f}° along the longer side, {ORIGINS[photo.focal_from]}."
    )


if __name__ == "__main__":
    run(main)
