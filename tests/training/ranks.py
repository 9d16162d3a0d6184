"""Train alone or in two processes: `torchrun --nproc-per-node 2 ranks.py FOLDER DEVICE`."""

import itertools
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tiny import METRIC, make_batch, make_network, make_state, train
from torch import nn

from src.conventions import Batch, UserError
from src.training import distributed
from src.training.engine import Precision, validate
from src.training.losses import LOSS_FUNCTIONS

CASES = {
    "mse": {"loss": "mse"},
    "mixed": {"loss": "mixed+mse+ssim"},
    "accumulated": {"loss": "mse", "accumulate": 2},
    "one bad share": {"loss": "mse", "bad_batch": 1},
    "norms in training": {"loss": "mse", "frozen": False},
}


class FrozenNorms(nn.Sequential):
    """The tiny network in double precision with norms in evaluation mode, as frozen stages have."""

    def train(self, mode: bool = True) -> "FrozenNorms":
        super().train(mode)
        self[1].eval()
        return self


def frames(seed: int, start: int, stop: int, device: str) -> Batch:
    """Some frames of a batch of four, each with another share of valid pixels, one with none."""
    batch = make_batch(seed)
    shares = torch.tensor([0.95, 0.7, 0.3, 0.0]).view(4, 1, 1, 1)
    valid = torch.rand(batch.valid.shape, generator=torch.Generator().manual_seed(seed)) < shares
    return Batch(*(x[start:stop].to(device) for x in (batch.image.double(), batch.depth_m, valid)))


def run(
    loss: str, *, bad_batch: int | None = None, accumulate: int = 1, frozen: bool = True, device: str = "cpu"
) -> dict[str, Any]:
    """Train on four batches by SGD, so that steps are proportional to gradients; validate; return all results."""
    exact = Precision(torch.device(device), None)
    layers = make_network()
    layers = FrozenNorms(*layers) if frozen else layers
    network = layers.double().to(device)
    distributed.share_statistics(network, exact.device)
    state = make_state(network, precision=exact, optimizer=torch.optim.SGD(network.parameters(), lr=0.01))
    rank, world_size = distributed.rank(), distributed.world_size()
    size = 4 // world_size
    batches = [frames(seed, rank * size, (rank + 1) * size, device) for seed in range(4)]
    calls = itertools.count()

    def measured_loss(*arguments: Any) -> torch.Tensor:
        """The loss, which is infinite once, in the last process's share."""
        is_bad = next(calls) == bad_batch and rank == world_size - 1
        return LOSS_FUNCTIONS[loss](*arguments) + (torch.inf if is_bad else 0)

    options = {"loss": measured_loss, "clip": 1e9, "accumulate": accumulate}
    mean = train(state, batches, precision=exact, forward=distributed.share_gradients(network), **options)
    # Three batches of unequal size: two processes get two and one; then one batch: the second process gets none.
    held_out = [frames(7, 0, 2, device), frames(7, 2, 4, device), frames(8, 0, 1, device)]
    measured = [
        validate(state.eval_network, share[rank::world_size], loss=LOSS_FUNCTIONS[loss], units=METRIC, precision=exact)
        for share in (held_out, held_out[:1])
    ]
    return {
        "weights": {key: value.cpu() for key, value in network.state_dict().items()},
        "validated": {key: value.cpu() for key, value in state.eval_network.state_dict().items()},
        "loss": mean,
        "measured": measured,
        "counts": (state.schedule.last_epoch, state.skipped),
    }


def refusal_of(value: str) -> str:
    """Return what `require_same` says about a value."""
    try:
        distributed.require_same(value, "data")
    except UserError as error:
        return str(error)
    return ""


def main() -> None:
    folder, device = Path(sys.argv[1]), sys.argv[2]
    with distributed.joined(device):
        rank = distributed.rank()
        results: dict[str, Any] = {name: run(**options, device=device) for name, options in CASES.items()}
        with distributed.first_on_its_machine():
            results["first came first"] = (folder / "first").exists() == (rank > 0)
            (folder / "first").touch()
        results["maximum"] = distributed.maximum(rank * 7)
        results["broadcast"] = distributed.broadcast(f"from {rank}")
        results["mean"] = distributed.mean(torch.tensor([1.0, rank])).tolist()
        results["refusals"] = [refusal_of("nyu"), refusal_of("rooms" if rank else "nyu")]
        results["position"] = (rank, distributed.world_size(), distributed.is_first())
        print(f"printed by {rank}", flush=True)
        torch.save(results, folder / f"{rank}.pt")


if __name__ == "__main__":
    main()
