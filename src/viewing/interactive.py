"""Interactive plotly figures: a depth map that shows metres under the cursor, and a point cloud to rotate."""

import base64
import io

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from src.viewing.figures import DEPTH_COLOURS, DepthMap, RGBImage
from src.viewing.pointcloud import Cloud

MAX_POINTS = 30_000  # of a larger cloud, evenly spaced ones are shown: a phone rotates more of them in jerks
DEPTH_SIDE_PX = 320
PHOTO_SIDE_PX = 640
"""Longest sides in the figure: the network predicts no finer depth, and a page or notebook stays small."""

VIEWPOINT = 0.15, -0.5, 0.2  # first eye: right of, ahead of and above the camera, in the cloud's median distances
GRID, UNKNOWN, TRANSPARENT = "rgb(160, 160, 160)", "rgb(191, 191, 191)", "rgba(0, 0, 0, 0)"

STYLE = {
    "template": "none",
    "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
    "paper_bgcolor": TRANSPARENT,
    "font": {"color": "gray"},
    "modebar": {"remove": ["toImage", "resetCameraLastSave3d", "tableRotation"], "bgcolor": TRANSPARENT},
}
"""No margin, and the background of the page, light or dark."""


def depth_figure(image: RGBImage, depth_m: DepthMap) -> go.Figure:
    """Show a photo (H, W, 3), its depth (h, w; 0 where unknown), or both; the cursor reads metres in each."""
    height, width = depth_m.shape
    stride = -(-max(height, width) // DEPTH_SIDE_PX)
    first = stride // 2
    known_m = np.where(depth_m > 0, depth_m, np.nan)[first::stride, first::stride]
    cells = {"x0": first, "dx": stride, "y0": first, "dy": stride}
    heatmap = go.Heatmap(
        z=known_m.astype(np.float32),
        **cells,
        zmin=0,
        zmax=float(np.nanpercentile(known_m, 99.5)) if np.isfinite(known_m).any() else 1.0,
        colorscale=[(x, "rgb({}, {}, {})".format(*DEPTH_COLOURS(x, bytes=True)[:3])) for x in np.linspace(0, 1, 33)],
        colorbar={"title": "m", "thickness": 12, "outlinewidth": 0, "len": 1, "xpad": 6},
        hovertemplate="%{z:.2f} m<extra></extra>",
        hoverongaps=False,
    )
    axis = {"visible": False, "fixedrange": True, "constrain": "domain"}
    figure = go.Figure(heatmap)
    figure.update_layout(
        **STYLE,
        xaxis={**axis, "range": (-0.5, width - 0.5)},
        yaxis={**axis, "range": (height - 0.5, -0.5), "scaleanchor": "x"},
        plot_bgcolor=UNKNOWN,
        hoverlabel={"font": {"size": 16}},
        dragmode=False,
        updatemenus=[_opacity_buttons({"depth": 1, "photo": 0, "both": 0.6})],
    )
    box = {"xref": "x", "yref": "y", "x": -0.5, "y": -0.5, "sizex": width, "sizey": height, "sizing": "stretch"}
    figure.add_layout_image(source=jpeg_data_url(image), layer="below", visible=False, **box)
    return figure


def cloud_figure(cloud: Cloud) -> go.Figure:
    """Show an upright cloud in the photo's colours from behind the camera; the cursor reads the depth of a point."""
    count = len(cloud.points_m)
    shown = np.linspace(0, count - 1, min(count, MAX_POINTS)).astype(int)
    points_m = cloud.points_m[shown].T[[0, 2, 1]] * np.array([[1], [1], [-1]], dtype=np.float32)
    right, ahead, up = points_m
    marker = {"size": 3, "color": [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in cloud.colours[shown]]}
    hover = "%{y:.2f} m<extra></extra>"
    scatter = go.Scatter3d(x=right, y=ahead, z=up, mode="markers", marker=marker, hovertemplate=hover)
    # The axes include the camera, at 0; this also gives a cloud without points a range.
    ranges = np.stack([points_m.min(axis=1, initial=0), points_m.max(axis=1, initial=0)], axis=1)
    spans = np.maximum(ranges[:, 1] - ranges[:, 0], 1e-3)
    centre, scale = ranges.mean(axis=1), spans.max()
    median_m = float(np.median(ahead)) if count else 1.0
    eye, target = (np.array(VIEWPOINT) * median_m - centre) / scale, (np.array([0, median_m, 0]) - centre) / scale
    camera = {"eye": _xyz(eye), "center": _xyz(target), "up": _xyz((0, 0, 1))}
    scene = {"aspectmode": "manual", "aspectratio": _xyz(spans / scale), "camera": camera}
    style = {"title": "", "ticksuffix": " m", "dtick": 1, "gridcolor": GRID, "zerolinecolor": GRID}
    for name, limits in _xyz(ranges).items():
        scene[f"{name}axis"] = {**style, "range": tuple(limits), "showbackground": False, "showspikes": False}
    figure = go.Figure(scatter)
    figure.update_layout(**STYLE, scene=scene)
    return figure


def jpeg_data_url(image: RGBImage) -> str:
    """Encode a photo, shrunk to `PHOTO_SIDE_PX`, as a data URL."""
    picture, content = Image.fromarray(image), io.BytesIO()
    picture.thumbnail((PHOTO_SIDE_PX, PHOTO_SIDE_PX))
    picture.save(content, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()


def _opacity_buttons(opacities: dict[str, float]) -> dict:
    """Set the depth's opacity over the photo; the photo is hidden at 1, so that unknown pixels are grey."""
    buttons = [
        {"label": label, "method": "update", "args": [{"opacity": opacity}, {"images[0].visible": opacity < 1}]}
        for label, opacity in opacities.items()
    ]
    position = {"x": 0, "y": 0, "xanchor": "left", "yanchor": "top", "pad": {"t": 6}}
    return {"type": "buttons", "direction": "right", "showactive": True, "buttons": buttons, **position}


def _xyz(values: np.ndarray | tuple) -> dict:
    return dict(zip("xyz", values, strict=True))
