"""Frames of video files and webcams."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from src.conventions import UserError

WEBCAMS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}:none"), "win32": ("vfwcap", "{}")}
"""FFmpeg's input format for webcams by platform, and its name of the n-th."""

COMPLETE = 0.95
"""A video with this share of the promised frames is complete: encoders count the last ones differently."""

TIMEOUT_S = 10.0
DEFAULT_FPS = 25


class Video:
    """An opened video file or, for a string, webcam: iterate once over its frames, (H, W, 3) uint8, upright.

    **Raises**: UserError when it cannot be opened; while iterating, after the last good frame, when it ends early.
    """

    def __init__(self, source: Path | str) -> None:
        is_webcam = isinstance(source, str)
        self.name = f"webcam {source}" if is_webcam else str(source)
        try:
            if is_webcam:
                kind, name = WEBCAMS.get(sys.platform, WEBCAMS["linux"])
                self.container = av.open(name.format(source), format=kind, timeout=TIMEOUT_S)
            else:
                self.container = av.open(str(source))
            self.stream = self.container.streams.video[0]
        except (OSError, ValueError, IndexError) as error:
            found = "no webcam of that number" if is_webcam else "no readable video"
            raise UserError(f"{self.name}: got {found} ({_reason(error)}). Check the name or the file.") from None
        self.stream.thread_type = "AUTO"
        self.fps = self.stream.average_rate or DEFAULT_FPS
        duration_s = (self.container.duration or 0) / av.time_base
        self.count = self.stream.frames or round(duration_s * self.fps)
        """Approximate number of frames by the file's header; 0 if unknown."""

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        done = 0
        try:
            for frame in self.container.decode(self.stream):
                yield np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))
                done += 1
        except (OSError, ValueError) as error:
            raise UserError(f"{self.name}: damaged after {done} frames ({_reason(error)}).") from None
        finally:
            self.container.close()
        if done < COMPLETE * self.count:
            raise UserError(f"{self.name}: ends after {done} of the {self.count} frames that it promises.")


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
