"""Rerun recordings (.rrd): clouds of truth and prediction side by side in one scene, and their pictures below."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rerun as rr
import rerun.blueprint as rrb

from src.conventions import Intrinsics, UserError
from src.files import whole_file
from src.viewing.figures import MAX_ERROR, DepthMap, RGBImage, scale_max
from src.viewing.pointcloud import Cloud, make_cloud

DEPTH_COLOURS = rr.components.Colormap.Magma  # near is bright, as in the figures: the depth range runs from far to 0
ERROR_COLOURS = rr.components.Colormap.Viridis
MAX_POINTS = 100_000  # of a cloud: every second row and column of an NYU frame, which a browser renders smoothly
SPACING = 1.08  # distance between the two clouds, in widths of a cloud
SHADING: dict[str, Any] = {"point_shading": "flat"} if hasattr(rr.components, "PointShading") else {}
"""Points without dark rims, which form patterns on walls; Rerun before 0.41 has no such option."""


class PredictedFrame(NamedTuple):
    """A frame to record; its photo and its maps have one size."""

    title: str
    image: RGBImage
    camera: Intrinsics
    prediction_m: DepthMap
    truth_m: DepthMap | None = None  # 0 where unknown
    scale: str = ""  # where the metres of a relative network come from


def write_recording(frames: Iterable[PredictedFrame], path: Path) -> int:
    """Write a recording with one step of the timeline `frame` per frame, and return their number.

    **Raises**: UserError when there is no frame or the file cannot be written; an earlier file is then untouched.
    """
    extents_m: list[tuple[float, float]] = []
    with whole_file(path) as unfinished:
        stream = rr.RecordingStream("bifpn-depth")
        # Rerun's own file sink hangs when the disk is full, so Python writes the bytes.
        buffer = rr.binary_stream(stream)
        try:
            stream.log("world", rr.ViewCoordinates.RDF, static=True)
            for step, frame in enumerate(frames):
                stream.set_time("frame", sequence=step)
                extents_m.append(log_frame(stream, frame))
            if extents_m:
                names = ["prediction"] if frame.truth_m is None else ["truth", "prediction"]
                stream.send_blueprint(make_blueprint(names, *np.max(extents_m, axis=0)))
        finally:
            content = buffer.read() or b""  # Rerun warns about bytes that are never read
        if not extents_m:
            raise UserError(f"{path}: not written, since there is no frame to show.")
        unfinished.write_bytes(content)
    return len(extents_m)


def log_frame(stream: rr.RecordingStream, frame: PredictedFrame) -> tuple[float, float]:
    """Log a frame's photo, depth maps and clouds at the current time; return the clouds' extent."""
    maps_m = {} if frame.truth_m is None else {"truth": frame.truth_m}
    maps_m["prediction"] = frame.prediction_m
    far_m = max(scale_max(depth_m) for depth_m in maps_m.values())
    clouds = [make_cloud(frame.image, depth_m, frame.camera, max_points=MAX_POINTS) for depth_m in maps_m.values()]
    width_m, depth_m = measure_extent(clouds)
    # Rerun's pixel coordinates start at the corner of the first pixel, ours at its centre.
    pinhole = rr.Pinhole(
        focal_length=[frame.camera.fx_px, frame.camera.fy_px],
        principal_point=[frame.camera.cx_px + 0.5, frame.camera.cy_px + 0.5],
        resolution=[frame.camera.width_px, frame.camera.height_px],
        image_plane_distance=far_m / 20,
    )
    for index, (name, map_m) in enumerate(maps_m.items()):
        centre_m = SPACING * width_m * (index - (len(clouds) - 1) / 2)
        stream.log(f"world/{name}", rr.Transform3D(translation=[centre_m, 0, 0]))
        label = f"{name}, {frame.scale}" if frame.scale and name == "prediction" else name
        log_cloud(stream, f"world/{name}", label, clouds[index], frame.camera)
        stream.log(f"world/{name}/camera", pinhole)
        known_m = np.where(map_m > 0, map_m, np.nan).astype(np.float32)
        depth_image = rr.DepthImage(known_m, meter=1.0, colormap=DEPTH_COLOURS, depth_range=(far_m, 0))
        stream.log(f"world/{name}/camera/depth", depth_image)
    # Not as JPEG: Rerun treats a series of JPEGs as a video, whose frames must all have one size.
    stream.log("world/prediction/camera/photo", rr.Image(frame.image))
    lines = [f"**{frame.title}**", f"Depth: colours from 0 to {far_m:.1f} m"]
    lines += [f"Relative network: {frame.scale}"] if frame.scale else []
    if frame.truth_m is not None:
        valid = frame.truth_m > 0
        error_m = np.where(valid, np.abs(frame.prediction_m - frame.truth_m), np.nan).astype(np.float32)
        error_image = rr.DepthImage(error_m, meter=1.0, colormap=ERROR_COLOURS, depth_range=(0, MAX_ERROR))
        stream.log("world/prediction/camera/error", error_image)
        mean_m = float(error_m[valid].mean()) if valid.any() else float("nan")
        lines += [f"Error: colours from 0 to {MAX_ERROR:.0f} m", f"Mean error: {mean_m:.2f} m"]
    stream.log("about", rr.TextDocument("\n\n".join(lines), media_type=rr.MediaType.MARKDOWN))
    return width_m, depth_m


def measure_extent(clouds: Sequence[Cloud]) -> tuple[float, float]:
    """Return the largest width and the largest depth of the clouds, outliers excluded, in metres."""
    boxes = [np.percentile(cloud.points_m, (1, 99), axis=0) for cloud in clouds if len(cloud.points_m)]
    if not boxes:
        return 1.0, 1.0
    return max(float(high[0] - low[0]) for low, high in boxes), max(float(high[2]) for _, high in boxes)


def log_cloud(stream: rr.RecordingStream, entity: str, label: str, cloud: Cloud, camera: Intrinsics) -> None:
    """Log a cloud in its camera's frame, with a label above it."""
    _, y, z = cloud.points_m.T
    stride_px = max(1.0, math.sqrt(camera.width_px * camera.height_px / MAX_POINTS))
    # A point's radius is the distance to its neighbour, so that a wall looks closed even from the side.
    stream.log(entity, rr.Points3D(cloud.points_m, colors=cloud.colours, radii=stride_px * z / camera.fx_px, **SHADING))
    above = [0.0, 1.1 * float(np.percentile(y, 1)), float(np.median(z))] if len(z) else [0.0, 0.0, 0.0]
    text = rr.Points3D([above], labels=[label], colors=[(128, 128, 128)], radii=0.0, show_labels=True)
    stream.log(f"{entity}/label", text)


def make_blueprint(names: Sequence[str], width_m: float, depth_m: float) -> rrb.Blueprint:
    """Lay out the viewer: the scene from behind the cameras, at the extent of all frames, and its pictures below."""
    # Without the depth images: below a pinhole, Rerun would draw them as clouds too.
    contents = [f"+ world/{name}{part}" for name in names for part in ("", "/label", "/camera")]
    position, target = (0.0, -0.25 * width_m, -0.3 * depth_m), (0.0, 0.0, 0.7 * depth_m)
    eye = rrb.EyeControls3D(position=position, look_target=target, eye_up=(0.0, -1.0, 0.0))
    title = " and ".join(names)
    scene = rrb.Spatial3DView(origin="world", name=title, contents=contents, line_grid=False, eye_controls=eye)
    entities = {"photo": "prediction/camera/photo", **{name: f"{name}/camera/depth" for name in names}}
    if "truth" in names:
        entities["absolute error"] = "prediction/camera/error"
    pictures = [rrb.Spatial2DView(origin=f"world/{entity}", name=name) for name, entity in entities.items()]
    row = rrb.Horizontal(*pictures, rrb.TextDocumentView(origin="about", name="frame"))
    return rrb.Blueprint(
        rrb.Vertical(scene, row, row_shares=[5, 2]),
        rrb.TimePanel(state="collapsed", timeline="frame", fps=1.0, play_state="paused"),
        rrb.BlueprintPanel(state="hidden"),
        rrb.SelectionPanel(state="hidden"),
    )
