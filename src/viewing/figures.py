"""Pictures in one style: near is bright, far is dark, grey is unknown, and every scale is in metres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from src.files import whole_file

DEPTH_COLOURS = mpl.colormaps["magma_r"].with_extremes(bad="0.75")
ERROR_COLOURS = mpl.colormaps["cividis"].with_extremes(bad="0.75")
LARGEST_ERROR = 1.0
"""Where the error's colours end, in the unit of the depth."""

LARGEST_PREVIEW_PX = 1600


class Comparison(NamedTuple):
    """One row of a strip.

    **Shape**: image (H, W, 3) uint8; truth and prediction (h, w), each of any size; truth 0 where unknown.
    """

    title: str
    image: NDArray[np.uint8]
    truth: NDArray[np.float32]
    prediction: NDArray[np.float32]


def draw_strip(rows: Sequence[Comparison], path: Path, *, unit: str = "m") -> None:
    """Draw RGB, truth, prediction and absolute error, a row per frame; truth and prediction share a scale.

    **Raises**: UserError when the file cannot be written.
    """
    figure = _figure(11.0, 0.35 + 2.25 * len(rows))
    all_axes = figure.subplots(len(rows), 4, squeeze=False)
    for row, axes in zip(rows, all_axes, strict=True):
        prediction = _stretch(row.prediction, row.truth.shape)
        known = row.truth > 0
        far = max(float(np.percentile(depth, 99.5)) for depth in (row.truth, row.prediction))
        error = np.where(known, np.abs(prediction - row.truth), np.nan)
        axes[0].imshow(row.image, aspect="auto")
        depth = axes[1].imshow(np.where(known, row.truth, np.nan), cmap=DEPTH_COLOURS, vmin=0, vmax=far, aspect="auto")
        axes[2].imshow(prediction, cmap=DEPTH_COLOURS, vmin=0, vmax=far, aspect="auto")
        wrong = axes[3].imshow(error, cmap=ERROR_COLOURS, vmin=0, vmax=LARGEST_ERROR, aspect="auto")
        _colour_bar(figure, depth, axes[2], unit)
        _colour_bar(figure, wrong, axes[3], unit)
        axes[0].set_ylabel(row.title, fontsize=8)
    for axes, title in zip(all_axes[0], ("photo", "truth", "prediction", "absolute error"), strict=True):
        axes.set_title(title, fontsize=10)
    _finish(figure, path)


def draw_contact_sheet(
    frames: Sequence[tuple[str, NDArray[np.uint8], NDArray[np.float32]]], path: Path, *, columns: int = 4
) -> None:
    """Draw many frames, photo beside depth, all on one scale in metres: (title, image, depth_m) each.

    **Raises**: UserError when the file cannot be written.
    """
    lines = -(-len(frames) // columns)
    figure = _figure(3.4 * columns, 0.3 + 1.55 * lines)
    all_axes = figure.subplots(lines, 2 * columns, squeeze=False)
    far = float(np.percentile(np.concatenate([depth[::8, ::8].ravel() for _, _, depth in frames]), 99))
    shown = None
    for place, axes in enumerate(all_axes.reshape(-1, 2)):
        if place >= len(frames):
            for empty in axes:
                empty.set_axis_off()
            continue
        title, image, depth_m = frames[place]
        axes[0].imshow(image, aspect="auto")
        axes[0].set_title(title, fontsize=6, loc="left")
        masked = np.where(depth_m > 0, depth_m, np.nan)
        shown = axes[1].imshow(masked, cmap=DEPTH_COLOURS, vmin=0, vmax=far, aspect="auto")
    if shown is not None:
        _colour_bar(figure, shown, list(all_axes.flat), "m")
    _finish(figure, path)


class Curve(NamedTuple):
    """One line of a chart: a value after each epoch."""

    name: str
    epochs: Sequence[float]
    values: Sequence[float]


def draw_curves(charts: Mapping[str, Sequence[Curve]], path: Path) -> None:
    """Draw learning curves, a chart beside the next: {what is measured, with its unit: lines}.

    **Raises**: UserError when the file cannot be written.
    """
    figure = _figure(5.5 * len(charts), 3.8)
    all_axes = figure.subplots(1, len(charts), squeeze=False)[0]
    for axes, (what, curves) in zip(all_axes, charts.items(), strict=True):
        shades = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(curves)))
        # Lines differ in dash and marker too, so that they can be told apart in grey.
        for curve, shade, style, mark in zip(
            curves, shades, cycle(("-", "--", "-.", ":")), cycle("os^Dv"), strict=False
        ):
            axes.plot(curve.epochs, curve.values, style, color=shade, marker=mark, markersize=4, label=curve.name)
        axes.set_xlabel("epoch")
        axes.set_title(what, fontsize=10)
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    all_axes[-1].legend(fontsize=8)
    _finish(figure, path, ticks=True)


def draw_models(
    names: Sequence[str],
    frames: Sequence[tuple[NDArray[np.uint8], NDArray[np.float32], Sequence[NDArray[np.float32]]]],
    path: Path,
    *,
    unit: str = "m",
) -> None:
    """Draw the same frames as several networks see them: (photo, truth, one prediction per name) each.

    **Raises**: UserError when the file cannot be written.
    """
    figure = _figure(2.2 * (len(names) + 2) + 0.5, 0.3 + 1.75 * len(frames))
    all_axes = figure.subplots(len(frames), len(names) + 2, squeeze=False)
    for axes, (image, truth, predictions) in zip(all_axes, frames, strict=True):
        far = max(float(np.percentile(depth, 99.5)) for depth in (truth, *predictions))
        axes[0].imshow(image, aspect="auto")
        shown = None
        for place, depth in zip(axes[1:], (np.where(truth > 0, truth, np.nan), *predictions), strict=True):
            shown = place.imshow(depth, cmap=DEPTH_COLOURS, vmin=0, vmax=far, aspect="auto")
        _colour_bar(figure, shown, list(axes), unit)
    for axes, title in zip(all_axes[0], ("photo", "truth", *names), strict=True):
        axes.set_title(title, fontsize=10)
    _finish(figure, path)


def draw_depth(depth: NDArray[np.float32], path: Path, *, unit: str = "m") -> None:
    """Draw one depth map in colours, with its scale.

    **Raises**: UserError when the file cannot be written.
    """
    height, width = depth.shape
    figure = _figure(8.0, 7.0 * height / width)
    _colour_bar(figure, _show_depth(figure.subplots(), depth, far_end(depth)), figure.axes[0], unit)
    _finish(figure, path)


def draw_pair(image: NDArray[np.uint8], depth: NDArray[np.float32], path: Path, *, unit: str = "m") -> None:
    """Draw a photo beside its depth map, (H, W, 3) and (H, W).

    **Raises**: UserError when the file cannot be written.
    """
    height, width = depth.shape
    figure = _figure(12.0, 5.6 * height / width)
    left, right = figure.subplots(1, 2)
    left.imshow(_preview(image))
    _colour_bar(figure, _show_depth(right, depth, far_end(depth)), right, unit)
    _finish(figure, path)


def far_end(depth: NDArray[np.float32]) -> float:
    """Choose where a scale ends that begins at 0: beyond all but the farthest half percent."""
    return max(float(np.percentile(_preview(depth), 99.5)), 1e-3)


def colour_depth(depth: NDArray[np.float32], far: float) -> NDArray[np.uint8]:
    """Give a depth map the colours of the pictures, from 0 to `far`: (H, W) -> (H, W, 3) uint8."""
    return (DEPTH_COLOURS(depth / far)[..., :3] * 255).astype(np.uint8)


def draw_legend(far: float, height_px: int, *, unit: str = "m") -> NDArray[np.uint8]:
    """Draw the scale of `colour_depth` on its own, to stand beside a film: (height_px, 60, 3) uint8."""
    figure = Figure(figsize=(0.6, height_px / 100), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, far), DEPTH_COLOURS)
    bar = figure.colorbar(scale, cax=figure.subplots())
    bar.ax.tick_params(labelsize=7)
    bar.ax.set_title(unit, fontsize=8)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _show_depth(axes: Axes, depth: NDArray[np.float32], far: float) -> Any:
    return axes.imshow(_preview(depth), cmap=DEPTH_COLOURS, vmin=0, vmax=far)


def _preview(picture: NDArray[Any]) -> NDArray[Any]:
    """Take every n-th pixel, so that a photo of 100 megapixels costs no more than the figure can show."""
    stride = -(-max(picture.shape[:2]) // LARGEST_PREVIEW_PX)
    return picture[::stride, ::stride]


def _figure(width_inch: float, height_inch: float) -> Figure:
    figure = Figure(figsize=(width_inch, height_inch), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _colour_bar(figure: Figure, shown: Any, axes: Axes | list[Axes], unit: str) -> None:
    bar = figure.colorbar(shown, ax=axes, pad=0.02, fraction=0.05)
    bar.ax.tick_params(labelsize=7)
    bar.ax.set_title(unit, fontsize=8)


def _stretch(depth: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Bring a map to another size by repeating its nearest values, so that its pixels stay visible."""
    rows = (np.arange(shape[0]) * depth.shape[0]) // shape[0]
    columns = (np.arange(shape[1]) * depth.shape[1]) // shape[1]
    return depth[rows[:, None], columns]


def _finish(figure: Figure, path: Path, *, ticks: bool = False) -> None:
    for axes in figure.axes:
        if not ticks and axes.get_label() != "<colorbar>":
            axes.set_xticks([])
            axes.set_yticks([])
    with whole_file(path) as unfinished:
        figure.savefig(unfinished, dpi=110, format="png")
