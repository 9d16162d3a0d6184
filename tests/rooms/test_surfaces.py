"""Every pixel gets the surface that its ray meets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from analytic import GREY, camera_for

from src.rooms.raycast import Box, Camera, Piece, all_boxes, cast_rays, line_up, trace
from src.rooms.surfaces import Surfaces, look_up


def surfaces_of(pieces: list[Piece], camera: Camera) -> tuple[Surfaces, np.ndarray]:
    """Look up all pixels; also return the box that each is of."""
    intrinsics, solids = camera_for((48, 36)), line_up(pieces)
    depth_m, number = (each.ravel() for each in trace(solids, camera, intrinsics))
    materials, rays = [box.material for box in all_boxes(pieces)], cast_rays(camera, intrinsics).reshape(3, -1)
    eye = np.array(camera.position, np.float32)[:, None]
    return look_up(materials, solids, eye, rays, depth_m, number, intrinsics), number


def test_colour_glow_and_gloss_are_those_of_the_box() -> None:
    unseen = Piece((Box((-9, -9, -9), (-8, 9, 9), GREY),))
    left = replace(GREY, colour=(0.9, 0.1, 0.2), second=(0.9, 0.1, 0.2), glow=2.0)
    right = replace(GREY, colour=(0.1, 0.2, 0.8), second=(0.1, 0.2, 0.8), gloss=0.3, mirror=0.4)
    halves = Piece((Box((2, 0, -9), (3, 9, 9), left), Box((2, -9, -9), (3, 0, 9), right)))
    found, number = surfaces_of([unseen, halves], Camera((0, 0, 0), 0.0))
    assert set(number.tolist()) == {1, 2}
    for box, material in ((1, left), (2, right)):
        here = number == box
        assert np.allclose(found.albedo[:, here], np.array(material.colour)[:, None])
        assert (found.glow[here] == material.glow).all() and np.allclose(found.gloss[here], material.gloss)
        assert np.allclose(found.mirror[here], material.mirror)


def test_normals_face_the_camera_whatever_way_the_piece_is_turned() -> None:
    for yaw in (0.0, 90.0, 200.0):
        # The wall turns about the camera, which looks at it.
        wall = Piece((Box((2, -9, -9), (3, 9, 9), GREY),), yaw_deg=yaw)
        found, _ = surfaces_of([wall], Camera((0, 0, 0), yaw))
        towards = -np.cos(np.radians(yaw)), -np.sin(np.radians(yaw)), 0
        assert np.allclose(found.normal, np.array(towards)[:, None], atol=1e-6)
