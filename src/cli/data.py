"""From options to frames: which data set, how many frames may be bad, decoding, progress bars."""

import hashlib
import os
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from tqdm import tqdm

from src.choices import PLUS_ROOMS, ROOMS, parse_max_bad
from src.cli.option_groups import idle_options
from src.cli.sources import Data, choose_data
from src.conventions import MAX_DEPTH_M, Batch, Pairs
from src.data.allowance import Allowance
from src.data.batches import TrainingBatches
from src.data.packed import Packed, Sizes, bytes_per_frame, pack
from src.training.distributed import is_first
from src.training.state import State

LARGE_CACHE_BYTES = 10**9  # from this size on, the size of the cache is printed before it is filled


def open_data(options: Namespace, max_depth_m: float = MAX_DEPTH_M) -> Data:
    """Choose the data set that the options ask for, and print which one it is."""
    return introduce(select_data(options, max_depth_m), options)


def select_data(options: Namespace, max_depth_m: float) -> Data:
    """Choose the data set that the options ask for."""
    if (options.data or "").removesuffix(PLUS_ROOMS) in ("auto", "nyu") and options.data_dir is None:
        print("looking for NYU Depth V2 …", flush=True)
    return choose_data(
        options.data,
        options.data_dir,
        validation=options.validation,
        depth_scale=options.depth_scale,
        fov_deg=options.fov,
        max_depth_m=max_depth_m,
        rooms=getattr(options, "rooms", ROOMS["train"]),
        without=getattr(options, "without", None),
    )


def introduce(data: Data, options: Namespace) -> Data:
    """Print which data set was chosen, and which options have no effect on it."""
    name = {"nyu": "NYU Depth V2", "rooms": "generated ROOMS, no real photos"}.get(data.kind, f"your {data.kind}")
    name += " and generated ROOMS" * data.mixed
    idle = idle_options(options, data.name)
    if "validation" in options.typed and data.kind in ("csv", "folder") and "val" in data.listed:
        idle.append("--validation, since they list their own validation frames")
    if idle:
        print(f"no effect on {name}: {', '.join(idle)}", flush=True)
    print("=" * 88, f"DATA: {name} ({data.why})", "=" * 88, sep="\n", flush=True)
    return data


def announce(pairs: Pairs) -> Pairs:
    """Print what a sample of the frames holds."""
    if pairs.summary and is_first():
        print(f"depth: {pairs.summary}", flush=True)
    return pairs


def announce_empty(count: int, total: int, max_depth_m: float, part: str = "") -> None:
    """Print how many frames have nothing to learn from or to score."""
    if count and is_first():
        print(f"{count} of {total} frames have no valid depth up to {max_depth_m:g} m{part}: left out", flush=True)


def describe_frames(kind: str, frames: Pairs, held_out: Pairs | None) -> str:
    """Describe the frames independently of their location, to compare between processes."""
    digest = hashlib.sha256("".join(pairs.identity for pairs in (frames, held_out) if pairs).encode()).hexdigest()
    return f"{kind}, {len(frames)} frames, digest {digest[:12]}"


def make_allowance(count: int, max_bad: str | None) -> Allowance:
    """Make the allowance of bad frames among `count`; the first process reports each on a line of its own."""
    report = partial(tqdm.write, file=sys.stderr) if is_first() else lambda line: None
    return Allowance(count, None if max_bad is None else parse_max_bad(max_bad), report)


def decode(frames: Pairs, sizes: Sizes, options: Namespace, size_px: tuple[int, int]) -> Packed:
    """Decode frames into the cache, with a progress bar, and with several workers where there are many frames."""
    needed = len(frames) * bytes_per_frame(sizes, size_px)
    if needed > LARGE_CACHE_BYTES:
        print(f"{len(frames)} frames take {needed / 1e9:.1f} GB in the cache {options.cache_dir}", flush=True)
    packed = pack(
        frames,
        options.cache_dir,
        sizes,
        size_px=size_px,
        max_depth_m=options.max_depth,
        allowance=make_allowance(len(frames), options.max_bad),
        workers=min(4, os.cpu_count() or 1) if len(frames) > 100 else 0,
        progress=partial(tqdm, desc=f"preparing {len(frames)} frames", **bar_options()),
    )
    announce_empty(len(packed.empty), len(frames), options.max_depth)
    return packed


def bar_options() -> dict[str, Any]:
    """Return tqdm's options: updates are rare in a log file or notebook, and only the first process shows a bar."""
    on_terminal = sys.stderr.isatty() and "JPY_PARENT_PID" not in os.environ  # Jupyter's `!` looks like a terminal
    return {"unit": " img", "mininterval": 0.2 if on_terminal else 30, "disable": not is_first()}


def image_bar(batches: TrainingBatches, state: State, epochs: int) -> tqdm:
    """Make the progress bar of a training, over the images of all epochs."""
    done = state.epoch * len(batches) + state.batch
    total = epochs * len(batches) * batches.batch_size
    return tqdm(total=total, initial=done * batches.batch_size, smoothing=0.05, **bar_options())


def count_images(bar: tqdm, batches: Iterable[Batch], size: int) -> Iterator[Batch]:
    """Yield the batches, and count their images on the progress bar."""
    for batch in batches:
        yield batch
        bar.update(size)
