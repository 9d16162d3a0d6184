"""All that changes while training: weights, their average, optimiser, schedule, scaler, and how far it has come."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from src.conventions import UserError


@dataclass
class State:
    """The training's state. What a checkpoint holds of it goes out by `weights` and `progress`, and in by `restore`.

    Order and augmentation of the frames are not part of it: they follow from seed and epoch.
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
    best: float = math.inf
    """Smallest validation error so far."""

    @property
    def judged(self) -> nn.Module:
        """The network that is validated: the averaged one where there is one."""
        return self.network if self.average is None else self.average.module

    def weights(self) -> dict[str, Any]:
        """Give what evaluation needs."""
        return {
            "network": self.network.state_dict(),
            "ema": None if self.average is None else self.average.module.state_dict(),
            "swa": self.swa.module.state_dict() if self.swa is not None and self.swa_settled else None,
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
            "epoch": self.epoch,
            "best": self.best,
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Take back what `weights` and `progress` gave.

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
            self.scaler.load_state_dict(progress["scaler"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise UserError(
                f"--resume: the checkpoint does not fit these options ({str(error).splitlines()[0][:100]}). "
                "Resume with the options of the run; only --epochs and the data may change."
            ) from None
        self.epoch, self.best = progress["epoch"], progress["best"]
