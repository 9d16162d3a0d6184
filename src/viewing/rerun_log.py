"""Frames as a Rerun recording: clouds of truth and prediction side by side in one scene, and their pictures below.

**Source**: https://rerun.io/docs; a recording (.rrd) opens in the viewer that `rerun-sdk` brings.
"""

from __future__ import annotations

import contextlib
import math
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import rerun as rr
import rerun.blueprint as rrb
import rerun_cli  # type: ignore[import-untyped]
from numpy.typing import NDArray

from src.conventions import Intrinsics, UserError
from src.files import whole_file
from src.viewing.figures import LARGEST_ERROR, far_end
from src.viewing.pointcloud import Cloud, make_cloud

APPLICATION = "bifpn-depth"
HOST = "127.0.0.1"
"""Recordings show people's homes: nothing outside this machine is served."""

DEPTH_COLOURS = rr.components.Colormap.Magma
"""As in the figures: near is bright, far is dark, by a range that runs from far to 0."""
ERROR_COLOURS = rr.components.Colormap.Viridis
POINTS = 100_000
"""Of a cloud at most: every other pixel of NYU's in each direction, and a browser stays swift."""

FLAT: dict[str, Any] = {"point_shading": "flat"} if hasattr(rr.components, "PointShading") else {}
"""Points without dark rims, which make patterns on walls; Rerun before 0.41 knows no other."""

LABEL = (128, 128, 128)
GAP = 1.08
"""Two clouds stand this many widths apart."""


class Shot(NamedTuple):
    """One frame to record.

    **Shape**: image (H, W, 3) uint8; prediction_m and truth_m (H, W); truth_m 0 where unknown, None for a mere photo.
    **Units**: metres; `camera` is one of frames of that size.
    """

    title: str
    image: NDArray[np.uint8]
    camera: Intrinsics
    prediction_m: NDArray[np.float32]
    truth_m: NDArray[np.float32] | None = None


def record(shots: Iterable[Shot], path: Path) -> int:
    """Write a recording with one step of the timeline `frame` per shot, and count them.

    **Raises**: UserError when there is no shot, or the disk refuses; an earlier file of that name is then untouched.
    """
    count, width_m, depth_m = 0, 0.0, 0.0
    with whole_file(path) as unfinished:
        stream = rr.RecordingStream(APPLICATION)
        # Rerun's own file sink waits for ever when the disk is full, so the bytes pass through Python.
        buffer = rr.binary_stream(stream)
        try:
            stream.log("world", rr.ViewCoordinates.RDF, static=True)
            for count, shot in enumerate(shots, start=1):
                stream.set_time("frame", sequence=count - 1)
                clouds = log_shot(stream, shot)
                width_m, depth_m = np.maximum((width_m, depth_m), spread(clouds))
            if count:
                stream.send_blueprint(lay_out(list(clouds), width_m, depth_m))
        finally:
            # Rerun complains of bytes that nobody reads.
            content = buffer.read() or b""
        if not count:
            raise UserError(f"{path}: not written, since there is no frame to show.")
        unfinished.write_bytes(content)
    return count


def log_shot(stream: rr.RecordingStream, shot: Shot) -> dict[str, Cloud]:
    """Log one frame's photo, maps and clouds at the time that is set, and give the clouds by name."""
    maps = {"prediction": shot.prediction_m}
    if shot.truth_m is not None:
        maps = {"truth": shot.truth_m, **maps}
    far = max(far_end(depth_m) for depth_m in maps.values())
    clouds = {name: make_cloud(shot.image, depth_m, shot.camera, most=POINTS) for name, depth_m in maps.items()}
    for (name, depth_m), centre_m in zip(maps.items(), place(clouds), strict=True):
        entity = f"world/{name}"
        stream.log(entity, rr.Transform3D(translation=[centre_m, 0, 0]))
        log_cloud(stream, entity, clouds[name], shot.camera)
        stream.log(f"{entity}/camera", as_pinhole(shot.camera, far))
        known_m = np.where(depth_m > 0, depth_m, np.nan).astype(np.float32)
        colours = rr.DepthImage(known_m, meter=1.0, colormap=DEPTH_COLOURS, depth_range=(far, 0))
        stream.log(f"{entity}/camera/depth", colours)
    # Not as JPEG: Rerun takes a row of those for a film, whose frames must not change in size.
    stream.log("world/prediction/camera/photo", rr.Image(shot.image))
    about = [f"**{shot.title}**", f"Depth: colours from 0 to {far:.1f} m"]
    if shot.truth_m is not None:
        known = shot.truth_m > 0
        error_m = np.where(known, np.abs(shot.prediction_m - shot.truth_m), 0).astype(np.float32)
        wrong = rr.DepthImage(error_m, meter=1.0, colormap=ERROR_COLOURS, depth_range=(0, LARGEST_ERROR))
        stream.log("world/prediction/camera/error", wrong)
        mean_m = float(error_m[known].mean()) if known.any() else float("nan")
        about += [f"Error: colours from 0 to {LARGEST_ERROR:.0f} m", f"Mean error: {mean_m:.2f} m"]
    stream.log("about", rr.TextDocument("\n\n".join(about), media_type=rr.MediaType.MARKDOWN))
    return clouds


def place(clouds: dict[str, Cloud]) -> list[float]:
    """Stand clouds side by side around X = 0: where each one's camera comes, in metres."""
    step_m = GAP * spread(clouds)[0]
    return [step_m * (index - (len(clouds) - 1) / 2) for index in range(len(clouds))]


def spread(clouds: dict[str, Cloud]) -> tuple[float, float]:
    """Measure how wide the widest cloud is and how deep the deepest, but for single stray points, in metres."""
    boxes = [np.percentile(cloud.points_m, (1, 99), axis=0) for cloud in clouds.values() if len(cloud.points_m)]
    if not boxes:
        return 1.0, 1.0
    return max(float(high[0] - low[0]) for low, high in boxes), max(float(high[2]) for _, high in boxes)


def log_cloud(stream: rr.RecordingStream, entity: str, cloud: Cloud, camera: Intrinsics) -> None:
    """Log a cloud in its camera's frame, each point as large as its share of the view, and its name above it."""
    z = cloud.points_m[:, 2]
    between_px = max(1.0, math.sqrt(camera.width_px * camera.height_px / POINTS))
    # As large as the way to the next point, so that a wall looks closed even from the side.
    radii_m = between_px * z / camera.fx_px
    stream.log(entity, rr.Points3D(cloud.points_m, colors=cloud.colours, radii=radii_m, **FLAT))
    above = (
        [0.0, 1.1 * float(np.percentile(cloud.points_m[:, 1], 1)), float(np.median(z))] if len(z) else [0.0, 0.0, 0.0]
    )
    label = rr.Points3D([above], labels=[entity.split("/")[-1]], colors=[LABEL], radii=0.0, show_labels=True)
    stream.log(f"{entity}/label", label)


def as_pinhole(camera: Intrinsics, far_m: float) -> rr.Pinhole:
    """Describe a camera to Rerun, which puts (0, 0) at the corner of the first pixel where we put its centre."""
    matrix = [[camera.fx_px, 0, camera.cx_px + 0.5], [0, camera.fy_px, camera.cy_px + 0.5], [0, 0, 1]]
    return rr.Pinhole(
        image_from_camera=np.array(matrix),
        resolution=[camera.width_px, camera.height_px],
        image_plane_distance=far_m / 20,
    )


def lay_out(names: Sequence[str], width_m: float, depth_m: float) -> rrb.Blueprint:
    """Lay out the viewer: the scene large, seen from behind the cameras, and the flat pictures below.

    A camera's picture is as large as its view whatever the distance, so an eye that stands behind the cameras for
    the widest and deepest frame sees the others well enough.
    """
    # Depth images under a pinhole would draw themselves as clouds once more.
    shown = [f"+ world/{name}{part}" for name in names for part in ("", "/label", "/camera")]
    scene = rrb.Spatial3DView(
        origin="world",
        name="truth and prediction" if "truth" in names else "prediction",
        contents=shown,
        line_grid=False,
        eye_controls=rrb.EyeControls3D(
            position=(0.0, -0.25 * width_m, -0.3 * depth_m),
            look_target=(0.0, 0.0, 0.7 * depth_m),
            eye_up=(0.0, -1.0, 0.0),
        ),
    )
    pictures = [("photo", "prediction/camera/photo")]
    pictures += [(name, f"{name}/camera/depth") for name in names]
    if "truth" in names:
        pictures.append(("absolute error", "prediction/camera/error"))
    flat = [rrb.Spatial2DView(origin=f"world/{entity}", name=name) for name, entity in pictures]
    row = rrb.Horizontal(*flat, rrb.TextDocumentView(origin="about", name="frame"))
    below = rrb.TimePanel(state="collapsed", timeline="frame", fps=1.0, play_state="paused")
    side = rrb.BlueprintPanel(state="hidden"), rrb.SelectionPanel(state="hidden")
    return rrb.Blueprint(rrb.Vertical(scene, row, row_shares=[5, 2]), below, *side)


def open_window(path: Path) -> None:
    """Show a recording in Rerun's own window until that is closed.

    **Raises**: UserError when no window can be opened.
    """
    with viewer("--bind", HOST, path) as process:
        _, said = process.communicate()
    if process.returncode:
        raise UserError(f"Rerun's window did not open ({last_words(said)}). Take --web, or --save a recording.")


def serve(path: Path, port: int) -> None:
    """Serve a recording to browsers on this machine until Ctrl-C: the page on `port`, its data on the next one.

    **Raises**: UserError when a port is taken.
    """
    check_ports(port)
    ports = "--web-viewer-port", str(port), "--port", str(port + 1)
    with viewer("--serve-web", "--bind", HOST, *ports, "--server-memory-limit", "75%", path) as process:
        while process.poll() is None and not listens(port):
            time.sleep(0.1)
        data = quote(f"rerun+http://{HOST}:{port + 1}/proxy", safe="")
        if process.poll() is None:
            print(f"serving http://{HOST}:{port}/?url={data} until Ctrl-C", flush=True)
        _, said = process.communicate()
    raise UserError(f"the web viewer ended ({last_words(said)}).")


def check_ports(port: int) -> None:
    """Refuse a port that is taken, or whose next one is, since Rerun itself says nothing.

    **Raises**: UserError when one of them is.
    """
    for number in (port, port + 1):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, number))
            except OSError as error:
                raise UserError(f"port {number}: {error.strerror}. Name another with --port.") from None


@contextlib.contextmanager
def viewer(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Run Rerun's own program, and end it when the block ends or this process is told to."""
    # Not the wrapper `rerun` on the path: a signal would end that and leave the program behind it.
    names = ("rerun", "rerun.exe", "Rerun.app/Contents/MacOS/Rerun")
    places = [Path(rerun_cli.__file__).parent / name for name in names]
    program = next((place for place in places if place.is_file()), None)
    if program is None:
        raise UserError("rerun-sdk came without its viewer. Install it anew: pip install --force-reinstall rerun-sdk")
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with subprocess.Popen([program, *arguments], text=True, **quiet) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.terminate()
            signal.signal(signal.SIGTERM, before)


def listens(port: int) -> bool:
    """Tell whether anything answers on a port of this machine."""
    with socket.socket() as caller:
        return caller.connect_ex((HOST, port)) == 0


def last_words(said: str) -> str:
    """Take from what a program said the end of its last line, without the places in its source."""
    return said.strip().rpartition("\n")[2].rpartition(": ")[2].rstrip(".") or "it said nothing"
