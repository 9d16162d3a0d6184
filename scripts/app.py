"""Serve a page on this machine: drop a photo, read metres under the cursor, rotate its point cloud.

    python scripts/app.py

Nothing leaves the machine, and no photo stays on its disk.
"""

from _root import ROOT, run

from src.cli.options import parse_page

if __name__ == "__main__":
    parse_page(__doc__)  # --help and usage errors are answered before the imports that take seconds

import html
import logging
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.cli.network import describe_network, open_network, put_in_metres
from src.conventions import UserError
from src.data.photos import Photo, make_photo, read_photo, shrink_photo
from src.estimator import DepthEstimator
from src.viewing.interactive import MAX_POINTS, cloud_figure, depth_figure, jpeg_data_url
from src.viewing.pointcloud import make_cloud
from src.viewing.ports import check_ports

EXAMPLES = sorted((ROOT / "src" / "viewing" / "examples").glob("room-*.jpg"))
MAX_SIDE_PX = 640  # larger photos are shrunk to this: the network takes at most 448 px, and a page shows no more

FOV_RANGE_DEG = 4, 170
FOV_SOURCES = {"EXIF": "from EXIF", "assumed": "assumed, since the file has none", "--fov": "as you set it"}
PRIVATE = {"share": False, "run_history": False, "footer_links": [], "css": ".modebar-btn--logo {display: none}"}
"""No tunnel, no photos kept by the browser, no links to other sites."""


def main() -> None:
    options = parse_page(__doc__)
    check_ports(options.host, options.port)
    estimator = open_network(options.checkpoint, options.weights, options)
    with TemporaryDirectory(prefix="depth-app-") as uploads:
        page = build_page(estimator, Path(uploads))
        server = {"server_name": options.host, "server_port": options.port, "prevent_thread_lock": True}
        page.launch(**server, **PRIVATE, max_file_size="20mb", state_session_capacity=50, quiet=True)
        print(f"page     {page.local_url} (Ctrl-C ends it)", flush=True)
        page.block_thread()


def build_page(estimator: DepthEstimator, uploads: Path) -> Any:
    """Build the page and connect its events."""
    # Gradio reads its upload folder when it is imported, and would ask the machine's proxy for its own page.
    os.environ.update(GRADIO_TEMP_DIR=str(uploads), NO_PROXY="*", no_proxy="*")
    import gradio as gr
    from gradio.data_classes import ImageData

    def show_upload(path: Path | None) -> tuple:
        """Read an uploaded photo, delete the file, and show the result."""
        try:
            photo = shrink_photo(read_photo(path), MAX_SIDE_PX) if path else None
        except UserError as error:
            gr.Warning(html.escape(str(error).replace(str(path), path.name)), duration=None)
            photo = None
        finally:
            if path and uploads in path.parents:
                shutil.rmtree(path.parent, ignore_errors=True)
        return show_photo(photo)

    def show_photo(photo: Photo | None) -> tuple:
        if photo is None:
            return None, None, gr.skip(), *predict(None)
        shown_deg = int(np.clip(round(photo.camera.fov_deg), *FOV_RANGE_DEG))
        return photo.image, photo, shown_deg, *predict(photo)

    def change_fov(photo: Photo | None, fov_deg: float) -> tuple:
        return predict(photo and make_photo(photo.image, fov_deg=fov_deg))

    def predict(photo: Photo | None) -> tuple:
        if photo is None:
            return "", None, None
        depth_m, scale = put_in_metres(estimator, estimator.estimate(photo))
        cloud = make_cloud(photo.image, depth_m, photo.camera, max_points=MAX_POINTS)
        return summarize_depth(photo, depth_m, scale), depth_figure(photo.image, depth_m), cloud_figure(cloud)

    gr.set_static_paths(EXAMPLES)
    samples = [[str(path)] for path in EXAMPLES]
    with gr.Blocks(title="Depth from one photo", analytics_enabled=False) as page:
        gr.Markdown(f"# Depth from one photo\nNetwork: {describe_network(estimator)}.")
        with gr.Row():
            with gr.Column(min_width=320):
                picture = gr.Image(label="Photo", height=420, buttons=[])
                examples = gr.Dataset(label="Or a generated room", components=["image"], samples=samples, type="index")
                info = "Along the longer side. From EXIF or assumed, unless you set it."
                fov = gr.Slider(*FOV_RANGE_DEG, 63, step=1, label="Field of view, degrees", info=info, buttons=[])
            with gr.Column(min_width=320):
                results = [gr.Markdown(), gr.Plot(show_label=False), gr.Plot(label="Drag to rotate, scroll to zoom")]
        photo = gr.State()
        # Gradio itself fails on a file that it cannot open, and writes to disk what it shows.
        picture.preprocess = lambda payload: Path(payload.path) if payload and payload.path else None
        picture.postprocess = lambda image: None if image is None else ImageData(url=jpeg_data_url(image))
        logging.getLogger("uvicorn.error").addFilter(is_not_deleted_upload)
        outputs = [picture, photo, fov, *results]
        one_at_a_time = {"concurrency_id": "network", "concurrency_limit": 1, "api_visibility": "private"}
        picture.input(show_upload, picture, outputs, show_progress_on=results, **one_at_a_time)
        examples.click(lambda index: show_photo(read_photo(EXAMPLES[index])), examples, outputs, **one_at_a_time)
        fov.release(change_fov, [photo, fov], results, **one_at_a_time)
    return page


def is_not_deleted_upload(record: logging.LogRecord) -> bool:
    """Filter out the server's errors about previews of uploads that are already deleted."""
    error = record.exc_info[1] if record.exc_info else None
    return not any(isinstance(cause, FileNotFoundError) for cause in (error, getattr(error, "__context__", None)))


def summarize_depth(photo: Photo, depth_m: NDArray[np.float32], scale: str) -> str:
    """Summarise a prediction in one line, and the scale if it was not predicted."""
    near, median, far = np.percentile(depth_m, (0, 50, 100))
    return (
        f"Nearest **{near:.2f} m**, median **{median:.2f} m**, farthest **{far:.2f} m**. "
        f"Field of view {photo.camera.fov_deg:.0f}° along the longer side, {FOV_SOURCES[photo.focal_from]}."
        f"{scale and f' **The scale is not measured: {scale}**, since this network predicts relative depth.'}"
    )


if __name__ == "__main__":
    run(main)
