import pytest
import torch
from torch import nn

from src.network.bifpn import BiFPN, FusionNode
from src.network.inception import Inception
from src.network.separable import SeparableConv

CHANNELS = (40, 112, 320)


def test_fusion_of_equal_inputs_returns_them() -> None:
    node = FusionNode(16, (16, 16, 16), width=4, decoders=3)
    torch.nn.init.uniform_(node.weights, 0.1, 2)
    same = torch.rand(2, 12, 14, 14)
    torch.testing.assert_close(node.fuse([same] * 3), same, atol=2e-3, rtol=2e-3)  # up to the paper's 1e-4


def test_fusion_is_the_weighted_mean_of_the_paper() -> None:
    node = FusionNode(16, (16, 16), width=1, decoders=2)
    node.weights.data = torch.tensor([[1.0, 3.0], [2.0, -5.0]])  # the negative one counts as 0
    a, b = torch.full((1, 2, 4, 4), 10.0), torch.full((1, 2, 4, 4), 20.0)
    fused = node.fuse([a, b])
    assert fused[0, 0, 0, 0].item() == pytest.approx((1 * 10 + 3 * 20) / (4 + 1e-4))
    assert fused[0, 1, 0, 0].item() == pytest.approx(2 * 10 / (2 + 1e-4))


def test_one_grouped_network_equals_three_separate_decoders() -> None:
    torch.manual_seed(0)
    together = BiFPN(CHANNELS, decoders=3).eval()
    for norm in [m for m in together.modules() if isinstance(m, nn.BatchNorm2d)]:
        for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            values.uniform_(0.5, 1.5)
    for node in together.nodes.values():
        node.weights.data.uniform_(0.1, 2)
    inputs = [torch.rand(2, c, s, s) for c, s in zip(CHANNELS, (28, 14, 7), strict=True)]
    expected = together(inputs)
    assert expected.shape == (2, 60, 56, 56)
    # Unfolded, each decoder owns 16 channels of the fine map and 4 of the coarse one.
    for index in range(3):
        alone = BiFPN(CHANNELS, decoders=1).eval()
        copy_decoder(together, alone, index)
        own = torch.cat([expected[:, 16 * index :][:, :16], expected[:, 48 + 4 * index :][:, :4]], dim=1)
        torch.testing.assert_close(alone(inputs), own, atol=1e-5, rtol=1e-4)


def copy_decoder(together: BiFPN, alone: BiFPN, index: int) -> None:
    for (name, target), source in zip(alone.state_dict().items(), together.state_dict().values(), strict=True):
        if target.ndim == 0:
            continue
        if name.startswith("norm."):
            fine, coarse = source[:48].chunk(3)[index], source[48:].chunk(3)[index]
            target.copy_(torch.cat([fine, coarse]))
        else:
            target.copy_(source.chunk(3)[index])


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
