"""From options to frames: which data, how many of them may be bad, and the wait while they are decoded."""

from __future__ import annotations

import hashlib
import os
import sys
from argparse import Namespace
from functools import partial
from typing import Any

from tqdm import tqdm

from src.choices import ROOMS, parse_max_bad
from src.cli.options import name_idle
from src.cli.sources import Data, choose_data
from src.conventions import MAX_DEPTH_M, Pairs
from src.data.allowance import Allowance
from src.data.packed import Packed, Sizes, bytes_per_frame, pack
from src.training.distributed import is_first

TOLD_FROM_BYTES = 10**9


def open_data(options: Namespace, max_depth_m: float = MAX_DEPTH_M) -> Data:
    """Settle on the data that the options ask for, and say so, unmissably."""
    if options.data in ("auto", "nyu") and options.data_dir is None:
        print("looking for NYU Depth V2 …", flush=True)
    data = choose_data(
        options.data,
        options.data_dir,
        validation=options.validation,
        depth_scale=options.depth_scale,
        max_depth_m=max_depth_m,
        rooms=getattr(options, "rooms", ROOMS["train"]),
        holes=getattr(options, "holes", False),
        without=getattr(options, "without", None),
    )
    name = {"nyu": "NYU Depth V2", "rooms": "generated ROOMS, no real photos", "csv": "your csv"}[data.kind]
    if idle := name_idle(options, data.kind):
        print(f"no effect on {name}: {', '.join(idle)}", flush=True)
    print("=" * 88, f"DATA: {name} ({data.why})", "=" * 88, sep="\n", flush=True)
    return data


def describe_frames(kind: str, frames: Pairs, held_out: Pairs | None) -> str:
    """Say what several processes must have in common before they train as one, wherever their copies lie."""
    digest = hashlib.sha256("".join(pairs.identity for pairs in (frames, held_out) if pairs).encode()).hexdigest()
    return f"{kind}, {len(frames)} frames, digest {digest[:12]}"


def make_allowance(count: int, max_bad: str | None) -> Allowance:
    """Allow so many bad frames of `count`, and name each on a line of its own; one process does so for all."""
    report = partial(tqdm.write, file=sys.stderr) if is_first() else lambda line: None
    return Allowance(count, None if max_bad is None else parse_max_bad(max_bad), report)


def decode(frames: Pairs, sizes: Sizes, options: Namespace) -> Packed:
    """Decode frames into the cache, with a bar and on all cores where there are many; say first how much it takes."""
    needed = len(frames) * bytes_per_frame(sizes)
    if needed > TOLD_FROM_BYTES:
        print(f"{len(frames)} frames take {needed / 1e9:.1f} GB in the cache {options.cache_dir}", flush=True)
    return pack(
        frames,
        options.cache_dir,
        sizes,
        max_depth_m=options.max_depth,
        allowance=make_allowance(len(frames), options.max_bad),
        workers=min(4, os.cpu_count() or 1) if len(frames) > 100 else 0,
        progress=partial(tqdm, desc=f"preparing {len(frames)} frames", **bar_options()),
    )


def bar_options() -> dict[str, Any]:
    """Redraw progress bars often on a terminal, rarely in a log file or notebook; only the first process has one."""
    on_terminal = sys.stderr.isatty() and "JPY_PARENT_PID" not in os.environ  # Jupyter's `!` looks like a terminal
    return {"unit": " img", "mininterval": 0.2 if on_terminal else 30, "disable": not is_first()}
