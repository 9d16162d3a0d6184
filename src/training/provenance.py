"""What ran: the source's revision, the versions, the hardware."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = ("torch", "torchvision", "timm", "adan-pytorch", "torchmetrics", "numpy", "pillow")
REPOSITORY = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """Tell what ran: source revision, versions, hardware."""
    facts = {"revision": revision(), "python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed"
    facts["device"] = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    )
    return facts


def describe_machine(precision: str, processes: int) -> str:
    """Tell what decides about the last bits of a training's figures: device, type, processes, threads, torch."""
    device = environment()["device"]
    return f"{processes} x {precision}, {device}, torch {torch.__version__}"


@cache
def revision() -> str:
    """Name the commit of this repository, with `+changes` where files differ from it, as at the first call."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+changes", "--abbrev=12", "--exclude=*"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return found.stdout.strip() or "unknown"
