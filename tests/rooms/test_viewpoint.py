"""The quick look agrees with the exact one, and every room has a view."""

from __future__ import annotations

import numpy as np
from analytic import GREY, solid

from src.rooms.placing import is_free
from src.rooms.raycast import Box, Camera, Piece, line_up, trace
from src.rooms.viewpoint import GLANCE, _glance, _line_up, body, look

SIZE = 4.0, 5.0, 2.5


def test_a_glance_sees_what_the_exact_trace_sees() -> None:
    pieces = [
        Piece(
            (Box((-0.4, 0, 0), (0.4, 0.6, 0.8), GREY), Box((-0.1, 0.2, 0.8), (0.2, 0.5, 1.1), GREY)), (3, 3, 0), 30.0
        ),
        Piece((Box((-0.5, 0, 0.4), (0.5, 0.3, 2.0), GREY),), (1.2, 4.2, 0), 180.0),
    ]
    hulls = [Piece((piece.hull,), piece.origin, piece.yaw_deg) for piece in pieces]
    w, d, h = SIZE
    shell = [
        solid((-9, -9, -9), (9, 9, 0)),
        solid((-9, -9, h), (9, 9, 9)),
        solid((-9, -9, 0), (0, 9, h)),
        solid((w, -9, 0), (9, 9, h)),
        solid((-9, -9, 0), (9, 0, h)),
        solid((-9, d, 0), (9, 9, h)),
    ]
    for heading in (0.0, 40.0, 75.0, 110.0):
        camera = Camera((1.0, 1.0, 1.4), heading, 10.0, 2.0)
        depth_m, number = trace(line_up([*hulls, *shell]), camera, GLANCE)
        quick_m, full = _glance(_line_up(pieces), SIZE, camera)
        assert np.allclose(quick_m, depth_m.ravel(), atol=1e-3)
        assert full == (number < len(hulls)).mean()


def test_an_empty_room_has_a_view_from_the_place_kept_free() -> None:
    camera = look(np.random.default_rng(0), SIZE, [], (1.0, 1.0))
    assert all(0 < at < side for at, side in zip(camera.position, SIZE, strict=True))


def test_a_crowded_room_is_seen_from_the_only_free_place() -> None:
    stand = body((1.0, 1.0, 0.9), up_to=2.5)
    crowd = [
        Piece((Box((x, y, 0), (x + 0.29, y + 0.29, 2.4), GREY),))
        for x in np.arange(0, 4, 0.3)
        for y in np.arange(0, 5, 0.3)
        if is_free(((x, y, 0), (x + 0.29, y + 0.29, 2.4)), [stand])
    ]
    camera = look(np.random.default_rng(0), SIZE, crowd, (1.0, 1.0))
    assert camera.position[:2] == (1.0, 1.0)
