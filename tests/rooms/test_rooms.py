"""Rooms: the same bytes for a seed wherever they are made, and nothing where it cannot be."""

from __future__ import annotations

import hashlib
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from src.choices import SPLITS
from src.conventions import MAX_DEPTH_M, NYU_INTRINSICS, Frame, Pairs, UserError
from src.rooms.lighting import Room
from src.rooms.raycast import Piece, Vec3, line_up, trace, turn
from src.rooms.rooms import RoomPairs, make_room

PINNED = ["b6e77f624b5ea5c2", "a4fe4b0d3dfcfba0", "ae7b1213a2f1755f"]
SMALL = NYU_INTRINSICS.resized(48, 36)


def digest(frame: Frame) -> str:
    millimetres = np.floor(frame.depth_m * np.float32(1000) + np.float32(0.5)).astype("<i4")
    return hashlib.sha256(frame.image.tobytes() + millimetres.tobytes() + frame.valid.tobytes()).hexdigest()


def digest_of(index: int) -> str:
    return digest(RoomPairs(index + 1, intrinsics=SMALL)[index])


def outside_by(point: Vec3, piece: Piece) -> float:
    """Measure how far a point is from a piece's nearest box, 0 when inside one."""
    (cos, sin), x, y = turn(piece.yaw_deg), point[0] - piece.origin[0], point[1] - piece.origin[1]
    here = cos * x + sin * y, cos * y - sin * x, point[2] - piece.origin[2]
    gaps = [
        [max(low - p, p - high, 0.0) for low, p, high in zip(box.low, here, box.high, strict=True)]
        for box in piece.boxes
    ]
    return min(sum(gap * gap for gap in axes) ** 0.5 for axes in gaps)


def pieces_in(room: Room) -> list[Piece]:
    """Leave out what stands in the next rooms."""
    return [
        piece
        for piece in room.pieces
        if all(a > -0.1 and b < side + 0.1 for a, b, side in zip(*piece.bounds, room.size_m, strict=True))
    ]


@pytest.fixture(scope="module")
def rooms() -> list[Room]:
    return [make_room(np.random.Generator(np.random.PCG64((77, k)))) for k in range(200)]


@pytest.fixture(scope="module")
def depths(rooms: list[Room]) -> list[np.ndarray]:
    return [trace(line_up((room.shell, *room.pieces)), room.camera, SMALL)[0] for room in rooms]


def test_pairs_keep_the_protocol() -> None:
    pairs: Pairs = RoomPairs(13, split="val", intrinsics=SMALL)
    assert len(pairs) == len(pairs.names) == len(pairs.scenes) == 13
    assert pairs.names[12] == pairs.scenes[12] == "rooms/val/000012"
    frame = pairs[12]
    assert (frame.image.shape, frame.image.dtype) == ((36, 48, 3), np.uint8)
    assert (frame.depth_m.shape, frame.depth_m.dtype) == ((36, 48), np.float32)
    assert (frame.valid.shape, frame.valid.dtype) == ((36, 48), np.bool_)
    assert np.array_equal(frame.valid, (frame.depth_m > 0) & (frame.depth_m <= MAX_DEPTH_M))
    for index in (-1, 13):
        with pytest.raises(IndexError, match=f"got index {index}"):
            pairs[index]


def test_fingerprint_tells_every_argument_apart() -> None:
    variants = [
        RoomPairs(5),
        RoomPairs(6),
        RoomPairs(5, split="val"),
        RoomPairs(5, seed=1),
        RoomPairs(5, intrinsics=SMALL),
        RoomPairs(5, holes=True),
    ]
    assert len({pairs.fingerprint for pairs in variants}) == len(variants)
    assert RoomPairs(5).fingerprint == variants[0].fingerprint


@pytest.mark.parametrize("arguments", [{"count": 3, "split": "training"}, {"count": -1}, {"count": 3, "seed": -4}])
def test_bad_arguments_are_the_users_error(arguments: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"got .*expected"):
        RoomPairs(**arguments)  # type: ignore[arg-type]


def test_splits_seeds_and_items_share_no_room() -> None:
    frames = [
        RoomPairs(3, split=split, seed=seed, intrinsics=SMALL)[index].depth_m.tobytes()
        for split in SPLITS
        for seed in (0, 1, 2, 2**40)
        for index in range(3)
    ]
    assert len(set(frames)) == len(frames)


def test_an_item_depends_on_nothing_but_its_number() -> None:
    expected = [digest_of(index) for index in range(6)]
    pairs = RoomPairs(1000, intrinsics=SMALL)
    assert [digest(pairs[index]) for index in reversed(range(6))] == expected[::-1]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda index: digest(pairs[index]), range(6))) == expected
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(digest_of, 4).result() == expected[4]


def test_bytes_are_pinned() -> None:
    """Exact across machines: image bytes, depth to the millimetre, valid. When it changes, raise `VERSION`."""
    frames = RoomPairs(3, split="train", seed=0, intrinsics=NYU_INTRINSICS.resized(96, 72))
    assert [digest(frame)[:16] for frame in frames] == PINNED


def test_camera_stands_free_inside_the_room(rooms: list[Room]) -> None:
    for room in rooms:
        assert all(0.25 < p < side - 0.25 for p, side in zip(room.camera.position, room.size_m, strict=True))
        assert 0.94 <= room.camera.position[2] <= 1.38
        assert min(outside_by(room.camera.position, piece) for piece in room.pieces) > 0.1


def test_camera_is_held_a_tenth_lower_than_nyus(rooms: list[Room]) -> None:
    """NYU's training frames that show their floor: percentiles 5, 50 and 95 at 1.13, 1.33 and 1.48 m."""
    p5, p50, p95 = np.percentile([room.camera.position[2] for room in rooms], [5, 50, 95])
    assert 0.95 < p5 < 1.1 and 1.1 < p50 < 1.25 and 1.25 < p95 < 1.4


def test_camera_looks_down_as_nyus_and_more_at_what_is_near(rooms: list[Room], depths: list[np.ndarray]) -> None:
    """NYU's training frames that show their floor: percentiles 5, 50 and 95 at 4, 15 and 23 degrees."""
    pitch_deg = np.array([room.camera.pitch_deg for room in rooms])
    p5, p50, p95 = np.percentile(pitch_deg, [5, 50, 95])
    assert 3 < p5 < 8 and 11 < p50 < 17 and 19 < p95 < 25
    order = np.argsort([np.median(depth_m) for depth_m in depths])
    assert pitch_deg[order[:60]].mean() > pitch_deg[order[-60:]].mean() + 4


def test_lamps_hang_free_inside_the_room(rooms: list[Room]) -> None:
    for room in rooms:
        assert 1 <= len(room.lamps) <= 3
        for lamp in room.lamps:
            assert all(0 < p < side for p, side in zip(lamp.position, room.size_m, strict=True))
            assert min(outside_by(lamp.position, piece) for piece in room.pieces) > 0.05


def test_pieces_lie_within_the_room_and_apart(rooms: list[Room]) -> None:
    for room in rooms:
        bounds = [piece.bounds for piece in pieces_in(room)]
        for low, high in bounds:
            assert all(a > -1e-6 and b < side + 1e-6 for a, b, side in zip(low, high, room.size_m, strict=True))
        furniture = [pair for pair in bounds if pair[1][2] < room.size_m[2] - 1e-6]
        for k, (low, high) in enumerate(furniture):
            for low_2, high_2 in furniture[:k]:
                assert any(low[axis] >= high_2[axis] or low_2[axis] >= high[axis] for axis in range(3))


def test_no_piece_floats(rooms: list[Room]) -> None:
    """A piece stands on the floor, hangs from the ceiling, or has its back at a wall."""
    for room in rooms:
        for low, high in (piece.bounds for piece in pieces_in(room)):
            at_wall = min(*low[:2], room.size_m[0] - high[0], room.size_m[1] - high[1]) < 0.01
            assert low[2] == 0 or high[2] == room.size_m[2] or at_wall


def test_doors_and_pictures_show_their_front(rooms: list[Room]) -> None:
    """A flat piece hangs with its back, y = 0 of its own frame, at a wall."""
    flat = 0
    for room in rooms:
        for piece in pieces_in(room):
            if piece.hull.low[1] == 0 and piece.hull.high[1] < 0.1:
                (cos, sin), (x, y, _) = turn(piece.yaw_deg), piece.origin
                # Half a metre behind the back lies outside.
                assert not (0 < x + 0.5 * sin < room.size_m[0] and 0 < y - 0.5 * cos < room.size_m[1])
                flat += 1
    assert flat > 200


def test_no_ray_leaves_the_rooms(rooms: list[Room], depths: list[np.ndarray]) -> None:
    for room, depth_m in zip(rooms, depths, strict=True):
        low, high = room.shell.bounds
        assert depth_m.min() > 0.1
        assert depth_m.max() < sum((b - a) ** 2 for a, b in zip(low, high, strict=True)) ** 0.5


def test_some_rooms_open_into_the_next_and_nothing_stands_in_the_way(rooms: list[Room]) -> None:
    opened = 0
    for room in rooms:
        low, high = room.shell.bounds
        opened += any(a < -0.5 for a in low[:2]) or any(
            b > side + 0.5 for b, side in zip(high, room.size_m, strict=False)
        )
    assert 120 < opened < 180


def test_next_rooms_are_furnished_and_their_furniture_stays_there(rooms: list[Room]) -> None:
    count = 0
    for room in rooms:
        inside = {id(piece) for piece in pieces_in(room)}
        for low, high in (piece.bounds for piece in room.pieces if id(piece) not in inside):
            sides = list(zip(low, high, room.size_m, strict=True))[:2]
            # Behind a wall, whose thickness is 0.2 m, and within the shell.
            assert any(b < -0.19 or a > side + 0.19 for a, b, side in sides)
            assert all(a > b for a, b in zip(low, room.shell.bounds[0], strict=True))
            assert all(a < b for a, b in zip(high, room.shell.bounds[1], strict=True))
            count += 1
    assert count > 200


def test_furniture_fills_half_of_the_view(rooms: list[Room]) -> None:
    """Wall, floor and ceiling are a third of NYU's labelled pixels."""
    shares = []
    for room in rooms:
        number = trace(line_up((room.shell, *room.pieces)), room.camera, SMALL)[1]
        shares.append((number >= len(room.shell.boxes)).mean())
    assert 0.45 < np.mean(shares) < 0.7
    assert np.percentile(shares, 10) > 0.25


def test_holes_take_some_of_the_depth_and_none_of_the_photo() -> None:
    exact, holed = RoomPairs(8, intrinsics=SMALL), RoomPairs(8, intrinsics=SMALL, holes=True)
    shares = []
    for index in range(8):
        assert np.array_equal(exact[index].image, holed[index].image)
        assert not (holed[index].valid & ~exact[index].valid).any()
        shares.append(holed[index].valid.mean())
    assert 0.6 < np.mean(shares) < 0.99


def test_depth_is_spread_as_in_nyu(depths: list[np.ndarray]) -> None:
    """The 795 training frames of NYU: mean 2.90 m, percentiles 5, 50 and 95 at 1.14, 2.59 and 5.69 m."""
    everywhere = np.stack(depths)
    p5, p50, p95 = np.percentile(everywhere, [5, 50, 95])
    assert 2.4 < everywhere.mean() < 3.3
    assert 0.85 < p5 < 1.5 and 2.2 < p50 < 2.9 and 4.7 < p95 < 6.6
