"""Measure speed side by side: training, inference against other networks, reading, time to an error, rendering.

    python scripts/benchmark.py infer

Ratios are medians of the ratios within each round, so that a busy machine changes them little.
"""

from _root import run

from src.cli.options import parse_benchmark

if __name__ == "__main__":
    parse_benchmark(__doc__)  # --help and usage errors are answered before the imports that take seconds

import json
import statistics
from argparse import Namespace
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from src.benchmarks import time_to
from src.benchmarks.inference import measure_inference, median_of_ratios
from src.benchmarks.reading import measure_reading
from src.benchmarks.training import OUR_BATCH, rooms_per_s, time_original_recipe, time_our_loop
from src.cli.parsing import as_preset, as_tokens
from src.files import whole_file
from src.training.engine import choose_precision
from src.training.provenance import describe_machine


def main() -> None:
    options = parse_benchmark(__doc__)
    device = "cpu" if options.what in ("infer", "rooms") else "auto"
    precision = choose_precision(device, "auto")  # a GPU that cannot be used is named here, not by each measurement
    kinds = {"infer": compare_inference, "train": compare_training, "data": compare_reading}
    kinds |= {"time-to": time_quality, "rooms": time_rooms}
    rows = kinds[options.what](options)
    machine = describe_machine(precision.device, precision.name, 1)
    print_table(rows)
    print(f"\n{machine}")
    if options.json:
        with whole_file(options.json) as unfinished:
            unfinished.write_text(json.dumps({"machine": machine, "rounds": options.rounds, "rows": rows}, indent=1))


def compare_inference(options: Namespace) -> list[dict[str, Any]]:
    """Measure this network and its peers on the CPU, random weights, 224x224."""
    rows = []
    for cost in measure_inference(options.rounds, options.threads):
        row: dict[str, Any] = {"network": cost.name, "form": cost.form}
        for count in options.threads:
            row[f"ms, {count} threads"] = round(cost.latency_ms[count], 2)
            row[f"ratio, {count} threads"] = round(cost.ratio[count], 3)
        row |= {"photos/s": round(cost.photos_per_s, 1), "memory MB": round(cost.memory_mb, 1)}
        row |= {"file MB": round(cost.file_mb, 1), "M parameters": round(cost.parameters / 1e6, 2)}
        row |= {"M MACs": round(cost.macs / 1e6)}
        rows.append({key: None if value != value else value for key, value in row.items()})  # NaN is no JSON
    return rows


def compare_training(options: Namespace) -> list[dict[str, Any]]:
    """Measure this loop and the original's recipe alternately, each in a process of its own."""
    loops = {"ours": time_our_loop, "original's recipe": time_original_recipe}
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for round_ in tqdm(range(options.rounds), desc="measuring", unit=" round"):
        for name in loops if round_ % 2 else reversed(loops):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                rates[name].append(process.submit(loops[name], options.steps).result())
    base = rates["original's recipe"]
    return [
        {
            "loop": name,
            "images/s": ", ".join(f"{rate:.2f}" for rate in values),
            "ratio": round(median_of_ratios(values, base), 2),
        }
        for name, values in rates.items()
    ]


def compare_reading(options: Namespace) -> list[dict[str, Any]]:
    """Measure how fast frames are decoded, or read from the cache, and what share of a training step that is."""
    step_s = OUR_BATCH / time_our_loop(options.steps)
    readings = measure_reading(options.rounds, options.rows)
    decoded = {reading.length: reading.pairs_per_s for reading in readings if reading.reader == "Pillow"}
    rows = []
    for reading in readings:
        rate = statistics.median(reading.pairs_per_s)
        row = {"reader": reading.reader, "rows": reading.length, "pairs/s": round(rate)}
        row["ratio"] = round(median_of_ratios(reading.pairs_per_s, decoded[reading.length]), 1)
        row["share of a step"] = f"{OUR_BATCH / rate / step_s:.1%}"
        rows.append(row | {"start, s": round(reading.start_s, 2), "memory MB": round(reading.memory_mb, 1)})
    return rows


def time_quality(options: Namespace) -> list[dict[str, Any]]:
    """Train each recipe `--rounds` times, with seeds from 0, until `--max-minutes` are over."""
    rows = []
    asked = as_preset(options)
    shared = as_tokens({"data_dir": asked["data_dir"], "max_minutes": options.max_minutes})
    ours = as_tokens({"epochs": options.epochs, "init": asked["init"]})
    for seed in range(options.rounds):
        for recipe, own in ((time_to.OURS, ours), (time_to.ORIGINAL, [])):
            script = Path(__file__).with_name("train.py")
            course = time_to.train_recipe(script, [*own, *shared, f"--seed={seed}", *recipe.words])
            minutes = course.minutes_to(options.rmse_m)
            row = {"recipe": recipe.name, "seed": seed, "epochs": len(course.epochs)}
            row["minutes"] = round(course.epochs[-1][0], 2) if course.epochs else "less than an epoch"
            row[f"to {options.rmse_m:g} m"] = "not reached" if minutes is None else round(minutes, 2)
            row |= {"best validation RMSE, m": round(course.best, 3), "test RMSE, m": course.test_rmse_m or ""}
            rows.append(row)
    return rows


def time_rooms(options: Namespace) -> list[dict[str, Any]]:
    """Measure how many rooms of 224x224 one core renders."""
    return [{"rooms/s of one core": round(rooms_per_s(), 1)} for _ in range(options.rounds)]


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print rows with the same columns."""
    lines = [list(rows[0]), *(["" if value is None else str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print()
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


if __name__ == "__main__":
    run(main)
