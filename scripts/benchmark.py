"""Time our training loop and a straightforward one alternately, on the same network and files.

    python scripts/benchmark.py

The straightforward loop decodes files at every step, uses torch's default memory format and allocator, and runs the
three decoders one after the other. Each measurement is a process of its own.
"""

from _root import run

from src.cli.options import parse_benchmark

if __name__ == "__main__":
    parse_benchmark(__doc__)  # --help and usage errors are answered before the imports that take seconds

import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from src.cli.speed import rooms_per_s, time_our_loop, time_plain_loop, write_rooms
from src.conventions import IMAGE_SIZE_PX
from src.training.engine import choose_precision


def main() -> None:
    options = parse_benchmark(__doc__)
    if options.rooms:
        print(f"rooms  {rooms_per_s():.1f} pairs per second of one core, at {IMAGE_SIZE_PX}x{IMAGE_SIZE_PX}")
        return
    choose_precision("auto", "auto")  # a GPU that cannot be used is named here, not by each measurement
    loops = {"ours": partial(time_our_loop, keep_memory=not options.default_allocator), "plain": time_plain_loop}
    rates: dict[str, list[float]] = {name: [] for name in loops}
    with tempfile.TemporaryDirectory() as folder:
        write_rooms(Path(folder), count=(options.steps + 2) * options.batch_size)
        for round_ in tqdm(range(options.rounds), desc="measuring", unit=" pair"):
            for name in loops if round_ % 2 else reversed(loops):
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                    measurement = process.submit(loops[name], Path(folder), options.steps, options.batch_size)
                    rates[name].append(measurement.result())
    ratios = [ours / plain for ours, plain in zip(rates["ours"], rates["plain"], strict=True)]
    for name, values in rates.items():
        print(f"{name:>6}  " + "  ".join(f"{rate:6.2f}" for rate in values) + "  training images/s")
    print(" ratio  " + "  ".join(f"{ratio:6.2f}" for ratio in ratios) + f"  median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    run(main)
