"""Latency, throughput, memory and size of this network and its peers, side by side on the CPU."""

import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from src.benchmarks.peers import PEERS
from src.conventions import IMAGE_SIZE_PX
from src.network import DepthNet, summarize
from src.network.depthnet import Part
from src.network.int8 import to_int8
from src.network.onnx_export import to_graph, to_onnx, write_model

OURS, BASE = "ours", "FastDepth"
BATCH = 8  # photos at once, for the throughput
CALLS = 5  # in a row, per measurement
REST_S = 0.05  # before each: ONNX Runtime's threads spin for a while after a call

MEMORY_OF = """
import pathlib, sys
import numpy, onnxruntime
status = pathlib.Path("/proc/self/status")  # the peak that getrusage tells is at least that of the parent process
def peak(): return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024 if status.exists() else float("nan")
before = peak()
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
(entry,) = session.get_inputs()
kind = numpy.uint8 if "uint8" in entry.type else numpy.float32
session.run(None, {entry.name: numpy.zeros([size if isinstance(size, int) else 1 for size in entry.shape], kind)})
print(peak() - before)
"""
"""Run without torch, whose import takes more memory than any network."""

Call = Callable[[], Any]


class Network(NamedTuple):
    """One network in one form, as files for one photo and for a batch."""

    name: str
    form: str
    size: Part
    file: Path
    batch_file: Path


class Cost(NamedTuple):
    """What one network in one form costs, at batch 1 but for the throughput; NaN where it was not measured."""

    name: str
    form: str
    latency_ms: dict[int, float]  # median, by number of threads
    ratio: dict[int, float]  # to FastDepth in ONNX Runtime: the median of the ratios within a round
    photos_per_s: float
    memory_mb: float  # that loading and one call add to a process; NaN but on Linux
    file_mb: float
    parameters: int
    macs: int


def measure_inference(rounds: int, threads: Sequence[int]) -> list[Cost]:
    """Measure this network and its peers in ONNX Runtime, and this one also in int8 and in PyTorch."""
    torch.manual_seed(0)
    ours = DepthNet(pretrained=False)
    randomise_norms(ours)
    with tempfile.TemporaryDirectory() as folder:
        networks = export_all(ours, Path(folder))  # ours in float32 is the first
        times = {count: time_all(networks, ours, count, rounds) for count in threads}
        base = {count: times[count][BASE, "float32"] for count in threads}
        costs = []
        by_form = {(network.name, network.form): network for network in networks}
        for key in times[threads[0]]:
            network = by_form.get(key)
            costs.append(
                Cost(
                    *key,
                    latency_ms={count: 1e3 * statistics.median(times[count][key]) for count in threads},
                    ratio={count: median_of_ratios(times[count][key], base[count]) for count in threads},
                    photos_per_s=throughput(network.batch_file, max(threads)) if network else float("nan"),
                    memory_mb=memory_mb(network.file) if network else float("nan"),
                    file_mb=network.file.stat().st_size / 1e6 if network else float("nan"),
                    parameters=(network or networks[0]).size.parameters,
                    macs=(network or networks[0]).size.macs,
                )
            )
    return costs


def export_all(ours: DepthNet, folder: Path) -> list[Network]:
    """Write all networks as ONNX files; those whose package is missing are named and left out."""
    noise = np.random.default_rng(0).integers(0, 256, (2, IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3), np.uint8)
    models = {
        "single": to_onnx(ours, unit=1.0),
        "batch": to_onnx(ours, unit=1.0, dynamic=True),
        "int8": to_int8(ours, unit=1.0, images=list(noise)),
    }
    files = {name: folder / f"ours-{name}.onnx" for name in models}
    for name, model in models.items():
        write_model(model, files[name], {})
    size = summarize(ours)[-1]
    networks = [
        Network(OURS, "float32", size, files["single"], files["batch"]),
        Network(OURS, "int8", size, files["int8"], files["int8"]),
    ]
    for name, make in PEERS.items():
        try:
            peer = make()
        except ImportError as error:
            print(f"{name}: left out ({error})", flush=True)
            continue
        randomise_norms(peer)
        single, batch = (folder / f"{len(networks)}-{count}.onnx" for count in (1, BATCH))
        for file, count in ((single, 1), (batch, BATCH)):
            write_model(to_graph(peer, torch.zeros(count, 3, IMAGE_SIZE_PX, IMAGE_SIZE_PX)), file, {})
        networks.append(Network(name, "float32", summarize(peer)[-1], single, batch))
    return networks


def time_all(
    networks: Sequence[Network], ours: DepthNet, threads: int, rounds: int
) -> dict[tuple[str, str], list[float]]:
    """Time all networks in turn, `rounds` times: seconds per call at batch 1."""
    torch.set_num_threads(threads)
    calls: dict[tuple[str, str], Call] = {
        (network.name, network.form): open_file(network.file, threads) for network in networks
    }
    photo = torch.rand(1, 3, IMAGE_SIZE_PX, IMAGE_SIZE_PX).contiguous(memory_format=torch.channels_last)
    eager = ours.to(memory_format=torch.channels_last)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and still the fastest form of PyTorch here
        frozen = torch.jit.freeze(torch.jit.trace(eager, photo))
    calls |= {(OURS, "PyTorch"): lambda: eager(photo), (OURS, "torch.jit.freeze"): lambda: frozen(photo)}
    times: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    with torch.no_grad():
        for _ in range(rounds):
            for key, call in calls.items():
                times[key].append(time_call(call))
    return times


def time_call(call: Call) -> float:
    """Return the mean time of `CALLS` calls in seconds, after two that are not counted."""
    time.sleep(REST_S)
    call()
    call()
    started = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - started) / CALLS


def open_file(file: Path, threads: int) -> Call:
    """Return a function that runs an ONNX file on random photos, as many as its input takes, else `BATCH`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    count = entry.shape[0] if isinstance(entry.shape[0], int) else BATCH
    shape = count, 3, IMAGE_SIZE_PX, IMAGE_SIZE_PX
    photos: NDArray[np.generic] = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    photos = photos if "uint8" in entry.type else photos.astype(np.float32) / 255
    return lambda: session.run(None, {entry.name: photos})


def throughput(file: Path, threads: int) -> float:
    """Return photos per second, in batches of `BATCH`; one at a time where the file takes one."""
    call = open_file(file, threads)
    return len(call()[0]) / time_call(call)


def memory_mb(file: Path) -> float:
    """Return the memory in MB that opening a file and running it on one photo adds, at its peak, to a new process."""
    done = subprocess.run([sys.executable, "-c", MEMORY_OF, str(file)], check=True, capture_output=True, text=True)
    return float(done.stdout)


def median_of_ratios(values: Sequence[float], bases: Sequence[float]) -> float:
    """Return the median of the ratios within each round."""
    return statistics.median(value / base for value, base in zip(values, bases, strict=True))


def randomise_norms(network: nn.Module) -> None:
    """Give all batch norms random statistics, so that none can be left out, and enter evaluation mode."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    network.eval()
