"""Still figures in one style: near is bright, far is dark, grey is unknown. Unwritable files raise UserError."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from src.files import whole_file

DEPTH_COLOURS = mpl.colormaps["magma_r"].with_extremes(bad="0.75")
DEPTH_COLOURS(0.0)  # makes its table, which two threads must not make at once
ERROR_COLOURS = mpl.colormaps["cividis"].with_extremes(bad="0.75")
RGBImage = NDArray[np.uint8]  # (H, W, 3)
DepthMap = NDArray[np.float32]  # (H, W)
MAX_ERROR = 1.0  # upper end of the error's colour scale, in the unit of the depth
MAX_PREVIEW_PX = 1600
MIN_LEGEND_PX = 160  # a lower picture is padded to it, so that the scale can be read
NO_TICKS: dict[str, Any] = {"xticks": [], "yticks": []}


class Comparison(NamedTuple):
    """One row of a strip; its pictures may have different sizes."""

    title: str
    image: RGBImage
    truth: DepthMap  # 0 where unknown
    prediction: DepthMap


class Curve(NamedTuple):
    """One line of a chart: a value after each epoch."""

    name: str
    epochs: Sequence[float]
    values: Sequence[float]


def draw_strip(rows: Sequence[Comparison], path: Path, *, unit: str = "m") -> None:
    """Draw photo, truth, prediction and absolute error, a row per frame; truth and prediction share a scale."""
    figure, grid = _make_panels([[_aspect(row.image)] * 4 for row in rows], 2.4)
    for row, axes in zip(rows, grid, strict=True):
        prediction = _resize_nearest(row.prediction, row.truth.shape)
        error = np.where(row.truth > 0, np.abs(prediction - row.truth), np.nan)
        vmax = max(float(np.percentile(depth, 99.5)) for depth in (row.truth, row.prediction))
        axes[0].set_ylabel(row.title, fontsize=8)
        axes[0].imshow(row.image, aspect="auto")
        _show_depth(axes[1], _mask_unknown(row.truth), vmax)
        _add_colour_bar(_show_depth(axes[2], prediction, vmax), axes[2], unit)
        _add_colour_bar(_show_depth(axes[3], error, MAX_ERROR, ERROR_COLOURS), axes[3], unit)
    _set_titles(grid[0], ("photo", "truth", "prediction", "absolute error"))
    _save(figure, path)


def draw_contact_sheet(frames: Sequence[tuple[str, RGBImage, DepthMap]], path: Path) -> None:
    """Draw many frames, (title, image, depth_m) each, photo beside depth, all on one scale in metres."""
    aspects = [_aspect(image) for _, image, _ in frames]
    aspects += aspects[-1:] * (-len(frames) % 4)
    figure, grid = _make_panels(np.repeat(aspects, 2).reshape(-1, 8), 1.65)
    pairs = grid.reshape(-1, 2)
    vmax = float(np.percentile(np.concatenate([depth_m[::8, ::8].ravel() for _, _, depth_m in frames]), 99))
    for axes, (title, image, depth_m) in zip(pairs, frames, strict=False):
        axes[0].set_title(title, fontsize=6, loc="left")
        axes[0].imshow(image, aspect="auto")
        depth_image = _show_depth(axes[1], _mask_unknown(depth_m), vmax)
    for unused in pairs[len(frames) :].flat:
        unused.set_axis_off()
    _add_colour_bar(depth_image, list(grid.flat), "m")
    _save(figure, path)


def draw_augmentation(
    frames: Sequence[tuple[str, Sequence[tuple[RGBImage, DepthMap]]]], path: Path, *, aspect: float
) -> None:
    """Draw photo and depth of each frame before the augmentation and after it, all of one frame on one scale.

    Each of `frames` is a name and its versions, the first without augmentation; `aspect` is width / height.
    """
    versions = len(frames[0][1])
    figure, grid = _make_panels(np.full((len(frames), 2 * versions), 1 / aspect), 1.65)
    for row, (name, pictures) in zip(grid, frames, strict=True):
        vmax = max(float(np.percentile(depth_m, 99.5)) for _, depth_m in pictures)
        row[0].set_ylabel("\n".join(Path(name).parts[-2:]), fontsize=6)
        for axes, (image, depth_m) in zip(row.reshape(-1, 2), pictures, strict=True):
            axes[0].imshow(image, aspect="auto")
            depth_image = _show_depth(axes[1], _mask_unknown(depth_m), vmax)
        _add_colour_bar(depth_image, list(row), "m")
    names = ("before", *(f"epoch {number}" for number in range(1, versions)))
    _set_titles(grid[0], [title for name in names for title in (name, "depth")])
    _save(figure, path)


def draw_curves(charts: Mapping[str, Sequence[Curve]], path: Path) -> None:
    """Draw learning curves, one chart per title (the quantity and its unit), two side by side."""
    rows = -(-len(charts) // 2)
    figure = Figure((11.0, 3.6 * rows), layout="constrained")
    grid = figure.subplots(rows, 2, squeeze=False)
    for axes, curves in zip(grid.flat, charts.values(), strict=False):
        colours = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(curves)))
        # Lines differ in dash and marker too, so that they can be told apart in grey.
        styles = zip(colours, cycle(("-", "--", "-.", ":")), cycle("os^Dv"), strict=False)
        for curve, (colour, dash, marker) in zip(curves, styles, strict=False):
            axes.plot(curve.epochs, curve.values, dash, color=colour, marker=marker, markersize=4, label=curve.name)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    _set_titles(list(grid.flat)[: len(charts)], list(charts))
    for unused in grid.flat[len(charts) :]:
        unused.set_axis_off()
    grid.flat[0].legend(fontsize=8)
    _save(figure, path)


def scale_max(depth: DepthMap) -> float:
    """Choose the upper end of a colour scale from 0: beyond all but the farthest 0.5 % of the pixels."""
    return max(float(np.percentile(_preview(depth), 99.5)), 1e-3)


def draw_depth(photo: RGBImage, depth: DepthMap, vmax: float, *, unit: str = "m") -> RGBImage:
    """Draw a photo beside its depth and the scale, without Matplotlib's half second: (H, W, 3), (H, W) -> (h, w, 3)."""
    photo, depth = _preview(photo), _preview(depth)
    legend = draw_legend(vmax, max(len(depth), MIN_LEGEND_PX), unit=unit)
    pair = np.concatenate([photo, colour_depth(depth, vmax)], axis=1)
    pair = np.pad(pair, ((0, len(legend) - len(pair)), (0, 0), (0, 0)), constant_values=255)
    return np.concatenate([pair, legend], axis=1)


def colour_depth(depth: DepthMap, vmax: float) -> RGBImage:
    """Map depth from 0 to `vmax` to the colours of the figures: (H, W) -> (H, W, 3) uint8."""
    return DEPTH_COLOURS(depth / vmax, bytes=True)[..., :3]


def draw_legend(vmax: float, height_px: int, *, unit: str = "m") -> RGBImage:
    """Draw the colour bar of `colour_depth` alone: (height_px, 60 at 480 px of height, 3) uint8."""
    em = max(height_px // 40, 10)  # the font's size
    legend = Image.new("RGB", (5 * em, height_px), "white")
    top, bottom = 3 * em, height_px - em
    bar = colour_depth(np.linspace(vmax, 0, bottom - top, dtype=np.float32)[:, None].repeat(em, axis=1), vmax)
    legend.paste(Image.fromarray(bar), (em // 2, top))
    draw = ImageDraw.Draw(legend)
    font = ImageFont.load_default(em)
    draw.text((em // 2, em // 4), fill(unit, width=8), "black", font)
    for tick in MaxNLocator(6, steps=(1, 2, 5, 10)).tick_values(0, vmax):
        if tick <= vmax:
            y_px = bottom - round(tick / vmax * (bottom - top))
            draw.line((1.5 * em, y_px, 1.8 * em, y_px), "black")
            draw.text((2 * em, y_px), f"{tick:g}", "black", font, anchor="lm")
    return np.asarray(legend)


def _make_panels(aspects: Any, width_inch: float) -> tuple[Figure, NDArray[Any]]:
    """Make a grid of panels without ticks; each has its `aspects`, (rows, columns), height / width of its photo.

    Pictures fill their panels, so that a prediction of 56x56 has its photo's aspect.
    """
    rows, columns = np.shape(aspects)
    heights = np.clip(np.max(aspects, axis=1), 0.2, 1.5)  # panels beyond that become narrower, or leave a gap
    size = width_inch * columns + 1.3, width_inch * heights.sum() + 0.2 * rows + 0.3
    figure = Figure(size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, height_ratios=heights, subplot_kw=NO_TICKS)
    for axes, aspect in zip(grid.flat, np.ravel(aspects), strict=True):
        axes.set_box_aspect(aspect)
    return figure, grid


def _aspect(picture: NDArray[Any]) -> float:
    return picture.shape[0] / picture.shape[1]


def _mask_unknown(depth: DepthMap) -> DepthMap:
    return np.where(depth > 0, depth, np.nan)


def _preview(image: NDArray[Any]) -> NDArray[Any]:
    """Take every n-th pixel, so that a photo of 100 megapixels is drawn as fast as a small one."""
    stride = -(-max(image.shape[:2]) // MAX_PREVIEW_PX)
    return image[::stride, ::stride]


def _resize_nearest(depth: DepthMap, shape: tuple[int, ...]) -> DepthMap:
    """Resize a depth map by nearest neighbour, so that its pixels stay visible."""
    rows = (np.arange(shape[0]) * depth.shape[0]) // shape[0]
    columns = (np.arange(shape[1]) * depth.shape[1]) // shape[1]
    return depth[rows[:, None], columns]


def _show_depth(axes: Axes, depth: DepthMap, vmax: float, cmap: Any = DEPTH_COLOURS) -> AxesImage:
    return axes.imshow(depth, cmap=cmap, vmin=0, vmax=vmax, aspect="auto")


def _add_colour_bar(image: AxesImage, axes: Axes | list[Axes], unit: str) -> None:
    ratio = 20 * max(1, image.axes.get_box_aspect() or 1)  # wide enough to be as high as a portrait
    bar = image.figure.colorbar(image, ax=axes, pad=0.02, fraction=0.05, aspect=ratio)
    bar.ax.tick_params(labelsize=7)
    bar.ax.set_title(unit, fontsize=8)


def _set_titles(row: Sequence[Axes], titles: Sequence[str]) -> None:
    for axes, title in zip(row, titles, strict=True):
        axes.set_title(title, fontsize=10)


def _save(figure: Figure, path: Path) -> None:
    kind = "jpeg" if path.suffix.lower() in (".jpg", ".jpeg") else "png"
    with whole_file(path) as unfinished:
        figure.savefig(unfinished, dpi=110, format=kind, bbox_inches="tight")
