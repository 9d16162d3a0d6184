"""What a run ran on: source revision, versions, hardware."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("torch", "torchvision", "timm", "adan-pytorch", "torchmetrics", "numpy", "pillow")
REPOSITORY = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """Return the source revision, versions and hardware."""
    facts = {"revision": revision(), "python": platform.python_version(), "platform": platform.platform()}
    facts |= {package: version(package) for package in PACKAGES}
    facts["processor"] = describe_device(torch.device("cpu"))
    if torch.cuda.is_available():
        facts["gpu"] = describe_device(torch.device("cuda"))
    return facts


def describe_device(device: torch.device) -> str:
    """Name the GPU, or the processor and its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "Apple GPU"
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():  # on Linux, where platform knows the architecture only
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {torch.get_num_threads()} threads"


def describe_machine(device: torch.device, precision: str, processes: int) -> str:
    """Describe what decides about the last bits of a training: device, type, processes, threads, torch."""
    return f"{processes} x {precision}, {describe_device(device)}, torch {torch.__version__}"


@cache
def revision() -> str:
    """Name the commit of this repository, with `+changes` where files differ from it, as at the first call."""
    command = ["git", "describe", "--always", "--dirty=+changes", "--abbrev=12", "--exclude=*"]
    # Neither a repository around this folder, nor the one whose hook runs this.
    of_a_hook = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    variables = {key: value for key, value in os.environ.items() if key not in of_a_hook}
    variables["GIT_CEILING_DIRECTORIES"] = str(REPOSITORY.parent)
    try:
        done = subprocess.run(command, cwd=REPOSITORY, env=variables, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"
