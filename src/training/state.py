"""All that changes while training: weights, averages, optimiser, schedule, scaler, and progress."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from src.choices import LEAST_CHANGE
from src.conventions import UserError
from src.training.measures import MEASURES

COUNTERS = ("epoch", "batch", "skipped", "streak", "best", "lowest", "waited")


@dataclass
class State:
    """The training's state; a checkpoint holds its `weights` and `progress`, and `restore` loads them.

    Order and augmentation of the frames are not part of it: they follow from seed, epoch and batch number.
    """

    network: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    scaler: GradScaler
    average: AveragedModel | None = None  # exponential moving average over all steps
    swa: AveragedModel | None = None  # stochastic weight average over the steps from `swa_start` on
    swa_start: int = 0
    swa_finalized: bool = False  # its norm statistics were measured, so that it can be evaluated
    epoch: int = 0  # finished epochs
    batch: int = 0  # finished batches of the next one
    sums: Tensor = field(default_factory=lambda: torch.zeros(len(MEASURES) + 3))  # loss, measures, gradient, count
    skipped: int = 0  # steps whose loss or gradient was not finite
    streak: int = 0  # of those, the last ones in a row
    best: float = math.inf  # smallest validation error so far
    lowest: float = math.inf  # validation loss at its last fall by `LEAST_CHANGE`
    waited: int = 0  # epochs since then
    patience: int = 0  # epochs without such a fall that end the training; 0: any number is allowed

    @property
    def eval_network(self) -> nn.Module:
        """The network to validate: the moving average where there is one."""
        return self.network if self.average is None else self.average.module

    @property
    def has_swa(self) -> bool:
        """Whether the stochastic weight average includes any step; before, it equals the first weights."""
        return self.swa is not None and int(self.swa.n_averaged) > 0

    def advance(self) -> None:
        """Update schedule and averages after a step."""
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        if self.swa is not None and self.schedule.last_epoch > self.swa_start:
            self.swa.update_parameters(self.network)
        self.streak = 0

    def place_schedule(self, steps: int) -> None:
        """Move the schedule to where it is after so many steps, skipped ones included.

        A resumed run whose epochs have another number of steps than before would else end too early, or never.
        """
        if self.schedule.last_epoch + self.skipped != steps:
            self.schedule.last_epoch = max(0, steps - self.skipped) - 1
            self.schedule.step()

    @property
    def has_stalled(self) -> bool:
        """Whether the validation loss has not fallen by `LEAST_CHANGE` in the last `patience` epochs."""
        return 0 < self.patience <= self.waited

    def end_epoch(self, validation_loss: float | None = None) -> None:
        """Count an epoch as finished: trained, and validated if any frames are held out."""
        self.epoch += 1
        self.begin_epoch()
        if validation_loss is not None:
            self.waited += 1
            if validation_loss < self.lowest - LEAST_CHANGE:
                self.lowest, self.waited = validation_loss, 0

    def begin_epoch(self) -> None:
        """Go to the first batch of the epoch."""
        self.batch = 0
        self.sums = torch.zeros_like(self.sums)

    def weights(self) -> dict[str, Any]:
        """Return the sets of weights, for evaluation."""
        return {
            "network": self.network.state_dict(),
            "ema": None if self.average is None else self.average.module.state_dict(),
            "swa": self.swa.module.state_dict() if self.swa is not None and self.swa_finalized else None,
        }

    def progress(self) -> dict[str, Any]:
        """Return what resuming needs in addition to the weights."""
        return {
            "kind": type(self.optimizer).__name__,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "averaged": 0 if self.average is None else int(self.average.n_averaged),
            "swa": None if self.swa is None else self.swa.state_dict(),
            "swa_start": self.swa_start,
            **{name: getattr(self, name) for name in COUNTERS},
            "sums": self.sums,
            "generators": {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()},
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Load a checkpoint's weights and progress.

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
            # An average from another step on holds steps that are not to be averaged.
            if self.swa and progress["swa"] and progress.get("swa_start", self.swa_start) == self.swa_start:
                self.swa.load_state_dict(progress["swa"])
            self.optimizer.load_state_dict(progress["optimizer"])
            self.schedule.load_state_dict(progress["schedule"])
            if progress["scaler"]:  # empty unless the run computed in fp16
                self.scaler.load_state_dict(progress["scaler"])
            for name in COUNTERS:
                value = progress[name]
                if type(value) is not type(getattr(self, name)):
                    raise ValueError(f"{name} is {value!r:.20}")
                setattr(self, name, value)
            self.sums = progress["sums"].to(self.sums.device)
            generators = progress["generators"]  # torch's, which dropout draws from
            torch.set_rng_state(generators["cpu"])
            if len(generators["cuda"]) == torch.cuda.device_count():
                torch.cuda.set_rng_state_all(generators["cuda"])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"--resume: the checkpoint does not fit these options ({str(error).splitlines()[0][:100]}). "
                "Resume with the encoder, target, output and optimiser of the run."
            ) from None
