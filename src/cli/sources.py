"""From `--data` and `--data-dir` to frames: what was asked for, what was found, what was taken."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from src.choices import ROOMS, SPLITS
from src.conventions import MAX_DEPTH_M, NYU_INTRINSICS, Pairs, UserError
from src.data.csv_rows import read_rows, split_by_scene
from src.data.listing import FirstPairs, ListedPairs
from src.data.nyu import find_nyu, locate_nyu, open_nyu
from src.data.packed import TRAINING_SIZES
from src.rooms.rooms import RoomPairs


@dataclass(frozen=True)
class Data:
    """A chosen data set: its kind (`nyu`, `rooms` or `csv`), where it lies, and why it was taken.

    `rooms` is how many rooms to generate for training, `holes` whether their depth is left out where a Kinect's is,
    `without` what else is left out of them.
    """

    kind: str
    root: Path | None
    why: str
    validation: float = 0.1
    depth_scale: float | None = None
    max_depth_m: float = MAX_DEPTH_M
    rooms: int = ROOMS["train"]
    holes: bool = False
    without: str | None = None

    @property
    def last_split(self) -> str:
        """The split that a training ends on: the test frames, or where the csv names none, the held-out ones."""
        return "val" if self.kind == "csv" else "test"

    def open(self, split: str, limit: int | None = None) -> Pairs:
        """Open `train`, `val` or `test`, or only its first `limit` frames.

        **Raises**: UserError when the split is empty, or what is wrong with it is wrong with all of its files.
        """
        pairs = self._open(split)
        if not len(pairs):
            raise UserError(
                f"--data {self.kind}: the {split} split is empty. Raise --validation above {self.validation}."
            )
        return FirstPairs(pairs, limit) if limit else pairs

    def _open(self, split: str) -> Pairs:
        if self.kind == "rooms" or self.root is None:
            # Training frames need no more pixels than are stored; test frames have NYU's size, for its protocol.
            height = TRAINING_SIZES.image_px
            camera = NYU_INTRINSICS if split == "test" else NYU_INTRINSICS.resized(height * 4 // 3, height)
            if split != "train":
                return RoomPairs(ROOMS[split], split=split, intrinsics=camera)
            return RoomPairs(self.rooms, split=split, intrinsics=camera, holes=self.holes, without=self.without)
        if self.kind == "nyu":
            return open_nyu(self.root, split, validation=self.validation, max_depth_m=self.max_depth_m)
        rows = read_rows(self.root)
        if split != "test":
            rows = split_by_scene(rows, self.validation)[SPLITS.index(split)]
        units = {16: 1000.0, 32: 1.0} if self.depth_scale is None else dict.fromkeys((8, 16, 32), self.depth_scale)
        return ListedPairs(rows, self.root.parent, units, max_depth_m=self.max_depth_m)


def choose_data(
    kind: str = "auto",
    folder: Path | None = None,
    *,
    validation: float = 0.1,
    depth_scale: float | None = None,
    max_depth_m: float = MAX_DEPTH_M,
    rooms: int = ROOMS["train"],
    holes: bool = False,
    without: str | None = None,
) -> Data:
    """Settle on a data set.

    `auto` takes a file for a csv, else NYU where it finds it, else the generated rooms; every other kind is taken
    or refused.

    **Raises**: UserError when what was asked for is not there.
    """
    data = partial(
        Data,
        validation=validation,
        depth_scale=depth_scale,
        max_depth_m=max_depth_m,
        rooms=rooms,
        holes=holes,
        without=without,
    )
    if kind == "rooms":
        return data("rooms", None, "as asked")
    is_file = folder is not None and os.path.isfile(folder)  # unlike Path.is_file, it takes any name
    if kind == "csv" or (kind == "auto" and is_file):
        if not is_file:
            raise UserError(f"--data csv: got --data-dir {folder}, expected a csv file of image,depth rows.")
        return data("csv", folder, "as asked")
    if folder is not None:
        root = find_nyu(folder)
        if root is None:
            raise UserError(
                f"--data-dir {folder}: no NYU there, expected a folder with data/nyu2_train.csv and nyu2_test.csv. "
                "Check the path, or take --data rooms."
            )
        return data("nyu", root, "found at --data-dir")
    root, why = locate_nyu()
    if root is None and kind == "nyu":
        raise UserError(
            f"--data nyu: no NYU on this machine, and {why}. "
            "Download soumikrakshit/nyu-depth-v2 from Kaggle and name its folder with --data-dir."
        )
    if root is None:
        return data("rooms", None, f"no NYU on this machine, and {why}")
    return data("nyu", root, why)
