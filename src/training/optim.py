"""The optimiser, its schedule, and the average of the weights."""

from __future__ import annotations

import math

import torch
from adan_pytorch import Adan
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

Tensors = tuple[Tensor, ...] | list[Tensor]


def make_optimizer(
    network: nn.Module, name: str, *, lr: float, weight_decay: float, encoder_lr_scale: float = 1.0
) -> Optimizer:
    """Make Adan or AdamW, with weight decay on kernels only and a learning rate of its own for the encoder.

    adan-pytorch 0.1.0 differs from the paper: its betas are one minus the paper's, and its first step only fills the
    state, yet counts for bias correction. Its `restart_cond` is not used: a function cannot be saved in a checkpoint.
    The original project trained with another implementation, pytorch-optimizer 2.9.1, and decayed all parameters.

    **Source**: Xie et al. 2022, arXiv 2208.06677; Loshchilov and Hutter 2017, arXiv 1711.05101.
    """
    groups = []
    for in_encoder in (True, False):
        for is_kernel in (True, False):
            members = [
                parameter
                for key, parameter in network.named_parameters()
                if parameter.requires_grad
                and key.startswith("encoder.") == in_encoder
                and is_decayed(key, parameter) == is_kernel
            ]
            groups.append(
                {
                    "params": members,
                    "lr": lr * (encoder_lr_scale if in_encoder else 1),
                    "weight_decay": weight_decay if is_kernel else 0.0,
                }
            )
    return Adan(groups, lr=lr) if name == "adan" else AdamW(groups, lr=lr, fused=True)


def is_decayed(key: str, parameter: Tensor) -> bool:
    """Tell a convolution's kernel from norms, biases and fusion weights, which decay would only distort."""
    return parameter.ndim == 4 and key.endswith("weight")


def make_schedule(optimizer: Optimizer, *, steps: int, warmup_steps: int, floor: float = 0.0) -> LambdaLR:
    """Rise linearly to the full learning rate, then fall along half a cosine to `floor` of it, and stay there.

    A floor above zero is for stochastic weight averaging, which wants weights that keep moving.

    **Source**: Loshchilov and Hutter 2016, arXiv 1608.03983; Goyal et al. 2017, arXiv 1706.02677.
    """

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        fallen = 0.5 * (1 - math.cos(math.pi * min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))))
        return 1 - (1 - floor) * fallen

    return LambdaLR(optimizer, factor)


def make_ema(network: nn.Module, decay: float) -> AveragedModel:
    """Keep an exponential moving average of weights and norm statistics, for evaluation.

    Early on the average is shorter, (1 + n) / (10 + n) after n steps, so that a short run is not
    dominated by its first weights.
    """

    @torch.no_grad()
    def update(averaged: Tensors, current: Tensors, n: Tensor | int) -> None:
        get_ema_multi_avg_fn(min(decay, (1 + int(n)) / (10 + int(n))))(averaged, current, n)

    return AveragedModel(network, multi_avg_fn=update, use_buffers=True)


def make_swa(network: nn.Module) -> AveragedModel:
    """Keep the plain average of the weights of many late steps, with norm statistics of its own at the end.

    **Source**: Izmailov et al. 2018, arXiv 1803.05407.
    **Differs**: it takes in every step's weights, not one set an epoch, so that short runs have some to average.
    """
    return AveragedModel(network, multi_avg_fn=get_swa_multi_avg_fn())
