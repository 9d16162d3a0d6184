"""Still figures in one style: near is bright, far is dark, grey is unknown. Unwritable files raise UserError."""

from collections.abc import Mapping, Sequence
from itertools import chain, cycle
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
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
LEAST_SCALE = 1e-3  # upper end of a colour scale for depth that is 0 nearly everywhere
PANEL_PX, GAP_PX, TITLE_PX = 240, 6, 12  # width of a panel, between panels, of the font of a title
TALLEST = 1.5  # height of a panel in `PANEL_PX`; a taller photo's is narrower


class StripRow(NamedTuple):
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


def draw_strip(rows: Sequence[StripRow], path: Path, *, unit: str = "m") -> None:
    """Draw photo, truth, prediction and absolute error, a row per frame; truth and prediction share a scale."""
    drawn = []
    for row in rows:
        aspect = _aspect(row.image)
        prediction = _resize_nearest(row.prediction, row.truth.shape)
        error = np.where(row.truth > 0, np.abs(prediction - row.truth), np.nan)
        vmax = max(scale_max(row.truth), scale_max(row.prediction))
        drawn.append(
            [
                (row.title, _photo_panel(row.image, aspect)),
                ("truth", _depth_panel(row.truth, vmax, aspect)),
                ("prediction", _panel(colour_depth(row.prediction, vmax), aspect)),
                ("", _legend_panel(vmax, aspect, unit)),
                ("absolute error", _map_panel(error, MAX_ERROR, aspect, ERROR_COLOURS)),
                ("", _legend_panel(MAX_ERROR, aspect, unit, ERROR_COLOURS)),
            ]
        )
    _write_page(drawn, path)


def draw_contact_sheet(frames: Sequence[tuple[str, RGBImage, DepthMap]], path: Path) -> None:
    """Draw many frames, (title, image, depth_m) each, photo beside depth, all on one scale in metres."""
    vmax = _upper_end(np.concatenate([depth_m[depth_m > 0][::64] for _, _, depth_m in frames]), 99)
    pairs = [
        [(title, _photo_panel(image, _aspect(image))), ("", _depth_panel(depth_m, vmax, _aspect(image)))]
        for title, image, depth_m in frames
    ]
    rows = [list(chain(*pairs[start : start + 4])) for start in range(0, len(pairs), 4)]
    rows[0].append(("", _legend_panel(vmax, _aspect(frames[0][1]), "m")))
    _write_page(rows, path)


def draw_augmentation(
    frames: Sequence[tuple[str, Sequence[tuple[RGBImage, DepthMap]]]], path: Path, *, aspect: float
) -> None:
    """Draw photo and depth of each frame before the augmentation and after it, all of one frame on one scale.

    Each of `frames` is a name and its versions, the first without augmentation; `aspect` is width / height.
    """
    rows = []
    for name, pictures in frames:
        vmax = max(scale_max(depth_m) for _, depth_m in pictures)
        titles = ["\n".join(Path(name).parts[-2:]), *(f"epoch {number}" for number in range(1, len(pictures)))]
        row = []
        for title, (image, depth_m) in zip(titles, pictures, strict=True):
            row += [(title, _photo_panel(image, 1 / aspect)), ("", _depth_panel(depth_m, vmax, 1 / aspect))]
        rows.append([*row, ("", _legend_panel(vmax, 1 / aspect, "m"))])
    _write_page(rows, path)


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
    for axes, title in zip(grid.flat, charts, strict=False):
        axes.set_title(title, fontsize=10)
    for unused in grid.flat[len(charts) :]:
        unused.set_axis_off()
    grid.flat[0].legend(fontsize=8)
    with whole_file(path) as unfinished:
        figure.savefig(unfinished, dpi=110, format=_format(path))


def scale_max(depth: DepthMap) -> float:
    """Choose the upper end of a colour scale from 0: beyond all but the farthest 0.5 % of the pixels with depth."""
    return _upper_end(_preview(depth), 99.5)


def _upper_end(depth: DepthMap, percentile: float) -> float:
    known = depth[depth > 0]
    return max(float(np.percentile(known, percentile)), LEAST_SCALE) if len(known) else LEAST_SCALE


def draw_depth(photo: RGBImage, depth: DepthMap, vmax: float, *, unit: str = "m") -> RGBImage:
    """Draw a photo beside its depth and the scale, without Matplotlib's half second: (H, W, 3), (H, W) -> (h, w, 3)."""
    photo, depth = _preview(photo), _preview(depth)
    legend = draw_legend(vmax, max(len(depth), MIN_LEGEND_PX), unit=unit)
    pair = np.concatenate([photo, colour_depth(depth, vmax)], axis=1)
    pair = np.pad(pair, ((0, len(legend) - len(pair)), (0, 0), (0, 0)), constant_values=255)
    return np.concatenate([pair, legend], axis=1)


def colour_depth(depth: DepthMap, vmax: float, colours: Colormap = DEPTH_COLOURS) -> RGBImage:
    """Map depth from 0 to `vmax` to colours, NaN to grey: (H, W) -> (H, W, 3) uint8."""
    return colours(depth / vmax, bytes=True)[..., :3]


def draw_legend(vmax: float, height_px: int, *, unit: str = "m", colours: Colormap = DEPTH_COLOURS) -> RGBImage:
    """Draw the colour bar of `colour_depth` alone: (height_px, 60 at 480 px of height, 3) uint8."""
    em = max(height_px // 40, 10)  # the font's size
    legend = Image.new("RGB", (5 * em, height_px), "white")
    label = fill(unit, width=8)
    top, bottom = (3 + label.count("\n")) * em, height_px - em
    scale = np.linspace(vmax, 0, bottom - top, dtype=np.float32)[:, None].repeat(em, axis=1)
    bar = colour_depth(scale, vmax, colours)
    legend.paste(Image.fromarray(bar), (em // 2, top))
    draw = ImageDraw.Draw(legend)
    font = ImageFont.load_default(em)
    draw.text((em // 2, em // 4), label, "black", font)
    for tick in MaxNLocator(6, steps=(1, 2, 5, 10)).tick_values(0, vmax):
        if tick <= vmax:
            y_px = bottom - round(tick / vmax * (bottom - top))
            draw.line((1.5 * em, y_px, 1.8 * em, y_px), "black")
            draw.text((2 * em, y_px), f"{tick:g}", "black", font, anchor="lm")
    return np.asarray(legend)


def _write_page(rows: Sequence[Sequence[tuple[str, RGBImage]]], path: Path) -> None:
    """Write rows of pictures, each below its title of up to two lines, on white."""
    font = ImageFont.load_default(TITLE_PX)
    title_px = 3 * TITLE_PX
    widths = [sum(picture.shape[1] + GAP_PX for _, picture in row) for row in rows]
    heights = [max(len(picture) for _, picture in row) + title_px for row in rows]
    page = Image.new("RGB", (GAP_PX + max(widths), GAP_PX + sum(heights)), "white")
    draw, top = ImageDraw.Draw(page), 0
    for row, height in zip(rows, heights, strict=True):
        left = GAP_PX
        for title, picture in row:
            if title.strip():  # instead of the end of a longer one before it
                draw.rectangle((left, top, page.width, top + title_px - 1), "white")
            draw.text((left, top + title_px - 3), title.strip(), "black", font, anchor="ld", spacing=2)
            page.paste(Image.fromarray(picture), (left, top + title_px))
            left += picture.shape[1] + GAP_PX
        top += height
    with whole_file(path) as unfinished:
        page.save(unfinished, format=_format(path))


def _panel(picture: RGBImage, aspect: float, resample: Image.Resampling = Image.Resampling.NEAREST) -> RGBImage:
    """Resize a picture to a panel of the height / width `aspect` of its photo."""
    return np.asarray(Image.fromarray(picture).resize(_panel_size(aspect), resample))


def _panel_size(aspect: float) -> tuple[int, int]:
    """Choose the width and height of a panel in pixels."""
    width = PANEL_PX * min(1.0, TALLEST / aspect)
    return max(1, round(width)), max(1, round(width * aspect))


def _photo_panel(image: RGBImage, aspect: float) -> RGBImage:
    return _panel(image, aspect, Image.Resampling.BILINEAR)


def _depth_panel(depth: DepthMap, vmax: float, aspect: float) -> RGBImage:
    """Colour a depth map, grey where it is 0; its pixels stay visible."""
    return _map_panel(np.where(depth > 0, depth, np.nan), vmax, aspect)


def _map_panel(values: DepthMap, vmax: float, aspect: float, colours: Colormap = DEPTH_COLOURS) -> RGBImage:
    """Colour a map, NaN where unknown, in a panel; where it is shrunk, no known pixel is lost among unknown ones."""
    size = _panel_size(aspect)
    nearest = np.asarray(Image.fromarray(values).resize(size, Image.Resampling.NEAREST))
    for axis, side in enumerate(reversed(size)):
        values = np.fmax.reduceat(values, np.arange(side) * values.shape[axis] // side, axis=axis)
    return colour_depth(np.where(np.isnan(nearest), values, nearest), vmax, colours)


def _legend_panel(vmax: float, aspect: float, unit: str, colours: Colormap = DEPTH_COLOURS) -> RGBImage:
    return draw_legend(vmax, max(_panel_size(aspect)[1], MIN_LEGEND_PX), unit=unit, colours=colours)


def _format(path: Path) -> str:
    return "jpeg" if path.suffix.lower() in (".jpg", ".jpeg") else "png"


def _aspect(picture: NDArray[Any]) -> float:
    return picture.shape[0] / picture.shape[1]


def _preview(image: NDArray[Any]) -> NDArray[Any]:
    """Take every n-th pixel, so that a photo of 100 megapixels is drawn as fast as a small one."""
    stride = -(-max(image.shape[:2]) // MAX_PREVIEW_PX)
    return image[::stride, ::stride]


def _resize_nearest(depth: DepthMap, shape: tuple[int, ...]) -> DepthMap:
    """Resize a depth map by nearest neighbour, so that its pixels stay visible."""
    rows = (np.arange(shape[0]) * depth.shape[0]) // shape[0]
    columns = (np.arange(shape[1]) * depth.shape[1]) // shape[1]
    return depth[rows[:, None], columns]
