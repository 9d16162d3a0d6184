"""Frames of videos, their times, and what a damaged file still yields."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from src.conventions import UserError
from src.data.video import Video

STEADY_S = [number / 10 for number in range(12)]
PHONE_S = [0, 0.02, 0.04, 0.5, 0.54, 1.2, 1.22, 2.0, 2.02, 2.04, 2.7, 2.72]
WEBM = {"codec": "libvpx", "sound": "libopus"}
MPEG4 = {"codec": "mpeg4", "sound": "mp2"}


def write_film(
    path: Path,
    times_s: Sequence[float] = STEADY_S,
    *,
    sound_s: float = 0,
    codec: str = "libx264",
    sound: str = "aac",
    pixel_aspect: Fraction = Fraction(1),
    tick: Fraction = Fraction(1, 100),
    **options: str,
) -> Path:
    """A film whose n-th frame has brightness 20 n."""
    noise = np.random.default_rng(0).integers(0, 20, (48, 64, 3))
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=10, options={"g": "4", "b_strategy": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = tick
        stream.codec_context.sample_aspect_ratio = pixel_aspect
        if sound_s:
            audio = container.add_stream(sound, rate=48000, layout="mono")
            for start in range(0, round(sound_s * 48000), 1024):
                samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                samples.sample_rate, samples.pts = 48000, start
                container.mux(audio.encode(samples))
        for number, time_s in enumerate(times_s):
            frame = av.VideoFrame.from_ndarray((noise + 20 * number).clip(0, 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(time_s / tick), tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound_s:
            container.mux(audio.encode())
    return path


def test_pixels_become_square(tmp_path: Path) -> None:
    video = Video(write_film(tmp_path / "x.mp4", pixel_aspect=Fraction(4, 3)))
    assert {image.shape for image, _ in video} == {(48, 85, 3)}


@pytest.mark.parametrize(
    ("name", "times_s", "options"),
    [
        ("x.mp4", STEADY_S, {}),
        ("x.mp4", PHONE_S, {}),
        ("x.mp4", PHONE_S, {"sound_s": 6}),
        ("x.mp4", [5 + time_s for time_s in PHONE_S], {"sound_s": 2}),
        ("x.mp4", STEADY_S, {"movflags": "frag_keyframe+empty_moov", "sound_s": 6}),
        ("x.mp4", STEADY_S, {"movflags": "frag_keyframe+empty_moov+dash+global_sidx"}),
        ("x.mkv", PHONE_S, {"sound_s": 6}),
        ("x.mkv", PHONE_S[:1], {"sound_s": 6}),
        ("x.webm", PHONE_S, {"sound_s": 6, **WEBM}),
        ("x.webm", PHONE_S, {"live": "1", **WEBM}),
        ("x.ts", PHONE_S, {"sound_s": 6}),
        ("x.avi", STEADY_S, {"sound_s": 6, "tick": Fraction(1, 10), **MPEG4}),
        ("x.avi", STEADY_S, {"tick": Fraction(1, 10)}),  # H.264, whose order of display AVI does not know
        ("x.wmv", STEADY_S, {"sound_s": 6, "tick": Fraction(1, 10), **MPEG4}),
    ],
)
def test_frames_keep_their_times(tmp_path: Path, name: str, times_s: list[float], options: dict[str, object]) -> None:
    video = Video(write_film(tmp_path / name, times_s, **options))
    assert video.count in (0, len(times_s))
    frames, read_s = zip(*video, strict=True)
    np.testing.assert_allclose(read_s, np.subtract(times_s, times_s[0]), atol=1e-3)
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    means = [frame.mean() for frame in frames]
    assert means == sorted(means)


@pytest.mark.parametrize(
    ("name", "times_s", "options"),
    [
        ("x.mp4", STEADY_S, {"movflags": "faststart"}),
        ("x.mp4", PHONE_S, {"movflags": "faststart", "sound_s": 6}),
        ("x.mp4", [5 + time_s for time_s in STEADY_S], {"movflags": "faststart", "sound_s": 6}),
        ("x.mkv", STEADY_S, {}),
        ("x.mkv", PHONE_S, {"sound_s": 6}),
        ("x.webm", PHONE_S, {"sound_s": 6, **WEBM}),
        ("x.flv", STEADY_S, {}),
        ("x.avi", STEADY_S, {"sound_s": 6, "tick": Fraction(1, 10), **MPEG4}),
    ],
)
def test_truncated_videos_are_read(tmp_path: Path, name: str, times_s: list[float], options: dict[str, object]) -> None:
    path = write_film(tmp_path / name, times_s, **options)
    with av.open(str(path)) as container:
        cut = [packet.pos for packet in container.demux(video=0) if packet.size][5]
    path.write_bytes(path.read_bytes()[:cut])
    frames = []
    with pytest.raises(UserError, match=rf"{name}: ends after \d\.\d of the \d\.\d s"):
        for frame in Video(path):
            frames.append(frame)
    assert 2 <= len(frames) < 12


@pytest.mark.parametrize(("start_s", "length_s", "count"), [(0, 1.2, 12), (0, 0.5, 5), (0.7, 0.5, 5), (0.3, 0.4, 4)])
def test_trimmed_frames_are_not_missed(tmp_path: Path, start_s: float, length_s: float, count: int) -> None:
    path = write_film(tmp_path / "x.mp4", tick=Fraction(1, 12800), movflags="faststart")
    content = bytearray(path.read_bytes())
    entry = content.index(b"elst") + 12
    length_ms, start = struct.unpack(">Ii", content[entry : entry + 8])
    assert length_ms == 1200
    content[entry : entry + 8] = struct.pack(">Ii", round(length_s * 1000), start + round(start_s * 12800))
    path.write_bytes(content)
    assert len(list(Video(path))) == count
    path.write_bytes(content[: content.index(b"mdat") + 99])
    with pytest.raises(UserError, match=r"ends after|damaged"):
        list(Video(path))


@pytest.mark.parametrize(
    ("ticks", "expected_s"),
    [
        ([None, None, None], [0, 0.1, 0.2]),
        ([7000, 7100, None, 7300], [0, 0.1, 0.2, 0.3]),
        ([-2000, -1900, -1900, -1950], [0, 0.1, 0.1, 0.05]),
        ([5000, 5100, 0, 100], [0, 0.1, 0.2, 0.3]),  # a second film appended
        ([0, 100, 95_443_717, 200], [0, 0.1, 0.2, 0.3]),
    ],
)
def test_times_that_are_missing_or_jump(tmp_path: Path, ticks: list[int | None], expected_s: list[float]) -> None:
    video = Video(write_film(tmp_path / "x.webm", live="1", **WEBM))
    frames = [av.VideoFrame(64, 48, "rgb24") for _ in ticks]
    for frame, pts in zip(frames, ticks, strict=True):
        frame.pts = pts
    video.container.close()
    video.container = SimpleNamespace(decode=lambda stream: frames, close=lambda: None)
    assert [time_s for _, time_s in video] == pytest.approx(expected_s)


def test_unreadable_videos_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello")
    for name in ("text.mp4", "none.mp4"):
        with pytest.raises(UserError, match=f"{name}: got no readable video"):
            Video(tmp_path / name)
    film = write_film(tmp_path / "x.mp4").read_bytes()
    (tmp_path / "codec.mp4").write_bytes(film.replace(b"avc1", b"zzzz").replace(b"avcC", b"free"))
    with pytest.raises(UserError, match=r"codec\.mp4: .*codec is unknown"):
        Video(tmp_path / "codec.mp4")
    with pytest.raises(UserError, match="webcam 97"):
        Video("97")
