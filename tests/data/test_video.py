from pathlib import Path

import av
import numpy as np
import pytest

from src.conventions import UserError
from src.data.video import Film

FRAMES = 12


def write(path: Path, **options: str) -> Path:
    """A film whose n-th frame has brightness 20 n; its index stands first, as on the web."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        noise = np.random.default_rng(0).integers(0, 20, (48, 64, 3))
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray((noise + 20 * number).clip(0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_frames_come_in_order_with_their_rate(tmp_path: Path) -> None:
    film = Film(write(tmp_path / "x.mp4"))
    assert (film.count, film.fps) == (FRAMES, 10)
    frames = list(film)
    assert len(frames) == FRAMES
    assert frames[0].shape == (48, 64, 3)
    means = [frame.mean() for frame in frames]
    assert means == sorted(means)


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv"])
def test_a_film_that_ends_in_the_middle_gives_what_it_has(tmp_path: Path, name: str) -> None:
    content = write(tmp_path / name, **({"movflags": "faststart"} if name.endswith("mp4") else {})).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) * 2 // 3])
    frames = []
    with pytest.raises(UserError, match=rf"{name}: ends after \d+ of the 12 frames"):
        frames.extend(Film(tmp_path / name))
    seen = []
    with pytest.raises(UserError):
        for frame in Film(tmp_path / name):
            seen.append(frame)
    assert 2 <= len(seen) < FRAMES


def test_what_is_no_film_costs_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "zero.mp4").touch()
    for name in ("text.mp4", "zero.mp4", "none.mp4"):
        with pytest.raises(UserError, match=f"{name}: got no readable video"):
            Film(tmp_path / name)
    with pytest.raises(UserError, match="webcam 97: got no webcam of that number"):
        Film("97")
