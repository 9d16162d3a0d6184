import numpy as np
import pytest
import torch

from src.training.losses import LOSSES, make_target, mixed, mse

Maps = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture
def maps() -> Maps:
    """Prediction with gradients, target, and 70 % valid pixels."""
    g = torch.Generator().manual_seed(0)
    prediction, target = torch.rand(2, 2, 1, 8, 8, generator=g) + 0.1
    return prediction.requires_grad_(), target, torch.rand(2, 1, 8, 8, generator=g) > 0.3


def test_losses_by_hand(maps: Maps) -> None:
    p, t, v = (tensor.detach().numpy() for tensor in maps)
    p, t = p.astype(np.float64), t.astype(np.float64)
    assert mse(*maps).item() == pytest.approx(np.mean((p[v] - t[v]) ** 2), rel=1e-5)
    logs = []
    for i in range(2):
        e = np.log(p[i][v[i]]) - np.log(t[i][v[i]])
        logs.append(np.sqrt(np.mean(e**2) - 0.5 * np.mean(e) ** 2 + 1e-6))
    error = p - t
    across, both_across = np.diff(error, axis=3), v[..., 1:] & v[..., :-1]
    down, both_down = np.diff(error, axis=2), v[:, :, 1:] & v[:, :, :-1]
    expected = np.mean(logs) + 2 * np.abs(error[v]).mean()
    expected += np.abs(across[both_across]).mean() + np.abs(down[both_down]).mean()
    assert mixed(*maps).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES.values())
def test_invalid_pixels_have_no_influence(maps: Maps, loss) -> None:
    prediction, target, valid = maps
    value = loss(prediction, target, valid)
    torch.testing.assert_close(value, loss(prediction, torch.where(valid, target, 1e9), valid))
    (gradient,) = torch.autograd.grad(value, prediction)
    assert (gradient[~valid] == 0).all()
    assert (gradient[valid] != 0).float().mean() > 0.9
    none = loss(prediction, target, torch.zeros_like(valid))
    assert none.isfinite()
    assert torch.autograd.grad(none, prediction)[0].isfinite().all()


def test_targets() -> None:
    depth_m = torch.tensor([[2.0, 4.0], [8.0, 9.0]]).view(1, 1, 2, 2)
    valid = depth_m < 9
    assert make_target(depth_m, valid, "metric", 10.0).flatten().tolist() == pytest.approx([0.2, 0.4, 0.8, 0.9])
    assert make_target(depth_m, valid, "relative", 10.0)[valid].tolist() == pytest.approx([0.25, 0.5, 1.0])
