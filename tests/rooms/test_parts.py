"""Parts lie where they are asked to."""

from __future__ import annotations

import itertools

import numpy as np

from src.rooms.parts import BLACK, block, cupboards, disc, face, shift, things


def test_things_stay_on_their_surface_and_are_of_several_shapes() -> None:
    shapes = set()
    for seed in range(30):
        boxes = things(np.random.default_rng(seed), 1.2, (0.1, 0.5), 0.7, 0.3, middle=2.0)
        for box in boxes:
            assert box.low[0] >= 1.4 and box.high[0] <= 2.6
            assert box.low[1] + 1e-9 >= 0.1 and box.high[1] <= 0.5 + 1e-9
            assert box.low[2] == 0.7 and box.high[2] <= 1.0 + 1e-9
            shapes.add(box.shape)
        for left, right in itertools.pairwise(boxes):
            assert left.high[0] <= right.low[0]
    assert shapes == {"box", "cylinder", "ellipsoid"}


def test_turned_to_face_a_solid_keeps_its_size_and_shape() -> None:
    solid = disc(BLACK, 0.3, 0.4, (0.1, 0.9), middle=0.2)
    turned = face(solid, 1.0, 2.0)
    assert (turned.low[2], turned.high[2], turned.shape) == (0.1, 0.9, "cylinder")
    np.testing.assert_allclose(turned.low[:2], (1.0 - 0.35, 2.0 - 0.55))
    np.testing.assert_allclose(turned.high[:2], (1.0 - 0.05, 2.0 - 0.25))
    np.testing.assert_allclose(face(turned, 1.0, 2.0).low, solid.low)


def test_moved_along_the_floor_a_solid_stays_what_it_is() -> None:
    solid = disc(BLACK, 0.3, 0.4, (0.1, 0.9), middle=0.2)
    moved, expected = shift(solid, 1.0, -2.0), disc(BLACK, 0.3, -1.6, (0.1, 0.9), middle=1.2)
    np.testing.assert_allclose((moved.low, moved.high), (expected.low, expected.high))
    assert (moved.material, moved.shape) == (solid.material, solid.shape)


def test_fronts_stand_before_their_body_and_do_not_overlap() -> None:
    body, *fronts = cupboards(np.random.default_rng(1), 3, 0.5, (0, 0.4), (0, 0.9), tiers=2)
    doors = [box for box in fronts if box.high[2] - box.low[2] > 0.1]
    assert len(doors) == 6
    assert all(box.low[1] >= body.high[1] for box in fronts)
    assert body == block(body.material, 1.5, (0, 0.4), (0, 0.9))
    for k, one in enumerate(doors):
        for other in doors[:k]:
            assert any(one.low[a] >= other.high[a] or other.low[a] >= one.high[a] for a in (0, 2))
