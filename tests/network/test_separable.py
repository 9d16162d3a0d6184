import torch

from src.network.separable import ConvNorm, SeparableConv


def test_groups_keep_parallel_decoders_apart() -> None:
    block = SeparableConv(6, 6, groups=3).eval()
    features = torch.rand(1, 6, 8, 8)
    changed = features.clone()
    changed[:, 2:4] += 1  # the second of three decoders
    difference = (block(features) - block(changed)).abs().amax(dim=(0, 2, 3))
    assert (difference[2:4] > 0).all()
    assert (difference[[0, 1, 4, 5]] == 0).all()


def test_every_kernel_keeps_the_size() -> None:
    for kernel in ((1, 1), (3, 3), (1, 5), (5, 1)):
        assert ConvNorm(4, 8, kernel)(torch.rand(2, 4, 9, 7)).shape == (2, 8, 9, 7)
