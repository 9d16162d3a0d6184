"""Rooms: the same bytes for a seed on every machine, sound scenes, views distributed as in NYU."""

import hashlib
import itertools
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from src.choices import SPLITS
from src.conventions import MAX_DEPTH_M, NYU_INTRINSICS, Frame, Pairs
from src.rooms.ablation import CLUTTER_M, REMOVALS
from src.rooms.kernels.solids import SHAPES
from src.rooms.kernels.surfaces import PATTERNS
from src.rooms.lighting import Room, render
from src.rooms.placing import GAP_M
from src.rooms.raycast import Box, Piece, cos_sin, pack_solids, trace
from src.rooms.rooms import RoomPairs, make_room

PINNED = ["b6e77f624b5ea5c2", "a4fe4b0d3dfcfba0", "ae7b1213a2f1755f"]
SMALL = NYU_INTRINSICS.resized(48, 36)
View = tuple[np.ndarray, np.ndarray]  # depth, and number of the box, at every pixel
CHANGED = {"furniture": {"pieces"}, "clutter": {"pieces"}, "round": {"pieces"}, "patterns": {"pieces", "shell"}}
CHANGED |= {"lamps": {"lamps", "ambient"}, "film": {"exposure"}, "gaze": {"camera"}}


def digest(frame: Frame) -> str:
    millimetres = np.floor(frame.depth_m * np.float32(1000) + np.float32(0.5)).astype("<i4")
    return hashlib.sha256(frame.image.tobytes() + millimetres.tobytes() + frame.valid.tobytes()).hexdigest()


def digest_of(index: int) -> str:
    return digest(RoomPairs(index + 1, intrinsics=SMALL)[index])


def distance_to(piece: Piece, point: tuple[float, float, float]) -> float:
    """Return how far a point is from a piece's nearest box, 0 inside one."""
    (cos, sin), (x, y, z) = cos_sin(piece.yaw_deg), np.subtract(point, piece.origin)
    low, high = np.array([(box.low, box.high) for box in piece.boxes]).swapaxes(0, 1)
    local = np.array((cos * x + sin * y, cos * y - sin * x, z))
    return float(np.linalg.norm(np.maximum(0, np.maximum(low - local, local - high)), axis=1).min())


def pieces_in(room: Room) -> list[Piece]:
    """Leave out the furniture of the next rooms."""
    size_m = np.array(room.size_m)
    return [p for p in room.pieces if (np.array(p.bounds[0]) > -0.1).all() and (p.bounds[1] < size_m + 0.1).all()]


def boxes_of(*pieces: Piece) -> list[Box]:
    return [box for piece in pieces for box in piece.boxes]


@pytest.fixture(scope="module")
def rooms() -> list[Room]:
    return [make_room(np.random.Generator(np.random.PCG64((77, k)))) for k in range(200)]


@pytest.fixture(scope="module")
def views(rooms: list[Room]) -> list[View]:
    return [trace(pack_solids((room.shell, *room.pieces)), room.camera, SMALL) for room in rooms]


def test_bytes_are_pinned() -> None:
    """Exact on every machine: image bytes, depth to the millimetre, valid. When it changes, increase `VERSION`."""
    frames = RoomPairs(3, split="train", seed=0, intrinsics=NYU_INTRINSICS.resized(96, 72))
    assert [digest(frame)[:16] for frame in frames] == PINNED


def test_scenes_are_pinned(rooms: list[Room]) -> None:
    """All boxes, materials, lamps and cameras of 200 rooms, to the micrometre."""
    numbers = []
    for room in rooms:
        for piece in (room.shell, *room.pieces):
            numbers += [*piece.origin, piece.yaw_deg]
            for low, high, material, shape in piece.boxes:
                numbers += [*low, *high, SHAPES.index(shape), PATTERNS.index(material.pattern)]
                numbers += [*material.colour, *material.second, *material[3:]]
        numbers += [value for lamp in room.lamps for value in (*lamp.position, *lamp.power)]
        numbers += [*room.camera.position, room.camera.heading_deg, room.camera.pitch_deg, room.camera.roll_deg]
    micrometres = np.floor(np.array(numbers) * 1e6 + 0.5).astype("<i8")
    assert hashlib.sha256(micrometres.tobytes()).hexdigest()[:16] == "5e2ad7b75344fc1d"


def test_an_item_depends_on_nothing_but_its_number() -> None:
    expected = [digest_of(index) for index in range(6)]
    pairs = RoomPairs(1000, intrinsics=SMALL)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda index: digest(pairs[index]), reversed(range(6)))) == expected[::-1]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(digest_of, 4).result() == expected[4]


def test_splits_seeds_and_items_share_no_room() -> None:
    keys = itertools.product(SPLITS, (0, 2**40), range(2))
    frames = [RoomPairs(2, split=split, seed=seed, intrinsics=SMALL)[index] for split, seed, index in keys]
    assert len({frame.depth_m.tobytes() for frame in frames}) == len(frames)


def test_pairs_keep_the_protocol() -> None:
    pairs: Pairs = RoomPairs(13, split="val", intrinsics=SMALL)
    assert len(pairs) == len(pairs.names) == len(pairs.scenes) == 13
    assert pairs.names[12] == pairs.scenes[12] == "rooms/val/000012"
    image, depth_m, valid, _ = pairs[12]
    assert (image.shape, image.dtype, depth_m.shape, depth_m.dtype) == ((36, 48, 3), np.uint8, (36, 48), np.float32)
    assert valid.dtype == np.bool_ and np.array_equal(valid, (depth_m > 0) & (depth_m <= MAX_DEPTH_M))
    for index in (-1, 13):
        with pytest.raises(IndexError, match=f"got index {index}"):
            pairs[index]


def test_the_fingerprint_of_packed_frames_is_stable_and_tells_every_argument_apart() -> None:
    assert RoomPairs(5, split="val", seed=3, intrinsics=SMALL, without="lamps").fingerprint == (
        f"rooms version=6 count=5 split=val seed=3 {SMALL} without lamps"
    )
    changes = {}, {"split": "val"}, {"seed": 1}, {"intrinsics": SMALL}, {"without": "lamps"}
    assert len({RoomPairs(5, **change).fingerprint for change in changes}) == len(changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("ingredient", REMOVALS)
def test_only_what_is_left_out_changes_and_it_is_gone(rooms: list[Room], ingredient: str) -> None:
    for room in rooms[:8]:
        less = REMOVALS[ingredient](room)
        changed = {name for name, value in vars(room).items() if getattr(less, name) != value}
        assert changed == CHANGED[ingredient]
        frame, boxes = render(less, SMALL), boxes_of(less.shell, *less.pieces)
        assert (frame.depth_m > 0).all() and frame.image.std() > 0
        if not changed & {"pieces", "camera"}:
            assert np.array_equal(frame.depth_m, render(room, SMALL).depth_m)
        if ingredient == "clutter":
            assert min(np.subtract(box.high, box.low).max() for box in boxes_of(*less.pieces)) >= CLUTTER_M
        assert ingredient != "patterns" or all(box.material.colour == box.material.second for box in boxes)
        assert ingredient != "round" or {box.shape for box in boxes} == {"box"}


def test_camera_and_lamps_are_inside_the_room_and_outside_of_furniture(rooms: list[Room]) -> None:
    for room in rooms:
        assert 1 <= len(room.lamps) <= 3
        for point, margin_m in ((room.camera.position, 0.1), *((lamp.position, 0.05) for lamp in room.lamps)):
            assert all(margin_m < value < side - margin_m for value, side in zip(point, room.size_m, strict=True))
            assert min(distance_to(piece, point) for piece in room.pieces) > margin_m


def test_pieces_are_within_the_room_apart_and_supported(rooms: list[Room]) -> None:
    """Each stands on the floor, hangs from the ceiling or has its back at a wall; flat ones show their front."""
    flat = 0
    for room in rooms:
        (w, d, h), standing = room.size_m, []
        for piece in pieces_in(room):
            low, high = np.array(piece.bounds)
            assert (low > -1e-6).all() and (high < np.array(room.size_m) + 1e-6).all()
            assert low[2] == 0 or high[2] == h or min(*low[:2], w - high[0], d - high[1]) < 0.01
            standing += [(low, high)] if high[2] < h - 1e-6 else []
            if piece.hull.low[1] == 0 and piece.hull.high[1] < 0.1:
                (cos, sin), (x, y, _) = cos_sin(piece.yaw_deg), piece.origin
                # Half a metre behind the back is outside.
                assert not (0 < x + 0.5 * sin < w and 0 < y - 0.5 * cos < d)
                flat += 1
        for (low, high), (low_2, high_2) in itertools.combinations(standing, 2):
            assert max((low - high_2).max(), (low_2 - high).max()) > GAP_M - 1e-6
    assert flat > 200


def test_views_are_distributed_as_in_nyu(rooms: list[Room], views: list[View]) -> None:
    """NYU: depth 1.14, 2.59, 5.69 m (percentiles 5, 50, 95), pitch 4, 15, 23 degrees; height: `placing.HEIGHT_M`."""
    depth_m = np.stack([depth for depth, _ in views])
    pitch_deg, height_m = np.array([(room.camera.pitch_deg, room.camera.position[2]) for room in rooms]).T
    for values, least, most in (
        (depth_m, (0.85, 2.2, 4.7), (1.5, 2.9, 6.6)),
        (pitch_deg, (3, 11, 19), (8, 17, 25)),
        (height_m, (0.95, 1.1, 1.25), (1.1, 1.25, 1.38)),
    ):
        found = np.percentile(values, (5, 50, 95))
        assert (least < found).all() and (found < most).all()
    near_first = np.argsort(np.median(depth_m, axis=(1, 2)))
    assert pitch_deg[near_first[:60]].mean() > pitch_deg[near_first[-60:]].mean() + 4
    # Wall, floor and ceiling are a third of NYU's labelled pixels.
    assert all(depth.min() > 0.1 and np.isfinite(depth).all() for depth, _ in views)
    shares = [(number >= len(room.shell.boxes)).mean() for room, (_, number) in zip(rooms, views, strict=True)]
    assert 0.45 < np.mean(shares) < 0.7 and np.percentile(shares, 10) > 0.25
