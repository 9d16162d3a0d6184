"""Two processes with Gloo compute what one does alone."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import ranks
import torch
import torch.distributed as dist
from torch import nn

from src.training import distributed

two_gpus = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="no two CUDA GPUs here")


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=two_gpus)])
def together(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes got: by Gloo on the CPU, by NCCL and SyncBatchNorm on two GPUs."""
    folder = tmp_path_factory.mktemp("ranks")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*launch, ranks.__file__, str(folder), request.param]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "heard from 0\n"
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("case", ranks.CASES)
def test_two_processes_make_the_steps_of_one(together: list[dict[str, Any]], case: str) -> None:
    alone = ranks.train(*ranks.CASES[case])
    assert alone["counts"] == ((2, 1) if case == "one bad share" else (3, 0))
    torch.manual_seed(0)
    start = ranks.DepthNet(pretrained=False).double().state_dict()
    for each in together:
        assert each[case]["counts"] == alone["counts"]
        if case != "one bad share":  # whose mean leaves a whole batch out, or a share
            assert each[case]["loss"] == pytest.approx(alone["loss"], rel=1e-4)
        assert each[case]["measured"] == pytest.approx(alone["measured"], rel=1e-3)
        assert each[case]["lonely"] == pytest.approx(alone["lonely"], rel=1e-3)
        for key, weight in alone["weights"].items():
            if weight.is_floating_point():
                # Against how far the steps moved each tensor: a wrong mean would show at once.
                moved = (weight - start[key]).abs().max().item()
                torch.testing.assert_close(each[case]["weights"][key], weight, rtol=0, atol=1e-3 * moved + 1e-9)
    for key, weight in together[0][case]["weights"].items():
        assert torch.equal(weight, together[1][case]["weights"][key]), key


def test_processes_agree_share_and_add_up(together: list[dict[str, Any]]) -> None:
    for rank, each in enumerate(together):
        assert each["place"] == (rank, 2, rank == 0)
        assert each["agreed"] == 7
        assert each["shared"] == "from 0"
        assert (each["total"], each["mean"]) == ([2, 1], [1, 0.5])
        assert each["first came first"]
        agreed, refused = each["refused"]
        assert agreed == ""
        assert refused.startswith("torchrun: got different data, expected the same in all processes.")
        assert "process 0: nyu; process 1: rooms" in refused


def test_norms_of_frozen_stages_stay_frozen_in_several_processes(together: list[dict[str, Any]]) -> None:
    assert [each["frozen norms in training"] for each in together] == [[], []]


def test_processes_that_come_back_meet_under_a_new_name_not_at_what_the_dead_ones_left() -> None:
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)

    def start(rank: int) -> str:
        own = dist.TCPStore("localhost", store.port, is_master=False)
        return distributed.agree_on_name(own, rank, 3)

    store.set("asks/2", "one that died while it waited")
    names = set()
    for _ in range(5):
        with ThreadPoolExecutor(3) as pool:
            (name,) = set(pool.map(start, (2, 0, 1), timeout=60))
        names.add(name)
    assert len(names) == 5


def test_alone_nothing_changes() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2))
    values = torch.tensor([1.0, 2.0])
    with distributed.joined("auto"), distributed.first_on_its_machine():
        assert (distributed.rank(), distributed.world(), distributed.is_first()) == (0, 1, True)
        assert distributed.share_gradients(distributed.share_statistics(network, torch.device("cpu"))) is network
        assert type(network[0]) is nn.BatchNorm2d
        assert distributed.total(values) is distributed.mean(values) is values
        assert (distributed.agree(3), distributed.share("x")) == (3, "x")


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_shared_norm_is_a_batch_norm(momentum: float | None) -> None:
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(3, momentum=momentum)
    nn.init.uniform_(plain.weight)
    nn.init.uniform_(plain.bias)
    shared = distributed.SharedBatchNorm(nn.BatchNorm2d(3, momentum=momentum))
    shared.load_state_dict(plain.state_dict())
    for mode in (True, True, False):
        plain.train(mode)
        shared.train(mode)
        x = torch.rand(4, 3, 5, 5)
        torch.testing.assert_close(shared(x), plain(x))
    assert shared.state_dict().keys() == plain.state_dict().keys()
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(shared.state_dict()[key], value)
