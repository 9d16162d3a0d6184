"""Frames of video files and webcams."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from src.conventions import UserError

WEBCAMS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}:none"), "win32": ("vfwcap", "{}")}
"""FFmpeg's input format for webcams by platform, and its name of the n-th."""

LONGEST_GAP_S = 3600
"""Between two frames. A longer one, or going back more than a second, means that the clock was set anew."""

TIMEOUT_S = 10.0
DEFAULT_FPS = 25


class Video:
    """An opened video file or, for a string, webcam: iterate once over its frames and their times.

    **Shape**: (H, W, 3) uint8, upright. **Units**: seconds since the first frame; they may repeat or go back a little.

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
                self.container = av.open(f"file:{source}")  # what is before a colon could be a protocol
            if not self.container.streams.video:
                raise ValueError("it has no picture")
            self.stream = self.container.streams.video[0]
            if self.stream.codec_context is None:  # with which PyAV 15 crashes
                raise ValueError("its codec is unknown")
        except (av.FFmpegError, OSError, ValueError) as error:
            found = "no webcam of that number" if is_webcam else "no readable video"
            raise UserError(f"{self.name}: got {found} ({_reason(error)}). Check the name or the file.") from None
        self.stream.thread_type = "AUTO"
        self.kind = self.container.format.name
        self.fps = self.stream.average_rate or DEFAULT_FPS
        self.count = self.stream.frames
        """Number of frames by the file's header; 0 if unknown."""
        self.tick_s = float(self.stream.time_base or 0)
        self.pixel_aspect = float(self.stream.sample_aspect_ratio or 1)  # width / height: 4/3 in HDV
        self.start_s, self.length_s = self._promise()

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], float]]:
        step_s = float(1 / self.fps)
        done, clock_s, end_s, shift_s = 0, 0.0, 0.0, 0.0
        try:
            for frame in self.container.decode(self.stream):
                ticks = frame.dts if self.kind == "avi" else frame.pts  # AVI knows only the order of decoding
                before_s, clock_s = clock_s, clock_s + step_s if ticks is None else ticks * self.tick_s
                if not done:
                    shift_s = -clock_s
                elif not -1 < clock_s - before_s < LONGEST_GAP_S:
                    shift_s += before_s + step_s - clock_s
                image = frame.to_ndarray(format="rgb24", width=round(frame.width * self.pixel_aspect))
                image = np.rot90(image, round(frame.rotation / 90))
                yield np.ascontiguousarray(image), clock_s + shift_s
                done += 1
                end_s = max(end_s, clock_s + ((frame.duration or 0) * self.tick_s or step_s))
        except (av.FFmpegError, OSError, ValueError) as error:
            raise UserError(f"{self.name}: damaged after {done} frames ({_reason(error)}).") from None
        finally:
            self.container.close()
        seen_s = end_s - self.start_s
        tolerance_s = min(0.05 * self.length_s, 1) + 2 * step_s  # formats time the last frames differently
        if seen_s < self.length_s - tolerance_s:
            raise UserError(f"{self.name}: ends after {seen_s:.1f} of the {self.length_s:.1f} s that it promises.")

    def _promise(self) -> tuple[float, float]:
        """Return start and length of the picture by the file's header, in seconds; 0 if unknown."""
        if self.kind == "avi":  # whose duration FFmpeg shortens when the file is truncated
            return 0, float(self.count / self.fps)
        if self.kind.startswith("mov") and self.stream.duration:  # others may report the sound's
            return (self.stream.start_time or 0) * self.tick_s, self.stream.duration * self.tick_s
        for name, value in self.stream.metadata.items():
            # Matroska's; some tools append a language: DURATION-eng.
            if name.startswith("DURATION") and re.fullmatch(r"\d{2,4}:\d\d:\d\d(\.\d+)?", value):
                hours, minutes, seconds = value.split(":")
                return 0, int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        if len(self.container.streams) > 1 or self.stream.start_time is None:
            return 0, 0  # the container's duration may be the sound's, or estimated from the bit rate
        return 0, (self.container.duration or 0) / av.time_base


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
