"""Minutes of training until a recipe reaches an error on validation scenes."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from src.choices import EMBEDDED_ENCODER
from src.conventions import UserError

EVALUATION = "evaluation-nyu-test.json"


class Recipe(NamedTuple):
    """Options of scripts/train.py, and how they are named in the table."""

    name: str
    words: tuple[str, ...]


OURS = Recipe("ours", ("--preset", "nyu.yaml"))
ORIGINAL = Recipe(
    "original's recipe",
    ("--preset", "original/lr-2e-3.yaml", "--encoder", EMBEDDED_ENCODER, "--target", "metric", "--validation", "0.1"),
)
"""Its optimiser, loss, constant rate, batch and flip, on this network and in metres."""


class Course(NamedTuple):
    """One training: (minutes, validation RMSE) after each epoch; the RMSE on the test frames, if it ended in time."""

    epochs: list[tuple[float, float]]
    test_rmse_m: float | None

    def minutes_to(self, rmse_m: float) -> float | None:
        """Return when the error was first reached, None where it was not."""
        return next((minutes for minutes, error in self.epochs if error <= rmse_m), None)

    @property
    def best(self) -> float:
        """The smallest validation error."""
        return min((error for _, error in self.epochs), default=float("nan"))


def train_recipe(script: Path, words: Sequence[str]) -> Course:
    """Train by scripts/train.py with these options on NYU.

    **Raises**: UserError when the training fails; its messages have been printed.
    """
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        status = subprocess.call([sys.executable, str(script), "--data", "nyu", "--out", str(run), *words])
        if status:
            raise UserError(f"{script.name} ended with status {status}, see above.")
        return read_course(run)


def read_course(run: Path) -> Course:
    """Read a run's folder. Minutes are those of the training steps: without validation and preparation."""
    batch_size, elapsed_s, step, epochs = yaml.safe_load((run / "options.yaml").read_text())["batch_size"], 0.0, 0, []
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        elapsed_s += (record["step"] - step) * batch_size / record["train_images_per_s"]
        step = record["step"]
        epochs.append((elapsed_s / 60, record["val_rmse_m"]))
    scores = run / EVALUATION
    return Course(epochs, json.loads(scores.read_text())["protocols"]["eigen"]["rmse_m"] if scores.exists() else None)
