"""What one process computes alone, and two compute together: `torchrun --nproc-per-node 2 ranks.py FOLDER DEVICE`."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from src.conventions import UserError  # noqa: E402
from src.network import DepthNet  # noqa: E402
from src.training import distributed  # noqa: E402
from src.training.engine import Precision, Units, train_epoch, validate  # noqa: E402
from src.training.losses import LOSSES  # noqa: E402
from src.training.optim import make_ema, make_schedule  # noqa: E402
from src.training.state import State  # noqa: E402

METRIC = Units("metric", 10.0)


class Batch(NamedTuple):
    image: torch.Tensor
    depth_m: torch.Tensor
    valid: torch.Tensor


def make_batch(seed: int, first: int = 0, last: int | None = None) -> Batch:
    """Take frames of a batch of four, each with another share of valid pixels."""
    g = torch.Generator().manual_seed(seed)
    image, depth_m = (
        torch.rand(4, 3, 64, 64, generator=g, dtype=torch.float64),
        8 * torch.rand(4, 1, 16, 16, generator=g),
    )
    valid = torch.rand(4, 1, 16, 16, generator=g) < torch.tensor([0.95, 0.7, 0.3, 0.05]).view(4, 1, 1, 1)
    return Batch(*(each[first:last] for each in (image, depth_m, valid)))


def to(device: str, batch: Batch) -> Batch:
    """Bring a batch to a device."""
    return Batch(*(each.to(device) for each in batch))


def train(loss: str, bad_step: int | None = None, device: str = "cpu") -> dict[str, Any]:
    """Make three steps whose size is the gradient's, validate, and return weights, statistics and figures."""
    torch.manual_seed(0)
    exact = Precision(torch.device(device), None)
    # In double precision, since a fresh network's norms over few pixels blow rounding up.
    network = distributed.share_statistics(DepthNet(pretrained=False).double().to(device), exact.device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    schedule = make_schedule(optimizer, steps=99, warmup_steps=1)
    state = State(network, optimizer, schedule, exact.scaler(), make_ema(network, 0.9))
    size = 4 // distributed.world()
    first = distributed.rank() * size
    batches = [to(device, make_batch(seed, first, first + size)) for seed in range(3)]
    steps = itertools.count()

    def measured_loss(*arguments: Any) -> torch.Tensor:
        """The loss, which in the last process's share alone, and its value alone, is not finite once."""
        is_bad = next(steps) == bad_step and distributed.rank() == distributed.world() - 1
        return LOSSES[loss](*arguments) + (torch.inf if is_bad else 0)

    forward = distributed.share_gradients(network)
    mean = train_epoch(state, batches, loss=measured_loss, units=METRIC, precision=exact, forward=forward, clip=1e9)
    # Five frames in batches of two: two processes get two batches and one.
    frames = Batch(*(torch.cat(pair) for pair in zip(make_batch(7), make_batch(8), strict=True)))
    pieces = [to(device, Batch(*(each[n : min(n + 2, 5)] for each in frames))) for n in (0, 2, 4)]
    mine = pieces[distributed.rank() :: distributed.world()]
    measured = validate(state.judged, mine, loss=LOSSES[loss], units=METRIC, precision=exact)
    lonely = validate(
        state.judged, pieces[:1][distributed.rank() :], loss=LOSSES[loss], units=METRIC, precision=exact
    )  # of which the second process has no frame
    return {
        "weights": {key: value.cpu() for key, value in network.state_dict().items()},
        "loss": mean,
        "measured": measured,
        "lonely": lonely,
        "counts": (state.schedule.last_epoch, state.skipped),
    }


def frozen_norms_in_training(device: str) -> list[str]:
    """Name the norms of the frozen stem and first stage that take statistics of the batch nevertheless."""
    network = DepthNet(pretrained=False)
    network.encoder.freeze(1)
    distributed.share_statistics(network.to(device), torch.device(device))
    parts = {"stem": network.train().encoder.body.bn1, "stage": network.encoder.body.blocks[0]}
    return [name for name, part in parts.items() if any(module.training for module in part.modules())]


def refuse_unlike(value: str) -> str:
    """Say what the processes are told when they bring unlike values."""
    try:
        distributed.require_same(value, "data")
    except UserError as error:
        return str(error)
    return ""


def main() -> None:
    device = sys.argv[2]
    with distributed.joined(device):
        rank, world = distributed.rank(), distributed.world()
        results = {name: train(*options, device=device) for name, options in CASES.items()}
        with distributed.first_on_its_machine():
            mark = Path(sys.argv[1]) / "first"
            results["first came first"] = mark.exists() == (rank > 0)
            mark.touch()
        results["agreed"] = distributed.agree(rank * 7)
        results["shared"] = distributed.share(f"from {rank}")
        results["total"] = distributed.total(torch.tensor([1.0, rank])).tolist()
        results["mean"] = distributed.mean(torch.tensor([1.0, rank])).tolist()
        results["frozen norms in training"] = frozen_norms_in_training(device)
        results["refused"] = [refuse_unlike("nyu"), refuse_unlike("rooms" if rank else "nyu")]
        results["place"] = (rank, world, distributed.is_first())
        print(f"heard from {rank}", flush=True)
        torch.save(results, Path(sys.argv[1]) / f"{rank}.pt")


CASES = {"mse": ("mse", None), "mixed": ("mixed", None), "one bad share": ("mse", 1)}

if __name__ == "__main__":
    main()
