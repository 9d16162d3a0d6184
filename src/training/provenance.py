"""What ran: the source's revision, the versions, the hardware."""

from __future__ import annotations

import contextlib
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
    facts["processor"] = describe_device(torch.device("cpu"))
    if torch.cuda.is_available():
        facts["gpu"] = describe_device(torch.device("cuda"))
    return facts


def describe_device(device: torch.device) -> str:
    """Name what computes: the GPU, or the processor and its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "Apple GPU"
    with contextlib.suppress(OSError, StopIteration):  # only Linux has this file
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        return f"{model}, {torch.get_num_threads()} threads"
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


def describe_machine(device: torch.device, precision: str, processes: int) -> str:
    """Tell what decides about the last bits of a training's figures: device, type, processes, threads, torch."""
    return f"{processes} x {precision}, {describe_device(device)}, torch {torch.__version__}"


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
