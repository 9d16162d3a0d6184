import torch

from src.network.blocks import Inception, SeparableConv


def test_branches_are_not_linear() -> None:
    # Without a nonlinearity inside, the module would be one convolution: f(a) + f(-a) = 2 f(0).
    module = Inception(60, 176).eval()
    module.activate = torch.nn.Identity()
    a, zero = torch.randn(1, 60, 8, 8), torch.zeros(1, 60, 8, 8)
    assert (module(a) + module(-a) - 2 * module(zero)).abs().max() > 1e-2


def test_branches_see_fields_of_one_to_five_pixels() -> None:
    module = Inception(4, 16).eval()
    reach = []
    for branch in module.branches:
        spot = torch.zeros(1, 24, 11, 11)
        spot[..., 5, 5] = 1
        changed = (branch(spot) - branch(torch.zeros_like(spot))).abs().amax(dim=(0, 1)) > 0
        reach.append((int(changed.any(1).sum()), int(changed.any(0).sum())))
    assert reach == [(1, 1), (3, 3), (3, 3), (5, 5)]


def test_groups_keep_parallel_decoders_apart() -> None:
    block = SeparableConv(6, 6, groups=3).eval()
    features = torch.rand(1, 6, 8, 8)
    changed = features.clone()
    changed[:, 2:4] += 1  # the second of three decoders
    difference = (block(features) - block(changed)).abs().amax(dim=(0, 2, 3))
    assert (difference[2:4] > 0).all()
    assert (difference[[0, 1, 4, 5]] == 0).all()
