"""Films and webcams, frame by frame."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from src.conventions import UserError

WEBCAMS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}:none"), "win32": ("vfwcap", "{}")}
"""How FFmpeg names a camera: its input format, and the place of the n-th."""

WHOLE = 0.95
"""A film with this share of its frames is whole: players count the last ones differently."""

PATIENCE_S = 10.0
USUAL_FPS = 25


class Film:
    """An opened video file or webcam: iterate once over its frames, (H, W, 3) uint8, upright.

    **Raises**: UserError when it cannot be opened; while iterating, after the last good frame, when it ends early.
    """

    def __init__(self, source: Path | str) -> None:
        self.name = f"webcam {source}" if isinstance(source, str) else str(source)
        try:
            if isinstance(source, str):
                kind, place = WEBCAMS.get(sys.platform, WEBCAMS["linux"])
                self.container = av.open(place.format(source), format=kind, timeout=PATIENCE_S)
            else:
                self.container = av.open(str(source))
            self.stream = self.container.streams.video[0]
        except (OSError, ValueError, IndexError) as error:
            found = "no webcam of that number" if isinstance(source, str) else "no readable video"
            raise UserError(
                f"{self.name}: got {found} ({_reason(error)}). Check the name, or play it elsewhere."
            ) from None
        self.stream.thread_type = "AUTO"
        self.fps = self.stream.average_rate or USUAL_FPS
        length_s = (self.container.duration or 0) / av.time_base
        self.count = self.stream.frames or round(length_s * self.fps)
        """About how many frames the file promises; 0 where it does not say."""

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        done = 0
        try:
            for frame in self.container.decode(self.stream):
                yield upright(frame)
                done += 1
        except (OSError, ValueError) as error:
            raise UserError(f"{self.name}: damaged after {done} frames ({_reason(error)}).") from None
        finally:
            self.container.close()
        if done < WHOLE * self.count:
            raise UserError(f"{self.name}: ends after {done} of the {self.count} frames that it promises.")


def upright(frame: VideoFrame) -> NDArray[np.uint8]:
    """Give a decoded frame as RGB, turned as the file says it was held: (H, W, 3) uint8."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
