"""Write a video that any player and browser shows: H.264 in MP4."""

import contextlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from src.files import whole_file

TICK_S = Fraction(1, 90_000)


@contextlib.contextmanager
def write_video(path: Path, fps: Fraction | int) -> Iterator[Callable[[NDArray[np.uint8], float], None]]:
    """Yield a function that appends a frame, (H, W, 3) uint8, all of one size, shown from a time in seconds.

    `path` appears when the block ends. `fps` is a hint for the encoder. A time that is not later than the one before is
    set to the next tick. An odd last row or column is dropped, since H.264 stores colour per 2x2 pixels.

    **Raises**: UserError when the file cannot be written.
    """
    with whole_file(path) as unfinished, av.open(f"file:{unfinished}", "w", format="mp4") as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = TICK_S
        ticks = -1

        def append(frame: NDArray[np.uint8], time_s: float) -> None:
            nonlocal ticks
            height, width = (side - side % 2 for side in frame.shape[:2])
            if not stream.codec_context.is_open:
                stream.height, stream.width = height, width
            even = np.ascontiguousarray(frame[:height, :width])
            picture = av.VideoFrame.from_ndarray(even, format="rgb24")
            ticks = max(round(time_s / TICK_S), ticks + 1)
            picture.pts, picture.time_base = ticks, TICK_S
            container.mux(stream.encode(picture))

        yield append
        container.mux(stream.encode())
