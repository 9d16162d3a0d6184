"""The optimiser, its schedule, and the averages of the weights."""

import math
from typing import Any

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
    """Make Adan or AdamW, with weight decay on kernels only and a separate learning rate for the encoder.

    adan-pytorch 0.1.0 differs from the paper: its betas are one minus the paper's, and its first step only fills the
    state, yet counts for bias correction. `configs/original/README.md` compares it with the original's.

    **Source**: Xie et al. 2022, arXiv 2208.06677; Loshchilov and Hutter 2017, arXiv 1711.05101.
    **Differs**: the original project trained with pytorch-optimizer 2.9.1, and decayed all parameters.
    """
    # Four groups in this order, even if empty: checkpoints hold the optimiser's state by group.
    groups: list[dict[str, Any]] = [
        {"params": [], "lr": group_lr, "weight_decay": decay}
        for group_lr in (lr * encoder_lr_scale, lr)
        for decay in (weight_decay, 0.0)
    ]
    for key, parameter in network.named_parameters():
        if parameter.requires_grad:
            # Only kernels of convolutions decay: norms, biases and fusion weights would be distorted.
            is_kernel = parameter.ndim == 4 and key.endswith("weight")
            groups[2 * (not key.startswith("encoder.")) + (not is_kernel)]["params"].append(parameter)
    return Adan(groups, lr=lr) if name == "adan" else AdamW(groups, lr=lr, fused=True)


def make_schedule(
    optimizer: Optimizer, name: str = "cosine", *, steps: int, warmup_steps: int, floor: float = 0.0
) -> LambdaLR:
    """Warm up linearly to the full learning rate, then decay along half a cosine to `floor` of it, and stay there.

    A floor above zero keeps the weights moving for stochastic weight averaging. `constant` does not decay.

    **Source**: Loshchilov and Hutter 2016, arXiv 1608.03983; Goyal et al. 2017, arXiv 1706.02677.
    """

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        if name == "constant":
            return 1.0
        decay = 0.5 * (1 - math.cos(math.pi * min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))))
        return 1 - (1 - floor) * decay

    return LambdaLR(optimizer, factor)


def make_ema(network: nn.Module, decay: float) -> AveragedModel:
    """Make an exponential moving average of weights and norm statistics, for evaluation.

    The decay is at most (1 + n) / (10 + n) after n steps, so that a short run is not dominated by its first weights.
    """

    @torch.no_grad()
    def update(averaged: Tensors, current: Tensors, n: Tensor | int) -> None:
        count = int(average.n_averaged)  # on the CPU, where `n` may be on a GPU, for which this would wait
        get_ema_multi_avg_fn(min(decay, (1 + count) / (10 + count)))(averaged, current, n)

    average = AveragedModel(network, multi_avg_fn=update, use_buffers=True)
    return average


def make_swa(network: nn.Module) -> AveragedModel:
    """Make the mean of the weights of many late steps; `engine.finalize_swa` measures its norm statistics.

    **Source**: Izmailov et al. 2018, arXiv 1803.05407.
    **Differs**: it takes the weights of every step, not one set per epoch, so that short runs have some to average.
    """
    return AveragedModel(network, multi_avg_fn=get_swa_multi_avg_fn())
