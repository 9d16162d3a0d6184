"""All that changes while training: weights, their average, optimiser, schedule, scaler, and how far it has come."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from src.conventions import UserError

COUNTERS = ("epoch", "batch", "skipped", "streak", "best")


@dataclass
class State:
    """The training's state. What a checkpoint holds of it goes out by `weights` and `progress`, and in by `restore`.

    Order and augmentation of the frames are not part of it: they follow from seed, epoch and batch number.
    """

    network: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    scaler: GradScaler
    average: AveragedModel | None = None
    """The exponential moving average, over all steps."""
    swa: AveragedModel | None = None
    """The stochastic weight average, over the steps from `swa_start` on."""
    swa_start: int = 0
    swa_settled: bool = False
    """Whether its norm statistics are its own, so that it may be used."""
    epoch: int = 0
    """Epochs done."""
    batch: int = 0
    """Batches done of the next one."""
    losses: Tensor = field(default_factory=lambda: torch.zeros(2))
    """The sum of their finite losses, and how many those are."""
    skipped: int = 0
    """Steps that were not made because a loss or gradient was not finite."""
    streak: int = 0
    """How many of them came last, in a row."""
    best: float = math.inf
    """Smallest validation error so far."""

    @property
    def judged(self) -> nn.Module:
        """The network that is validated: the averaged one where there is one."""
        return self.network if self.average is None else self.average.module

    @property
    def has_swa(self) -> bool:
        """Whether the stochastic weight average has taken in any step; before that, it is the first weights."""
        return self.swa is not None and int(self.swa.n_averaged) > 0

    def advance(self) -> None:
        """Move what follows the weights, after a step was made."""
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        if self.swa is not None and self.schedule.last_epoch > self.swa_start:
            self.swa.update_parameters(self.network)
        self.streak = 0

    def end_epoch(self) -> None:
        """Count an epoch as done: trained, and validated."""
        self.epoch += 1
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Stand before an epoch's first batch."""
        self.batch, self.losses = 0, torch.zeros_like(self.losses)

    def weights(self) -> dict[str, Any]:
        """Give what evaluation needs."""
        return {
            "network": self.network.state_dict(),
            "ema": None if self.average is None else self.average.module.state_dict(),
            "swa": self.swa.module.state_dict() if self.swa is not None and self.has_swa and self.swa_settled else None,
        }

    def progress(self) -> dict[str, Any]:
        """Give what going on needs besides."""
        return {
            "kind": type(self.optimizer).__name__,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "averaged": 0 if self.average is None else int(self.average.n_averaged),
            "swa": None if self.swa is None else self.swa.state_dict(),
            **{name: getattr(self, name) for name in COUNTERS},
            "losses": self.losses,
            "generators": {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()},
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Take back what `weights` and `progress` gave; what format 1 did not have yet keeps its first value.

        **Raises**: UserError when it belongs to another network or optimiser.
        """
        progress = content["progress"]
        try:
            if progress["kind"] != type(self.optimizer).__name__:
                raise ValueError(f"it was trained with {progress['kind']}")
            self.network.load_state_dict(content["network"])
            if self.average is not None and content["ema"] is not None:
                self.average.module.load_state_dict(content["ema"])
                self.average.n_averaged.fill_(progress["averaged"])
            if self.swa is not None and progress.get("swa") is not None:
                self.swa.load_state_dict(progress["swa"])
            self.optimizer.load_state_dict(progress["optimizer"])
            self.schedule.load_state_dict(progress["schedule"])
            if progress["scaler"]:  # empty where the run computed in another type than fp16
                self.scaler.load_state_dict(progress["scaler"])
            for name in COUNTERS:
                value = progress.get(name, getattr(self, name))
                if not isinstance(value, float if name == "best" else int):
                    raise ValueError(f"{name} is {value!r:.20}")
                setattr(self, name, value)
            if self.best < 0:  # what runs without validation once kept here
                self.best = math.inf
            self.losses = progress.get("losses", self.losses).to(self.losses.device)
            _restore_generators(progress.get("generators", {}))
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"--resume: the checkpoint does not fit these options ({str(error).splitlines()[0][:100]}). "
                "Resume with the options of the run; only --epochs and the data may change."
            ) from None


def _restore_generators(states: dict[str, Any]) -> None:
    """Set torch's own generators, which dropout draws from; those of GPUs only where there are as many."""
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    on_gpus = states.get("cuda", [])
    if on_gpus and len(on_gpus) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(on_gpus)
