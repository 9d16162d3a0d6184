"""Several processes that train as one: each takes its share of every batch. Without torchrun, all of this does nothing.

`torchrun --nproc-per-node 8 scripts/train.py …` starts the processes and starts them again when one dies; here they
find each other, agree, and add up. What one process would have done, N do: the same batches, the same statistics of
each batch, the same gradients but for rounding.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from src.conventions import UserError

START = timedelta(minutes=5)
"""How long the processes wait for one another at the start."""

PATIENCE = timedelta(hours=3)
"""How long the others wait while one process decodes the frames, or validates the larger share."""

T = TypeVar("T")


_rank = 0


@contextlib.contextmanager
def joined(device: str) -> Iterator[None]:
    """Join the processes that torchrun started, NCCL on GPUs and Gloo on CPUs; only the first one goes on printing.

    **Raises**: UserError when there are more processes than GPUs.
    """
    global _rank
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if on_gpu:
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise UserError(
                f"torchrun: got process {local + 1} on a machine of {torch.cuda.device_count()} GPUs. "
                "Lower --nproc-per-node, or take --device cpu."
            )
        torch.cuda.set_device(local)
    store, _rank, size = next(dist.rendezvous("env://", timeout=START))
    # Gloo stays at hand on GPUs, for what processes tell one another from the CPU.
    backends = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    store = dist.PrefixStore(agree_on_name(store, _rank, size), store)
    dist.init_process_group(backends, store=store, rank=_rank, world_size=size, timeout=PATIENCE)
    with contextlib.ExitStack() as silence:
        if not is_first():
            silence.enter_context(contextlib.redirect_stdout(silence.enter_context(open(os.devnull, "w"))))
        yield
    # Not where an exception passes: a process that fails must not wait for the others to say goodbye.
    dist.destroy_process_group()


def agree_on_name(store: dist.Store, rank: int, world: int) -> str:
    """Agree on a name that no earlier start of these processes had.

    torchrun keeps one store over all restarts. Under the usual names, a process that comes back may find there where
    a dead one listened, and wait for it (pytorch/pytorch#135712). So each asks the first one under a name of its own,
    and that one answers until all have heard it.
    """
    own = uuid.uuid4().hex
    if rank:
        store.set(f"asks/{rank}", own)
        name = store.get(f"answer/{own}").decode()
        store.set(f"heard/{name}/{rank}", "")
        return name
    waiting = set(range(1, world))
    until = time.monotonic() + START.total_seconds()
    while waiting:
        for asking in waiting:
            # What asks may also be dead by now: its successor asks in its place.
            if store.check([f"asks/{asking}"]):
                store.set(f"answer/{store.get(f'asks/{asking}').decode()}", own)
        time.sleep(0.05)
        waiting = {asking for asking in waiting if not store.check([f"heard/{own}/{asking}"])}
        if time.monotonic() > until:
            raise RuntimeError(f"processes {sorted(waiting)} of {world} did not start within {START}")
    return own


def world() -> int:
    """Count the processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Give this process its number, from 0."""
    return _rank


def is_first() -> bool:
    """Tell whether this is the process that prints and writes."""
    return _rank == 0


def total(values: Tensor) -> Tensor:
    """Add up over processes, without gradient."""
    if world() == 1:
        return values
    values = values.detach().clone()
    dist.all_reduce(values)
    return values


def mean(values: Tensor) -> Tensor:
    """Average over processes, without gradient."""
    return values if world() == 1 else total(values) / world()


def agree(code: int) -> int:
    """Settle on the largest number that any process brings."""
    if world() == 1:
        return code
    values = torch.tensor(code)
    dist.all_reduce(values, dist.ReduceOp.MAX)
    return int(values)


def share(value: T) -> T:
    """Give every process what the first one has."""
    if world() == 1:
        return value
    values: list[Any] = [value]
    dist.broadcast_object_list(values, device=torch.device("cpu"))
    return values[0]


def require_same(value: str, what: str) -> None:
    """Make sure that all processes bring the same value.

    **Raises**: UserError, in every process, that says who has what.
    """
    if world() == 1:
        return
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    if len(set(values)) > 1:
        found = "; ".join(f"process {number}: {held}" for number, held in enumerate(values))
        raise UserError(f"torchrun: got different {what}, expected the same in all processes. {found}.")


@contextlib.contextmanager
def first_on_its_machine() -> Iterator[None]:
    """Let one process of each machine do this first, such as filling the cache; the others then find it done."""
    waits = world() > 1 and int(os.environ["LOCAL_RANK"]) > 0
    if waits:
        dist.barrier()
    yield
    if world() > 1 and not waits:
        dist.barrier()


def share_statistics(network: nn.Module, device: torch.device) -> nn.Module:
    """Make every batch norm of the network take the statistics of the whole batch, not of one process's share."""
    if world() == 1:
        return network
    if device.type == "cuda":
        return convert_sync_batchnorm(network)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, SharedBatchNorm(child))
    return network


def share_gradients(network: nn.Module) -> nn.Module:
    """Wrap the network so that a backward pass leaves each process the mean gradient of all."""
    return network if world() == 1 else DistributedDataParallel(network)


class _Total(torch.autograd.Function):
    """Add up over processes. What each brought moves the sum that all of them get, so gradients add up as well."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return total(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return total(gradient)


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the frames of all processes, each with equally many, for CPUs: torch's own knows only GPUs.

    It takes over the parameters and buffers of the norm that it replaces, and what timm's norms do afterwards.

    **Shape**: (B, C, H, W) -> the same.
    **Source**: Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.after = nn.Sequential(*norm.children())

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.running_mean is None or self.running_var is None:
            return self.after(
                F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
            )
        per_channel = (0, 2, 3)
        count = x.numel() // x.shape[1] * world()
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = _Total.apply(exact.sum(per_channel)) / count
        centred = exact - mean.view(1, -1, 1, 1)
        variance = _Total.apply(centred.square().sum(per_channel)) / count
        with torch.no_grad():
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
            share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum  # type: ignore[arg-type]
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * (count / max(count - 1, 1)), share)
        scale = self.weight * (variance + self.eps).rsqrt()
        return self.after((centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(x.dtype))
