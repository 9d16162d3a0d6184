"""From `--data` and `--data-dir` to the frames of a split."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from src.choices import PLUS_ROOMS, ROOMS, SPLITS
from src.conventions import MAX_DEPTH_M, NYU_INTRINSICS, Pairs, UserError
from src.data.csv_rows import Row, read_splits, split_by_scene
from src.data.folder_rows import is_paired_folder, read_folder
from src.data.listing import KEY_DIGITS, Concatenation, ListedPairs, Subset
from src.data.nyu import find_nyu, locate_nyu, open_nyu
from src.data.packed import TRAINING_SIZES
from src.rooms.rooms import RoomPairs

MOST_KEYS = 100_000  # 1 MB, half of what the description of a checkpoint may take


@dataclass(frozen=True)
class Data:
    """A data set: its kind, where it is, why it was chosen, and the options that concern it.

    `rooms` is how many training rooms to generate, `without` an ingredient to leave out. With `mixed`, rooms are added
    to the frames to train on.
    """

    kind: str
    root: Path | None
    why: str
    validation: float = 0.1
    depth_scale: float | None = None
    fov_deg: float | None = None
    max_depth_m: float = MAX_DEPTH_M
    rooms: int = ROOMS["train"]
    without: str | None = None
    mixed: bool = False

    @property
    def name(self) -> str:
        """What `--data` calls it."""
        return self.kind + PLUS_ROOMS * self.mixed

    @property
    def label(self) -> str:
        """The kind, for names of files; of own pairs with the start of their file's or folder's name."""
        if self.root is None or self.kind not in ("csv", "folder"):
            return self.kind
        return f"{self.kind}-{self.root.resolve().name.removesuffix('.csv')[:60]}"

    @property
    def last_split(self) -> str:
        """The split that a training is scored on: the test frames, or where there are none, the validation frames."""
        return "test" if self.kind in ("nyu", "rooms") or "test" in self.listed else "val"

    @property
    def holds_out(self) -> bool:
        """Whether there are validation frames: of a csv or folder also those that it lists itself."""
        return self.kind == "rooms" or self.validation > 0 or (self.kind != "nyu" and "val" in self.listed)

    @property
    def leaves_some_to_score(self) -> bool:
        """Whether there are frames that a training is scored on, those of `last_split`."""
        return self.last_split == "test" or self.holds_out

    @cached_property
    def listed(self) -> dict[str, list[Row]]:
        """The pairs of a csv or folder, by split; those of no split under ""."""
        assert self.root is not None
        return read_splits(self.root) if self.kind == "csv" else read_folder(self.root)

    @cached_property
    def _opened(self) -> dict[str, Pairs]:
        """The splits that were opened, since opening one looks at all of its files."""
        return {}

    def is_of_training(self, about: Mapping[str, Any]) -> bool:
        """Tell whether a network was trained on this csv or folder, or a copy, a quarter of whose frames it knows."""
        if self.kind not in ("csv", "folder") or self.root is None:
            return False
        if about["options"].get("data_dir") == str(self.root.resolve()):
            return True
        try:
            frames = self.open("train")
        except UserError:  # other data may not be readable in the training's unit
            return False
        return count_known(about, frames) >= len(frames) / 4

    def has_seen(self, about: Mapping[str, Any]) -> bool:
        """Tell whether a network, described by `about`, was trained on this csv or folder, or on a copy of it.

        Of a copy, it knows at least a quarter of the frames, and none of those that are held out here.
        """
        if self.kind not in ("csv", "folder") or self.root is None:
            return False
        if about["options"].get("data_dir") == str(self.root.resolve()):
            return True
        frames = self.open("test")
        if count_known(about, frames) < len(frames) / 4:
            return False
        return self.last_split == "test" or not self.holds_out or not count_known(about, self.open("val"))

    def count_trained(self, about: Mapping[str, Any], split: str, pairs: Pairs) -> int:
        """Count the frames of a split that a network was trained on; all or none if its checkpoint does not tell."""
        if about.get("frames"):
            return count_known(about, pairs)
        trained = about["options"]
        is_kind = trained["data"].removesuffix(PLUS_ROOMS) == self.kind
        is_held_out_less = split == "val" and is_kind and trained.get("validation", 0) < self.validation
        return len(pairs) * (is_held_out_less or (split != self.last_split == "val" and self.has_seen(about)))

    def open(self, split: str, limit: int | None = None) -> Pairs:
        """Open `train`, `val` or `test`, or only its first `limit` frames.

        **Raises**: UserError when the split is empty or its list cannot be used.
        """
        if split not in self._opened:
            self._opened[split] = self._open(split)
        pairs = self._opened[split]
        if not len(pairs):
            advice = f"Raise --validation above {self.validation}" if split == "val" else "Add frames"
            raise UserError(f"--data {self.kind}: the {split} split is empty. {advice}.")
        return Subset(pairs, range(min(limit, len(pairs)))) if limit else pairs

    def open_training(self, limit: int | None = None) -> Pairs:
        """Open the frames to train on: those of `train`, followed by rooms if they are mixed."""
        real = self.open("train", limit)
        return Concatenation([real, replace(self, kind="rooms").open("train", limit)]) if self.mixed else real

    def _open(self, split: str) -> Pairs:
        if self.kind == "rooms" or self.root is None:
            # Training rooms have the size that the cache stores; test rooms have NYU's size, as its protocol expects.
            height = TRAINING_SIZES.image_px
            camera = NYU_INTRINSICS if split == "test" else NYU_INTRINSICS.resized(height * 4 // 3, height)
            if split != "train":
                return RoomPairs(ROOMS[split], split=split, intrinsics=camera)
            return RoomPairs(self.rooms, split=split, intrinsics=camera, without=self.without)
        if self.kind == "nyu":
            return open_nyu(self.root, split, validation=self.validation, max_depth_m=self.max_depth_m)
        rows = [row for name, part in self.listed.items() if name in ("", "train") for row in part]
        if split == "test":
            rows = self.listed.get("test") or [row for part in self.listed.values() for row in part]
        elif "val" not in self.listed:
            rows = split_by_scene(rows, self.validation)[SPLITS.index(split)]
        elif split == "val":
            rows = self.listed["val"]
        units = {16: 1000.0, 32: 1.0} if self.depth_scale is None else dict.fromkeys((8, 16, 32), self.depth_scale)
        root = self.root.parent if self.kind == "csv" else self.root
        return ListedPairs(rows, root, units, max_depth_m=self.max_depth_m, fov_deg=self.fov_deg)


def join_keys(pairs: Pairs) -> str:
    """Write the keys of training frames for a checkpoint; none of more frames than it can hold."""
    return "".join(pairs.keys) if len(pairs.keys) <= MOST_KEYS else ""


def count_known(about: Mapping[str, Any], pairs: Pairs) -> int:
    """Count the frames that a network, described by `about`, was trained on; 0 where its checkpoint does not tell."""
    joined = about.get("frames", "")
    trained = {joined[start : start + KEY_DIGITS] for start in range(0, len(joined), KEY_DIGITS)}
    return sum(key in trained for key in pairs.keys)


def choose_data(kind: str = "auto", folder: Path | None = None, **settings: Any) -> Data:
    """Choose a data set as `find_data` does, with any of `Data`'s settings; a kind that ends in +rooms mixes."""
    return Data(*find_data(kind.removesuffix(PLUS_ROOMS), folder), **settings, mixed=kind.endswith(PLUS_ROOMS))


def find_data(kind: str, folder: Path | None) -> tuple[str, Path | None, str]:
    """Find the data of `--data` and `--data-dir`: their kind, where they are, and why they were chosen.

    `auto` takes what the folder holds: a csv, images/ and depth/, or NYU; without a folder NYU if it is found, else
    rooms. Any other kind is taken or refused.

    **Raises**: UserError when the data that were asked for are not there.
    """
    if kind == "rooms":
        return "rooms", None, "as asked"
    is_file = folder is not None and os.path.isfile(folder)  # unlike Path.is_file, it accepts any name
    if kind != "nyu" and folder is not None and not is_file and is_paired_folder(folder):
        return "folder", folder, "as asked"
    if kind == "folder":
        raise UserError(f"--data folder: got --data-dir {folder}, expected a folder with images/ and depth/.")
    if kind == "csv" or (kind == "auto" and is_file):
        if not is_file:
            raise UserError(
                f"--data csv: got --data-dir {folder}, expected a csv file of image,depth rows, "
                "or a folder with images/ and depth/."
            )
        return "csv", folder, "as asked"
    if folder is not None:
        root = find_nyu(folder)
        if root is None:
            raise UserError(
                f"--data-dir {folder}: no NYU there, expected a folder with data/nyu2_train.csv and nyu2_test.csv, "
                "or with images/ and depth/, or a csv file. Check the path, or take --data rooms."
            )
        return "nyu", root, "found at --data-dir"
    root, why = locate_nyu()
    if root is None and kind == "nyu":
        raise UserError(
            f"--data nyu: no NYU on this machine, and {why}. "
            "Download soumikrakshit/nyu-depth-v2 from Kaggle and name its folder with --data-dir."
        )
    return ("nyu", root, why) if root else ("rooms", None, f"no NYU on this machine, and {why}")
