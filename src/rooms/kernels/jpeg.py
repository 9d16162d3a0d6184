"""The losses of JPEG compression, without a file.

A library's bytes differ between versions, so this is the format's arithmetic in a fixed order.
"""

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
    tables = np.clip((TABLES * scale + 50) // 100, 1, 255).astype(np.float32)
    return _compress(image, tables, COSINES)


@compiled
def _compress(image: Any, tables: Any, cosines: Any) -> Any:
    out = image.copy()
    transposed = np.ascontiguousarray(cosines.T)
    block, buffer = np.empty((3, SIDE, SIDE), np.float32), np.empty((SIDE, SIDE), np.float32)
    for top in range(0, image.shape[0] - SIDE + 1, SIDE):
        for left in range(0, image.shape[1] - SIDE + 1, SIDE):
            for y in range(SIDE):
                for x in range(SIDE):
                    pixel = image[top + y, left + x]
                    r, g, b = F(pixel[0]), F(pixel[1]), F(pixel[2])
                    block[0, y, x] = F(0.299) * r + F(0.587) * g + F(0.114) * b - F(128)
                    block[1, y, x] = F(0.5) * b - F(0.168736) * r - F(0.331264) * g
                    block[2, y, x] = F(0.5) * r - F(0.418688) * g - F(0.081312) * b
            for c in range(3):
                table = tables[0 if c == 0 else 1]
                _multiply(cosines, block[c], buffer)
                _multiply(buffer, transposed, block[c])
                for k in range(SIDE):
                    for j in range(SIDE):
                        block[c, k, j] = np.floor(block[c, k, j] / table[k, j] + F(0.5)) * table[k, j]
                _multiply(block[c], cosines, buffer)
                _multiply(transposed, buffer, block[c])
            for y in range(SIDE):
                for x in range(SIDE):
                    luma, blue, red = block[0, y, x] + F(128.5), block[1, y, x], block[2, y, x]
                    green = luma - F(0.344136) * blue - F(0.714136) * red
                    for c, value in enumerate((luma + F(1.402) * red, green, luma + F(1.772) * blue)):
                        out[top + y, left + x, c] = np.uint8(min(max(value, F(0)), F(255)))
    return out


@compiled
def _multiply(left: Any, right: Any, product: Any) -> None:
    """Multiply matrices, summing in a fixed order."""
    for row in range(SIDE):
        for column in range(SIDE):
            product[row, column] = left[row, 0] * right[0, column]
        for k in range(1, SIDE):
            for column in range(SIDE):
                product[row, column] += left[row, k] * right[k, column]
