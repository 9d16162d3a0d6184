"""Write a film that any player and browser shows: H.264 in MP4."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from numpy.typing import NDArray

from src.conventions import UserError


class FilmWriter:
    """Write frames, (H, W, 3) uint8, all of one size, into an MP4 that appears whole when the block ends.

    An odd row or column at the edge is dropped, since H.264 stores colour for two by two pixels.
    Frames written before an error are kept.

    **Raises**: UserError when the file cannot be written.
    """

    def __init__(self, path: Path, fps: Fraction | int) -> None:
        self.path, self.unfinished = path, path.with_name(f".{path.name}.unfinished")
        self.fps = Fraction(fps).limit_denominator(1001)
        self.frames = 0

    def __enter__(self) -> FilmWriter:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.container = av.open(str(self.unfinished), "w", format="mp4")
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror}). Name another folder.") from None
        self.stream = self.container.add_stream("libx264", rate=self.fps, options={"crf": "20", "preset": "veryfast"})
        self.stream.pix_fmt = "yuv420p"
        return self

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append one frame."""
        height, width = (side - side % 2 for side in frame.shape[:2])
        if not self.frames:
            self.stream.height, self.stream.width = height, width
        even = np.ascontiguousarray(frame[:height, :width])
        try:
            self.container.mux(self.stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror}). Free some disk.") from None
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.frames:
                self.container.mux(self.stream.encode())
            self.container.close()
            if self.frames:
                os.replace(self.unfinished, self.path)
        except OSError as failure:
            raise UserError(f"{self.path}: cannot be written ({failure.strerror}). Free some disk.") from None
        finally:
            self.unfinished.unlink(missing_ok=True)
