"""The losses of JPEG by arithmetic in a fixed order: the bytes of a library differ between its versions."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.rooms.kernels.compilation import F, compiled

SIDE = 8

LUMA = """
16 11 10 16  24  40  51  61  12 12 14 19  26  58  60  55  14 13 16 24  40  57  69  56  14 17 22 29  51  87  80  62
18 22 37 56  68 109 103  77  24 35 55 64  81 104 113  92  49 64 78 87 103 121 120 101  72 92 95 98 112 100 103  99
"""
CHROMA = """
17 18 24 47 99 99 99 99  18 21 26 66 99 99 99 99  24 26 56 99 99 99 99 99  47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99
"""
TABLES = np.array([LUMA.split(), CHROMA.split()], np.int64).reshape(2, SIDE, SIDE)
"""The example quantisation tables of ITU-T T.81, annex K."""

# Rounded, so that the last bit of a machine's libm does not matter.
COSINES = np.array(
    [[round(math.cos((2 * x + 1) * k * math.pi / 16), 6) / (2 if k else 8**0.5) for x in range(8)] for k in range(8)],
    np.float32,
)


def compress(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Apply the losses of a JPEG of that quality (1 to 99), without chroma subsampling.

    **Shape**: (H, W, 3) -> the same; incomplete 8 x 8 blocks at the right and the bottom are left as they are.
    **Source**: ITU-T T.81; the tables are scaled as by the Independent JPEG Group.
    """
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    luma_table, chroma_table = np.clip((TABLES * scale + 50) // 100, 1, 255).astype(np.float32)
    rows, columns = (side // SIDE for side in image.shape[:2])
    whole = image[: rows * SIDE, : columns * SIDE]
    blocks = whole.reshape(rows, SIDE, columns, SIDE, 3).swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)
    r, g, b = np.moveaxis(blocks, -1, 0).astype(np.float32, order="C")
    luma = 0.299 * r + 0.587 * g + 0.114 * b - 128
    blue = 0.5 * b - 0.168736 * r - 0.331264 * g
    red = 0.5 * r - 0.418688 * g - 0.081312 * b
    for channel, table in ((luma, luma_table), (blue, chroma_table), (red, chroma_table)):
        _quantise(channel, table, COSINES)
    luma += 128.5
    colours = np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], axis=-1)
    out = image.copy()
    lossy = colours.clip(0, 255).reshape(rows, columns, SIDE, SIDE, 3).swapaxes(1, 2)
    out[: rows * SIDE, : columns * SIDE] = lossy.reshape(whole.shape)
    return out


@compiled
def _quantise(blocks: Any, table: Any, cosines: Any) -> None:
    """Round the cosine transform of blocks (N, 8, 8) to multiples of a table."""
    transposed, buffer = np.ascontiguousarray(cosines.T), np.empty((SIDE, SIDE), np.float32)
    for block in blocks:
        _multiply(cosines, block, buffer)
        _multiply(buffer, transposed, block)
        block[:] = np.floor(block / table + F(0.5)) * table
        _multiply(block, cosines, buffer)
        _multiply(transposed, buffer, block)


@compiled
def _multiply(left: Any, right: Any, product: Any) -> None:
    """Multiply matrices, summing in a fixed order."""
    for row in range(SIDE):
        for column in range(SIDE):
            product[row, column] = left[row, 0] * right[0, column]
        for k in range(1, SIDE):
            for column in range(SIDE):
                product[row, column] += left[row, k] * right[k, column]
