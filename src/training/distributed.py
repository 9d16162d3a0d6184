"""Several processes that train as one, each on its share of every batch. Without torchrun, nothing here has an effect.

Batches and gradients are those of one process but for rounding. Norm statistics are too on GPUs; on CPUs each process
normalises by its own share, since `SyncBatchNorm` has no CPU kernel.
"""

import contextlib
import io
import os
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from src.conventions import UserError

TIMEOUT = timedelta(hours=3)
"""How long the others wait while one process decodes the frames or validates the larger share."""

T = TypeVar("T")


@contextlib.contextmanager
def joined(device: str) -> Iterator[None]:
    """Join the processes that torchrun started, by NCCL on GPUs and Gloo on CPUs; only the first one prints.

    **Raises**: UserError when there are more processes than GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if on_gpu:
        local_rank = int(os.environ["LOCAL_RANK"])
        if local_rank >= torch.cuda.device_count():
            raise UserError(
                f"torchrun: got process {local_rank + 1} on a machine of {torch.cuda.device_count()} GPUs. "
                "Lower --nproc-per-node, or take --device cpu."
            )
        torch.cuda.set_device(local_rank)
    store, _, size = next(dist.rendezvous("env://", timeout=timedelta(minutes=5)))
    store = dist.PrefixStore(agree_on_prefix(store, rank(), size), store)
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"  # Gloo on GPUs too, for objects and flags on the CPU
    dist.init_process_group(backend, store=store, rank=rank(), world_size=size, timeout=TIMEOUT)
    with contextlib.redirect_stdout(sys.stdout if is_first() else io.StringIO()):
        yield
    time.sleep(0.1)  # before torch 2.8, the group waits forever for Gloo's thread if that still holds a tensor
    dist.destroy_process_group()  # not after an exception: a process that fails must not wait for the others


def agree_on_prefix(store: dist.Store, rank: int, world_size: int) -> str:
    """Agree on a key prefix for this start: torchrun's store outlives restarts, with the addresses of dead processes.

    Requests are repeated, and deleted before they are read, so that the answer goes to a living process.
    """
    own = uuid.uuid4().hex
    if rank:
        while not store.check([f"answer/{own}"]):
            store.set(f"request/{rank}", own)
            time.sleep(0.05)
        return store.get(f"answer/{own}").decode()
    for other in range(1, world_size):
        store.delete_key(f"request/{other}")
        store.set(f"answer/{store.get(f'request/{other}').decode()}", own)
    return own


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0; torchrun's, so that it holds after the group is destroyed."""
    return int(os.environ.get("RANK", "0")) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else 0


def is_first() -> bool:
    """Return whether this is the process that prints and writes."""
    return rank() == 0


def total(values: Tensor) -> Tensor:
    """Sum over processes, without gradient."""
    if world_size() == 1:
        return values
    values = values.detach().clone()
    dist.all_reduce(values)
    return values


def mean(values: Tensor) -> Tensor:
    """Average over processes, without gradient."""
    return values if world_size() == 1 else total(values) / world_size()


def maximum(value: int) -> int:
    """Return the largest value of all processes."""
    if world_size() == 1:
        return value
    values = torch.tensor(value)
    dist.all_reduce(values, dist.ReduceOp.MAX)
    return int(values)


def broadcast(value: T) -> T:
    """Return the first process's value in all processes."""
    values: list[Any] = [value]
    if world_size() > 1:
        dist.broadcast_object_list(values, device=torch.device("cpu"))
    return values[0]


def broadcast_statistics(network: nn.Module) -> None:
    """Copy the first process's norm statistics to the others, whose own differ on CPUs."""
    for buffer in network.buffers() if world_size() > 1 else ():
        dist.broadcast(buffer, 0)


def require_same(value: str, what: str) -> None:
    """Check that all processes have the same value.

    **Raises**: UserError in every process, with all values.
    """
    if world_size() == 1:
        return
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    if len(set(values)) > 1:
        got = "; ".join(f"process {number}: {held}" for number, held in enumerate(values))
        raise UserError(f"torchrun: got different {what}, expected the same in all processes. {got}.")


@contextlib.contextmanager
def first_on_its_machine() -> Iterator[None]:
    """Run the block in one process of each machine first, such as filling the cache, then in the others."""
    local_rank = int(os.environ["LOCAL_RANK"]) if world_size() > 1 else None
    if local_rank:
        dist.barrier()
    yield
    if local_rank == 0:
        dist.barrier()


def share_statistics(network: nn.Module, device: torch.device) -> None:
    """Let batch norms on GPUs take the statistics of the whole batch, in place; on CPUs print that they do not."""
    if world_size() > 1 and device.type == "cuda":
        convert_sync_batchnorm(network)
    elif world_size() > 1:
        print(f"{world_size()} processes on CPUs: batch norm takes the statistics of each process's share of the batch")


def gradients_kept(network: nn.Module, kept: bool) -> contextlib.AbstractContextManager[None]:
    """Keep the gradients of the backward passes in this context to this process, if `kept`, until one shares them."""
    return network.no_sync() if kept and isinstance(network, DistributedDataParallel) else contextlib.nullcontext()


def share_gradients(network: nn.Module) -> nn.Module:
    """Wrap the network so that a backward pass leaves each process the mean gradient of all."""
    return network if world_size() == 1 else DistributedDataParallel(network)
