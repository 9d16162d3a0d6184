"""Pictures in one style: near is bright, far is dark, grey is unknown, and every scale is in metres."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from src.conventions import UserError

DEPTH_COLOURS = mpl.colormaps["magma_r"].with_extremes(bad="0.75")
ERROR_COLOURS = mpl.colormaps["cividis"].with_extremes(bad="0.75")
LARGEST_ERROR = 1.0
"""Where the error's colours end, in the unit of the depth."""


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


def _finish(figure: Figure, path: Path) -> None:
    for axes in figure.axes:
        if axes.get_label() != "<colorbar>":
            axes.set_xticks([])
            axes.set_yticks([])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error}). Name another file.") from None
