"""Damaged input for every reader: each case ends in a value or in our own error.

python -m pytest -m long tests/test_fuzz.py    # 60 times as many random cases
"""

import contextlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from itertools import product
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
from tiny import content_of, make_state

from src.cli.options import training_parser
from src.cli.parsing import read_preset
from src.conventions import UserError
from src.data.csv_rows import read_rows
from src.data.images import FORMATS, open_image, read_depth, to_rgb
from src.data.listing import ListedPairs
from src.training import checkpoint

Edits = list[tuple[int, bytes, int]]
Check = Callable[..., None]


def fuzz(cases: int, *strategies: st.SearchStrategy[Any]) -> Callable[[Check], Check]:
    """Run a check on `cases` fixed cases, or when marked long on 60 times as many random ones."""

    def decorate(check: Check) -> Check:
        @pytest.mark.parametrize("times", [1, pytest.param(60, marks=pytest.mark.long)])
        def test(tmp_path: Path, times: int) -> None:
            run = given(st.tuples(*strategies))(lambda values: check(tmp_path, *values))
            settings(max_examples=cases * times, derandomize=times == 1)(run)()

        return test

    return decorate


def ends_well(call: Callable[[], Any]) -> Any:
    """Return the result of a call, or None if it ends in our own error: one readable line."""
    output = io.StringIO()
    try:
        with contextlib.redirect_stderr(output), contextlib.redirect_stdout(output):
            return call()
    except UserError as error:
        message = str(error)
    except SystemExit as exit_:  # raised by argparse
        assert exit_.code == 2
        message = output.getvalue().removesuffix("\n")
    assert len(message.splitlines()) == 1
    assert 10 < len(message) < 5000
    return None


POSITIONS = st.integers(0, 99) | st.integers(0, 9999)  # headers come first
EDITS = st.lists(st.tuples(POSITIONS, st.binary(max_size=8), st.integers(0, 8) | st.just(10**9)), max_size=3)


def damage(content: bytes, edits: Edits, fix_checksums: bool = False) -> bytes:
    """Insert, delete and overwrite bytes; with correct checksums, the chunks of a PNG are decoded nevertheless."""
    for position, new, removed in edits:
        position %= len(content) + 1
        content = content[:position] + new + content[position + removed :]
    if not fix_checksums or not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return content
    fixed, start = content[:8], 8
    while start < len(content):
        end = start + 8 + int.from_bytes(content[start : start + 4], "big")
        fixed += content[start:end] + zlib.crc32(content[start + 4 : end]).to_bytes(4, "big")
        start = end + 4
    return fixed


def encode_pictures() -> list[bytes]:
    """Encode two pictures in all modes and formats that are opened."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a phone"
    exif.get_ifd(0x8769)[0xA405] = 28
    encoded = set()
    for size in ((64, 48), (1, 200)):
        rgb = Image.linear_gradient("L").resize(size).convert("RGB")
        pictures = [rgb.convert(mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "F")]
        pictures.append(Image.fromarray(np.asarray(pictures[1]).astype(np.uint16) * 257))
        frames = {"save_all": True, "append_images": pictures[1:4]}
        choices = ({}, {"exif": exif}, frames, {"transparency": 3}, {"compression": "tiff_lzw"})
        for format_, picture, options in product(FORMATS, pictures, choices):
            file = io.BytesIO()
            with contextlib.suppress(Exception):  # not every mode in every format
                picture.save(file, format_, **options)
                encoded.add(file.getvalue())
    return sorted(encoded)


PICTURES = st.deferred(lambda: st.sampled_from(encode_pictures()))
FILES = st.builds(damage, PICTURES, EDITS | st.just([]), st.booleans()) | st.binary(max_size=99)


@pytest.fixture(autouse=True)
def small_bombs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Pillow refuse pictures of 2 megapixels, which saves seconds at 170."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)


@fuzz(300, FILES)
def test_photos_and_depth(folder: Path, content: bytes) -> None:
    path = folder / "file"
    path.write_bytes(content)
    image = ends_well(lambda: to_rgb(open_image(path), path))
    if image is not None:
        assert image.dtype == np.uint8
        assert image.ndim == image.shape[2] == 3
    depth = ends_well(lambda: read_depth(path))
    if depth is not None:
        assert depth[0].dtype == np.float32
        assert depth[0].ndim == 2
        assert depth[1] in (8, 16, 32)


PATHS = ["0.png", "0-depth.png", "folder/0.png", "link.png"]
ODD_PATHS = ["loop.png", "folder", "pairs.csv", "../secret.png", "folder/../../secret.png", "C:secret.png"]
ODD_CELLS = ["\0", "", " ", '"', '"x,y"', "a\nb", "\u2028", "\x1b[2J", "~", "-", ".", "..", "é", "\ufeff", "x/" * 999]
CELLS = st.sampled_from(PATHS + ODD_PATHS + ODD_CELLS) | st.text(max_size=9)
ROWS = st.lists(st.lists(CELLS, max_size=4) | st.lists(st.sampled_from(PATHS), min_size=2, max_size=2), max_size=5)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])
LISTS = (
    st.builds(lambda rows, end: end.join(map(",".join, rows)).encode("utf-8", "replace"), ROWS, ENDS)
    | st.builds(damage, st.just(b"0.png,0-depth.png\r\n1.png,0-depth.png,kitchen\r\n"), EDITS)
    | st.binary(max_size=99)
)


@fuzz(250, LISTS)
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
        assert frame is None or frame.image.max() == 100  # never the secret's 255


PARSER = training_parser("")
FLAGS = sorted(vars(PARSER.parse_args([])))
WORDS = ["auto", "../x.yaml", "1e3", "0x10", "10m", "50%", "-1", "--lr", "", "\0", "\x1b[2J", "a\nb"]
SCALARS = st.sampled_from(WORDS) | st.sampled_from([None, False, True, 10**4000]) | st.integers() | st.floats()
SCALARS |= st.text(max_size=9) | st.dates() | st.binary(max_size=9)
VALUES = st.recursive(SCALARS, lambda deeper: st.lists(deeper) | st.dictionaries(SCALARS, deeper), max_leaves=9)
KEYS = st.sampled_from([*FLAGS, "help", "", "=", "lr=1", "0"]) | SCALARS


def yaml_bomb(times: int, width: int) -> str:
    """Write a YAML file of a line per level that expands to width ** times words."""
    lines = [f"lr: &a0 [{', '.join(['ha'] * width)}]"]
    lines += [f"k{k}: &a{k} [{', '.join([f'*a{k - 1}'] * width)}]" for k in range(1, times)]
    return "\n".join(lines)


TAGS = st.sampled_from(["int", "float", "bool", "timestamp", "binary", "set", "omap", "python/name:os.system"])
RAW = st.builds("!!{} {}".format, TAGS, SCALARS) | st.sampled_from(
    ["2001-99-99", "0x" + "f" * 9999, "9" * 9999, "1:" * 999 + "1", "&a [*a]", "&a {lr: *a}"]
)
"""What YAML converts to a number, a date or an object, or fails to."""

PRESETS = (
    st.builds(
        lambda preset, edits: damage(yaml.dump(preset, allow_unicode=True).encode("utf-8", "replace"), edits),
        st.dictionaries(KEYS, VALUES, max_size=5) | VALUES,
        EDITS | st.just([]),
    )
    | st.builds(yaml_bomb, st.integers(1, 7), st.integers(1, 9)).map(str.encode)
    | st.builds(str.format, st.sampled_from(["lr: {}", "name: {}", "? {}\n: 1"]), RAW).map(str.encode)
    | st.builds(lambda depth: b"lr: " + b"[" * depth, st.integers(0, 999))
    | st.binary(max_size=99)
)


@fuzz(150, PRESETS)
def test_presets(folder: Path, content: bytes) -> None:
    path = folder / "preset.yaml"
    path.write_bytes(content)
    options = ends_well(lambda: PARSER.parse_over(read_preset(path), []))
    assert options is None or vars(options).keys() == set(FLAGS)


def write_checkpoint(changes: dict[tuple[str, str], Any], signed: bool) -> bytes:
    """Write a state as a run does, with some values changed, and the checksum of before or after."""
    content, file = {"about": dict(ABOUT), **content_of(make_state())}, io.BytesIO()
    before = checkpoint.digest(content)
    for (part, key), value in changes.items():
        content[part][key] = value
    digest = checkpoint.digest(content) if signed else before
    torch.save({"mark": checkpoint.MARK, "format": 2, "sha256": digest, **content}, file)
    return file.getvalue()


def edit_pickle(content: bytes, edits: Edits) -> bytes:
    """Edit the pickle in the zip, whose sizes and checksums are then correct."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(changed, "w") as new:
        for record in archive.infolist():
            data = archive.read(record)
            new.writestr(record.filename, damage(data, edits) if record.filename.endswith("data.pkl") else data)
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


@fuzz(250, CHECKPOINTS)
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
