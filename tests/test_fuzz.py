"""Hostile bytes for every reader: each case ends in a value or in our own error.

python -m pytest -m long tests/test_fuzz.py    # 25 times as many cases, other ones each time
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import ABOUT
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save as to_safetensors
from torch import nn

from src.cli.options import training_parser
from src.cli.parsing import read_preset
from src.conventions import UserError
from src.data.frame import FORMATS, read_depth, read_rgb
from src.data.listing import ListedPairs, read_rows
from src.data.packed import Sizes, pack
from src.training import checkpoint
from src.training.optim import make_ema, make_optimizer, make_schedule
from src.training.state import State

MORE = 25
PLANNED: list[int] = []


def fuzz(cases: int, *drawn: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a test that runs a check on so many drawn cases, and on `MORE` times as many when marked long."""
    PLANNED.append(cases)

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        @pytest.mark.parametrize("times", [1, pytest.param(MORE, marks=pytest.mark.long)])
        def test(tmp_path: Path, times: int) -> None:
            executed = 0

            @settings(max_examples=cases * times, derandomize=times == 1)
            @given(st.tuples(*drawn))
            def run(values: tuple[Any, ...]) -> None:
                nonlocal executed
                executed += 1
                check(tmp_path, *values)

            run()
            print(f"{executed} cases")
            assert executed >= cases * times

        return test

    return decorate


def ends_well(call: Callable[[], Any]) -> Any:
    """Return what a call returns, or None when it ends in our own error: one line that one can read."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return call()
    except UserError as error:
        message = str(error)
    except SystemExit as exit_:  # how argparse ends
        assert exit_.code == 2
        message = said.getvalue().removesuffix("\n")
    assert len(message.splitlines()) == 1
    assert 10 < len(message) < 5000
    return None


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["overwrite", "insert", "delete", "cut"]),
        st.integers(0, 99) | st.integers(0, 9999),  # what matters mostly stands at the beginning
        st.binary(min_size=1, max_size=8),
    ),
    max_size=3,
)


def damage(content: bytes, edits: list[tuple[str, int, bytes]], mend: bool = False) -> bytes:
    """Edit bytes; `mend` makes the check sums of a PNG right again, so that its chunks are believed."""
    for how, where, new in edits:
        at = where % (len(content) + 1)
        before, after = content[:at], content[at:]
        content = {
            "overwrite": before + new + after[len(new) :],
            "insert": before + new + after,
            "delete": before + after[len(new) :],
            "cut": before,
        }[how]
    return mend_png(content) if mend and content.startswith(b"\x89PNG\r\n\x1a\n") else content


def mend_png(content: bytes) -> bytes:
    mended, at = content[:8], 8
    while at < len(content):
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        mended += content[at:end] + zlib.crc32(content[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return mended


def draw_pictures(*sizes: tuple[int, int]) -> Iterator[bytes]:
    """Encode pictures in all modes and formats that are opened."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a phone"
    exif.get_ifd(0x8769)[0xA405] = 28
    rng = np.random.default_rng(0)
    for width, height in sizes:
        stored = rng.integers(0, 65535, (height, width), dtype=np.uint16)
        rgb = Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
        pictures = {mode: rgb.convert(mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr")}
        pictures |= {"I;16": Image.fromarray(stored), "F": Image.fromarray(stored / np.float32(1000))}
        frames = {"save_all": True, "append_images": [pictures["L"], pictures["P"]]}
        for format_ in FORMATS:
            for picture in pictures.values():
                for options in ({}, {"exif": exif}, frames, {"transparency": 3}, {"compression": "tiff_lzw"}):
                    file = io.BytesIO()
                    with contextlib.suppress(Exception):  # not every mode in every format
                        picture.save(file, format_, **options)
                        yield file.getvalue()


def files(*sizes: tuple[int, int]) -> st.SearchStrategy[bytes]:
    """Draw the bytes of a picture, mostly damaged, or any bytes."""
    pictures = st.deferred(lambda: st.sampled_from(sorted(set(draw_pictures(*sizes)))))
    return st.builds(damage, pictures, EDITS | st.just([]), st.booleans()) | st.binary(max_size=99)


@pytest.fixture(autouse=True)
def small_bombs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Pillow refuse what it takes for a bomb at 2 megapixels, which saves seconds at 170."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)


@fuzz(700, files((1, 1), (9, 7), (64, 48), (1, 200)))
def test_photos_and_depth(folder: Path, content: bytes) -> None:
    path = folder / "file"
    path.write_bytes(content)
    image = ends_well(lambda: read_rgb(path))
    if image is not None:
        assert image.dtype == np.uint8
        assert image.ndim == image.shape[2] == 3
    read = ends_well(lambda: read_depth(path))
    if read is not None:
        assert read[0].dtype == np.float32
        assert read[0].ndim == 2
        assert read[1] in (8, 16, 32)


@pytest.mark.filterwarnings("error")
@fuzz(200, files((64, 48)), st.sampled_from(["1.png", "1-depth.png"]))
def test_frames_and_packs(folder: Path, content: bytes, spoilt: str) -> None:
    Image.new("RGB", (64, 48)).save(folder / "0.png")
    Image.new("L", (64, 48), 100).save(folder / "0-depth.png")
    for name in ("1.png", "1-depth.png"):
        shutil.copy(folder / name.replace("1", "0"), folder / name)
    (folder / spoilt).write_bytes(content)
    (folder / "pairs.csv").write_text("0.png,0-depth.png\n1.png,1-depth.png\n")
    shutil.rmtree(folder / "cache", ignore_errors=True)
    pairs = ListedPairs(read_rows(folder / "pairs.csv"), folder, {8: 25.5, 16: 1000, 32: 1e-38}, max_depth_m=10)
    frame = ends_well(lambda: pairs[1])
    packed = pack(pairs, folder / "cache", Sizes(8, 4), max_depth_m=10)
    assert len(packed) == 1 + (frame is not None)
    assert set(packed.left_out) == ({1} if frame is None else set())
    batch = packed[range(len(packed))]
    assert (batch.depth_m.isfinite() & (batch.depth_m < 10)).all()
    assert len(list((folder / "cache").iterdir())) == 1


@fuzz(200, st.sampled_from(["images.npy", "depths.npy", "about.json"]), EDITS)
def test_packs_in_the_cache(folder: Path, spoilt: str, edits: list[tuple[str, int, bytes]]) -> None:
    if not (folder / "0.png").exists():
        Image.new("RGB", (64, 48), "red").save(folder / "0.png")
        Image.new("L", (64, 48), 100).save(folder / "0-depth.png")
        (folder / "pairs.csv").write_text("0.png,0-depth.png\n1.png,1-depth.png\n")
    pairs = ListedPairs(read_rows(folder / "pairs.csv"), folder, {8: 25.5}, max_depth_m=10)
    again = partial(pack, pairs, folder / "cache", Sizes(8, 4), max_depth_m=10)
    shutil.rmtree(folder / "cache", ignore_errors=True)
    again()
    (where,) = (folder / "cache").iterdir()
    (where / spoilt).write_bytes(damage((where / spoilt).read_bytes(), edits))
    packed = again()
    assert len(packed) == len(packed.names) == 1
    assert packed[[0]].image.shape == (1, 3, 8, 8)


CELLS = st.sampled_from(
    [
        *("0.png", "0-depth.png", "1.png", "link.png", "loop.png", "folder", "folder/0.png", "pairs.csv"),
        *("../secret.png", "folder/../../secret.png", "folder\\..\\..\\secret.png", "C:secret.png", "//server/x", "\0"),
        *(
            "",
            " ",
            '"',
            "a\nb",
            "\u2028",
            "\x1b[2J",
            "~",
            "-",
            ".",
            "..",
            "é",
            "\ufeff",
            "x" * 300,
            "x/" * 999,
            "x" * 9999,
        ),
    ]
) | st.text(max_size=9)
LIKELY = st.sampled_from(["0.png", "0-depth.png", "folder/0.png", "link.png"])
ROWS = st.lists(st.lists(CELLS, max_size=4) | st.lists(LIKELY, min_size=2, max_size=2), max_size=5)


def as_csv(rows: list[list[str]], quoted: bool, end: str) -> bytes:
    file = io.StringIO()
    if quoted:
        csv.writer(file, lineterminator=end).writerows(rows)
    else:
        file.writelines(",".join(row) + end for row in rows)
    return file.getvalue().encode("utf-8", "replace")


LISTS = (
    st.builds(as_csv, ROWS, st.booleans(), st.sampled_from(["\n", "\r\n", "\r"]))
    | st.builds(damage, st.just(b"0.png,0-depth.png\r\n1.png,0-depth.png,kitchen\r\n"), EDITS)
    | st.binary(max_size=99)
)


@fuzz(500, LISTS)
def test_lists(folder: Path, content: bytes) -> None:
    root = folder / "root"
    if not root.exists():
        (root / "folder").mkdir(parents=True)
        for path in (root / "0.png", root / "folder" / "0.png", root / "0-depth.png"):
            Image.new("L", (4, 3), 100).save(path)
        Image.new("L", (4, 3), 255).save(folder / "secret.png")
        (root / "link.png").symlink_to("../secret.png")
        (root / "loop.png").symlink_to("loop.png")
    (root / "pairs.csv").write_bytes(content)
    rows = ends_well(lambda: read_rows(root / "pairs.csv"))
    pairs = rows and ends_well(lambda: ListedPairs(rows, root, {8: 25.5}, max_depth_m=10))
    for index in range(len(pairs or ())):
        frame = ends_well(partial(pairs.__getitem__, index))
        assert frame is None or frame.image.max() == 100  # and not the secret's 255


PARSER = training_parser("")
FLAGS = sorted(vars(PARSER.parse_args([])))
SCALARS = (
    st.sampled_from(["auto", "../x.yaml", "1e3", "0x10", "10m", "50%", "-1", "--lr", "", "\0", "\x1b[2J", "a\nb"])
    | st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**4000)
    | st.floats()
    | st.text(max_size=9)
    | st.dates()
    | st.binary(max_size=9)
)
VALUES = st.recursive(SCALARS, lambda deeper: st.lists(deeper) | st.dictionaries(SCALARS, deeper), max_leaves=9)
KEYS = st.sampled_from([*FLAGS, "help", "", "=", "lr=1", "0"]) | SCALARS


def laugh(times: int, width: int) -> str:
    """Write a YAML file of a line per level that stands for width ** times words."""
    lines = [f"lr: &a0 [{', '.join(['ha'] * width)}]"]
    lines += [f"k{k}: &a{k} [{', '.join([f'*a{k - 1}'] * width)}]" for k in range(1, times)]
    return "\n".join(lines)


TAGS = st.sampled_from(["int", "float", "bool", "timestamp", "binary", "set", "omap", "python/name:os.system"])
RAW = st.builds("!!{} {}".format, TAGS, SCALARS) | st.sampled_from(
    ["2001-99-99", "0x" + "f" * 9999, "9" * 9999, "1:" * 999 + "1", "&a [*a]", "&a {lr: *a}"]
)
"""What YAML makes into a number, a date or an object, or fails to."""

PRESETS = (
    st.builds(
        lambda preset, edits: damage(yaml.dump(preset, allow_unicode=True).encode("utf-8", "replace"), edits),
        st.dictionaries(KEYS, VALUES, max_size=5) | VALUES,
        EDITS | st.just([]),
    )
    | st.builds(laugh, st.integers(1, 7), st.integers(1, 9)).map(str.encode)
    | st.builds(str.format, st.sampled_from(["lr: {}", "name: {}", "? {}\n: 1"]), RAW).map(str.encode)
    | st.builds(lambda depth: b"lr: " + b"[" * depth, st.integers(0, 999))
    | st.binary(max_size=99)
)


@fuzz(400, PRESETS)
def test_presets(folder: Path, content: bytes) -> None:
    path = folder / "preset.yaml"
    path.write_bytes(content)
    options = ends_well(lambda: PARSER.parse_over(read_preset(path), []))
    assert options is None or vars(options).keys() == set(FLAGS)


def make_state() -> State:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    optimizer = make_optimizer(network, "adamw", lr=1e-3, weight_decay=0)
    schedule = make_schedule(optimizer, steps=9, warmup_steps=1)
    return State(network, optimizer, schedule, torch.amp.GradScaler("cpu", enabled=False), make_ema(network, 0.9))


def write_checkpoint(changes: dict[tuple[str, str], Any], signed: bool) -> bytes:
    """Write a state as a run does, with some of its values changed, and the checksum of before or after."""
    state, file = make_state(), io.BytesIO()
    content = {"about": dict(ABOUT), **state.weights(), "progress": state.progress()}
    before = checkpoint.digest(content)
    for (part, key), value in changes.items():
        content[part][key] = value
    digest = checkpoint.digest(content) if signed else before
    torch.save({"mark": checkpoint.MARK, "format": 2, "sha256": digest, **content}, file)
    return file.getvalue()


def edit_pickle(content: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
    """Edit what the zip holds, not the zip: all sizes and check sums are right again."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as given, zipfile.ZipFile(changed, "w") as new:
        for record in given.infolist():
            held = given.read(record)
            new.writestr(record.filename, damage(held, edits) if record.filename.endswith("data.pkl") else held)
    return changed.getvalue()


SOUND = write_checkpoint({}, signed=True)
EXPORTED = to_safetensors(
    {"weight": torch.zeros(2, 3)},
    metadata={"mark": checkpoint.MARK, "format": "1", "about": json.dumps({**ABOUT, "weights": "ema"})},
)
CHANGED = st.dictionaries(
    st.tuples(st.just("about"), st.sampled_from(list(ABOUT)))
    | st.tuples(st.just("progress"), st.sampled_from(list(make_state().progress())))
    | st.tuples(st.sampled_from(["network", "ema"]), st.sampled_from(["0.weight", "1.running_var", "other"])),
    VALUES | st.builds(torch.zeros, st.lists(st.integers(0, 3), max_size=4)),
    max_size=2,
)
CHECKPOINTS = (
    st.tuples(st.just("x.pt"), st.builds(write_checkpoint, CHANGED, st.booleans()))
    | st.tuples(st.just("x.pt"), st.builds(damage, st.just(SOUND), EDITS))
    | st.tuples(st.just("x.pt"), st.builds(edit_pickle, st.just(SOUND), EDITS))
    | st.tuples(st.just("x.safetensors"), st.builds(damage, st.just(EXPORTED), EDITS))
    | st.tuples(st.sampled_from(["x.pt", "x.safetensors"]), st.binary(max_size=99))
)


@fuzz(500, CHECKPOINTS)
def test_checkpoints(folder: Path, named: tuple[str, bytes]) -> None:
    name, content = named
    (folder / name).write_bytes(content)
    loaded = ends_well(lambda: checkpoint.load(folder / name))
    if loaded is None:
        return
    ends_well(lambda: checkpoint.choose_weights(loaded))
    ends_well(lambda: PARSER.parse_over(loaded["about"]["options"], []))
    if "progress" in loaded:
        ends_well(lambda: make_state().restore(loaded))


def test_the_plan_is_kept() -> None:
    assert sum(PLANNED) >= 2500
    assert sum(PLANNED) * MORE >= 50_000
