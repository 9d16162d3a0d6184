"""Figures to point at and to turn: a depth map that says metres under the cursor, and a cloud of points."""

from __future__ import annotations

import base64
import io

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image

from src.viewing.figures import DEPTH_COLOURS
from src.viewing.pointcloud import Cloud

MOST_POINTS = 30_000
"""More makes a telephone stutter when the cloud is turned."""

DEPTH_SIDE_PX = 320
PHOTO_SIDE_PX = 640
"""Longest sides of what is sent: the network knows no finer depth, and a page or notebook stays small."""

START = 0.15, -0.5, 0.2
"""How far right of, ahead of and above the photo's viewpoint one starts, in shares of the way to the middle."""

UNKNOWN = "rgb(191, 191, 191)"


def depth_figure(image: NDArray[np.uint8], depth_m: NDArray[np.float32]) -> go.Figure:
    """Show depth, or the photo, or both: the cursor reads metres in each.

    **Shape**: image (H, W, 3) uint8, depth_m (h, w) of the same view; 0 where unknown.
    """
    height, width = depth_m.shape
    stride = -(-max(height, width) // DEPTH_SIDE_PX)
    first = stride // 2
    known = np.where(depth_m > 0, depth_m, np.nan)[first::stride, first::stride]
    far = float(np.nanpercentile(known, 99.5)) if np.isfinite(known).any() else 1.0
    figure = go.Figure(
        go.Heatmap(
            z=known.astype(np.float32),
            x0=first,
            dx=stride,
            y0=first,
            dy=stride,
            zmin=0,
            zmax=far,
            colorscale=_colour_scale(),
            colorbar={"title": "m", "thickness": 12, "outlinewidth": 0, "len": 1, "xpad": 6},
            hovertemplate="%{z:.2f} m<extra></extra>",
            hoverongaps=False,
        )
    )
    place = {"xref": "x", "yref": "y", "x": -0.5, "y": -0.5, "sizex": width, "sizey": height, "sizing": "stretch"}
    figure.add_layout_image(source=as_jpeg(image), layer="below", visible=False, **place)
    hidden = {"visible": False, "fixedrange": True, "constrain": "domain"}
    _lay_out(figure)
    figure.update_layout(
        xaxis={**hidden, "range": (-0.5, width - 0.5)},
        yaxis={**hidden, "range": (height - 0.5, -0.5), "scaleanchor": "x"},
        plot_bgcolor=UNKNOWN,
        hoverlabel={"font": {"size": 16}},
        dragmode=False,
        updatemenus=[_buttons({"depth": 1, "photo": 0, "both": 0.6})],
    )
    return figure


def cloud_figure(cloud: Cloud) -> go.Figure:
    """Show points in the photo's colours, upright, a metre equally long on each axis, seen from behind the camera.

    The cursor reads how far ahead of the camera a point lies. Of more than `MOST_POINTS`, evenly as many are shown.
    """
    count = len(cloud.points_m)
    shown = np.linspace(0, count - 1, min(count, MOST_POINTS)).astype(int)
    places = cloud.points_m[shown].T[[0, 2, 1]] * np.array([[1], [1], [-1]], dtype=np.float32)
    right, ahead, up = places
    figure = go.Figure(
        go.Scatter3d(
            x=right,
            y=ahead,
            z=up,
            mode="markers",
            marker={"size": 3, "color": [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in cloud.colours[shown]]},
            hovertemplate="%{y:.2f} m<extra></extra>",
        )
    )
    # The camera, at 0, is part of the scene: the depth axis starts there, and a cloud without points has a place.
    ends = np.stack([places.min(axis=1, initial=0), places.max(axis=1, initial=0)], axis=1)
    spans = np.maximum(ends[:, 1] - ends[:, 0], 1e-3)
    scale = spans.max()
    middle = float(np.median(ahead)) if count else 1.0
    eye = np.array(START) * middle
    target = np.array([0, middle, 0])
    _lay_out(figure)
    figure.update_layout(
        scene={
            "aspectmode": "manual",
            "aspectratio": dict(zip("xyz", spans / scale, strict=True)),
            "camera": {
                "eye": dict(zip("xyz", (eye - ends.mean(axis=1)) / scale, strict=True)),
                "center": dict(zip("xyz", (target - ends.mean(axis=1)) / scale, strict=True)),
                "up": {"x": 0, "y": 0, "z": 1},
            },
            **{f"{name}axis": _metre_axis(ends[index]) for index, name in enumerate("xyz")},
        },
    )
    return figure


def _metre_axis(ends: NDArray[np.float32]) -> dict:
    return {
        "range": tuple(ends),
        "title": "",
        "ticksuffix": " m",
        "dtick": 1,
        "showbackground": False,
        "showspikes": False,
        "gridcolor": "rgb(160, 160, 160)",
        "zerolinecolor": "rgb(160, 160, 160)",
    }


def _lay_out(figure: go.Figure) -> None:
    """Leave the paper to the page, light or dark, and no margin around the picture."""
    figure.update_layout(
        template="none",
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        paper_bgcolor="rgba(0, 0, 0, 0)",
        font={"color": "gray"},
        modebar={"remove": ["toImage", "resetCameraLastSave3d", "tableRotation"], "bgcolor": "rgba(0, 0, 0, 0)"},
    )


def _buttons(opacities: dict[str, float]) -> dict:
    """Fade the depth over the photo, which is hidden while depth is alone: unknown pixels are then grey."""
    return {
        "type": "buttons",
        "direction": "right",
        "x": 0,
        "y": 0,
        "xanchor": "left",
        "yanchor": "top",
        "pad": {"t": 6},
        "showactive": True,
        "buttons": [
            {"label": label, "method": "update", "args": [{"opacity": opacity}, {"images[0].visible": opacity < 1}]}
            for label, opacity in opacities.items()
        ],
    }


def _colour_scale() -> list[tuple[float, str]]:
    """Write the colours of the still figures for plotly."""
    steps = np.linspace(0, 1, 33)
    return [(float(step), "rgb({}, {}, {})".format(*DEPTH_COLOURS(step, bytes=True)[:3])) for step in steps]


def as_jpeg(image: NDArray[np.uint8]) -> str:
    """Write a photo as an address that contains it, small enough for a page."""
    picture, content = Image.fromarray(image), io.BytesIO()
    picture.thumbnail((PHOTO_SIDE_PX, PHOTO_SIDE_PX))
    picture.save(content, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
