import numpy as np
import pytest
import torch

from src.training.losses import LOSSES, make_target, mixed, mse


def maps(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    prediction, target = torch.rand(2, 2, 1, 8, 8, generator=g) + 0.1
    return prediction, target, torch.rand(2, 1, 8, 8, generator=g) > 0.3


def test_mse_by_hand() -> None:
    prediction, target, valid = maps()
    p, t, v = (x.numpy() for x in (prediction, target, valid))
    assert mse(prediction, target, valid).item() == pytest.approx(np.mean((p[v] - t[v]) ** 2), rel=1e-5)


def test_mixed_by_hand() -> None:
    prediction, target, valid = maps()
    p, t, v = (x.numpy().astype(np.float64) for x in (prediction, target, valid))
    v = v.astype(bool)
    logs = []
    for i in range(2):
        e = np.log(p[i][v[i]]) - np.log(t[i][v[i]])
        logs.append(np.sqrt(np.mean(e**2) - 0.5 * np.mean(e) ** 2 + 1e-6))
    error = p - t
    across, both_across = np.diff(error, axis=3), v[..., 1:] & v[..., :-1]
    down, both_down = np.diff(error, axis=2), v[:, :, 1:] & v[:, :, :-1]
    expected = np.mean(logs) + 2 * np.abs(error[v]).mean()
    expected += np.abs(across[both_across]).mean() + np.abs(down[both_down]).mean()
    assert mixed(prediction, target, valid).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_invalid_pixels_have_no_say(name: str) -> None:
    prediction, target, valid = maps()
    prediction.requires_grad_()
    loss = LOSSES[name](prediction, target, valid)
    poisoned = LOSSES[name](prediction, torch.where(valid, target, 1e9), valid)
    torch.testing.assert_close(loss, poisoned)
    loss.backward()
    assert prediction.grad is not None
    assert (prediction.grad[~valid] == 0).all()
    assert (prediction.grad[valid] != 0).float().mean() > 0.9


@pytest.mark.parametrize("name", LOSSES)
def test_a_frame_without_valid_pixels_is_harmless(name: str) -> None:
    prediction, target, valid = maps()
    prediction.requires_grad_()
    loss = LOSSES[name](prediction, target, torch.zeros_like(valid))
    loss.backward()
    assert loss.isfinite()
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()


def test_targets() -> None:
    depth_m = torch.tensor([[2.0, 4.0], [8.0, 9.0]]).view(1, 1, 2, 2)
    valid = depth_m < 9
    assert make_target(depth_m, valid, "metric", 10.0).flatten().tolist() == pytest.approx([0.2, 0.4, 0.8, 0.9])
    assert make_target(depth_m, valid, "relative", 10.0)[valid].tolist() == pytest.approx([0.25, 0.5, 1.0])
