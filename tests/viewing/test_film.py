from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from src.conventions import UserError
from src.viewing.film import film


def test_a_film_plays_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    with film(path, Fraction(30000, 1001)) as append:
        for brightness in (0, 120, 240):
            append(np.full((49, 63, 3), brightness, np.uint8))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 62, 48)
        assert stream.average_rate == Fraction(30000, 1001)
        means = [frame.to_ndarray(format="rgb24").mean() for frame in container.decode(video=0)]
    assert means == pytest.approx([0, 120, 240], abs=3)


def test_a_failure_leaves_no_half_film(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), film(tmp_path / "x.mp4", 10) as append:
        append(np.zeros((48, 64, 3), np.uint8))
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"), film(tmp_path / "file" / "x.mp4", 10):
        pass
