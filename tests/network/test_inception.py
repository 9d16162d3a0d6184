import torch

from src.network.inception import Inception


def test_output_shape() -> None:
    assert Inception(60, 176)(torch.rand(2, 60, 14, 14)).shape == (2, 176, 14, 14)


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
