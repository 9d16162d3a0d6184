"""Two processes with Gloo compute what one does alone."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import ranks
import torch
import torch.distributed as dist
from torch import nn

from src.network import DepthNet
from src.training import distributed

two_gpus = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="no two CUDA GPUs here")


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=two_gpus)])
def together(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The results of two processes: by Gloo on the CPU, by NCCL and SyncBatchNorm on two GPUs."""
    folder = tmp_path_factory.mktemp("ranks")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, ranks.__file__, str(folder), request.param]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "printed by 0" in done.stdout and "printed by 1" not in done.stdout
    assert ("each process's share of the batch" in done.stdout) == (request.param == "cpu")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("case", ranks.CASES)
def test_two_processes_make_the_steps_of_one(together: list[dict[str, Any]], case: str) -> None:
    alone = ranks.run(**ranks.CASES[case])
    assert alone["counts"] == {"one bad share": (3, 1), "accumulated": (2, 0)}.get(case, (4, 0))
    start = ranks.make_network().double().state_dict()
    first, second = (results[case] for results in together)
    for key, weight in first["weights"].items():
        # The second process's own norm statistics are neither validated nor saved.
        assert torch.equal(weight, second["weights"][key]) or "running" in key, key
        assert torch.equal(first["validated"][key], second["validated"][key]), key
    assert first["measured"] == second["measured"]
    assert first["counts"] == second["counts"] == alone["counts"]
    if case == "norms in training":  # of each process's share on CPUs, hence other figures than one process's
        return
    if case != "one bad share":  # where the mean leaves the bad share out, or the bad batch
        assert first["loss"] == pytest.approx(alone["loss"], rel=1e-4)
    for figures, expected in zip(first["measured"], alone["measured"], strict=True):
        assert figures == pytest.approx(expected, rel=1e-4)
    for key, weight in alone["weights"].items():
        # Relative to how far the steps moved each tensor: a wrong mean would show at once.
        moved = (weight - start[key]).abs().max().item()
        torch.testing.assert_close(first["weights"][key], weight, rtol=0, atol=1e-3 * moved + 1e-9)


def test_a_world_size_of_another_program_makes_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    assert distributed.is_first()


def test_processes_agree_and_exchange_values(together: list[dict[str, Any]]) -> None:
    for rank, results in enumerate(together):
        assert results["position"] == (rank, 2, rank == 0)
        assert (results["maximum"], results["broadcast"], results["mean"]) == (7, "from 0", [1, 0.5])
        assert results["first came first"]
        same, different = results["refusals"]
        assert same == ""
        assert different.startswith("torchrun: got different data, expected the same in all processes.")
        assert "process 0: nyu; process 1: rooms" in different


def test_restarted_processes_agree_on_a_new_prefix_in_the_same_store() -> None:
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)

    def start(rank: int) -> str:
        client = dist.TCPStore("localhost", store.port, is_master=False)
        return distributed.agree_on_prefix(client, rank, 3)

    store.set("request/2", "of a process that died while it waited")
    prefixes = set()
    for _ in range(5):
        with ThreadPoolExecutor(3) as pool:
            (prefix,) = set(pool.map(start, (2, 0, 1), timeout=60))
        prefixes.add(prefix)
    assert len(prefixes) == 5


def test_on_gpus_norms_are_synchronised_and_frozen_ones_stay_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    network = DepthNet(pretrained=False)
    network.encoder.freeze(1)
    distributed.share_statistics(network, torch.device("cuda"))
    network.train()
    assert not any(type(module) is nn.BatchNorm2d for module in network.modules())
    assert isinstance(network.inception.reduce[1], nn.SyncBatchNorm)
    for part in (network.encoder.body.bn1, network.encoder.body.blocks[0]):
        assert not any(module.training for module in part.modules())
