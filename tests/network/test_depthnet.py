import pytest
import torch

from src.conventions import UserError
from src.network import DepthNet, rebuild, summarize


@pytest.fixture(scope="module")
def network() -> DepthNet:
    torch.manual_seed(0)
    return DepthNet()


@pytest.mark.parametrize("training", [False, True])
def test_the_initial_output_is_near_the_mean_depth_and_not_clamped(network: DepthNet, training: bool) -> None:
    prediction = network.train(training)(torch.rand(2, 3, 224, 224))
    assert prediction.shape == (2, 1, 56, 56)
    assert prediction.min() >= 0 and prediction.max() <= 6
    assert (prediction > 0.05).float().mean() > 0.99
    assert prediction.mean().item() == pytest.approx(0.27, abs=0.15)


def test_every_parameter_gets_a_gradient(network: DepthNet) -> None:
    network.train()(torch.rand(2, 3, 224, 224)).var().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_photo_in_a_batch_of_bytes_and_alone_in_floats_is_the_same(network: DepthNet) -> None:
    photos = torch.randint(0, 256, (3, 3, 224, 224), dtype=torch.uint8)
    network.eval()
    torch.testing.assert_close(network(photos)[1:2], network(photos[1:2].float() / 255), atol=1e-4, rtol=1e-3)


def test_summary_counts_what_is_there(network: DepthNet) -> None:
    *parts, total = summarize(network)
    assert total.parameters == sum(p.numel() for p in network.parameters())
    assert {part.name for part in parts} == {name for name, _ in network.named_children()}
    residual = next(part for part in parts if part.name == "residual")
    assert residual.macs == 3 * 60 * 224 * 224


def test_sizes_and_weights_that_do_not_fit_are_refused(network: DepthNet) -> None:
    with pytest.raises(ValueError, match=r"\(224, 200\)"):
        network(torch.rand(1, 3, 224, 200))
    weights = network.state_dict()
    assert rebuild("tf_efficientnet_lite0", weights).state_dict().keys() == weights.keys()
    with pytest.raises(UserError, match="do not fit"):
        rebuild("efficientnet_b1", weights)
    with pytest.raises(UserError, match="do not fit"):
        rebuild("tf_efficientnet_lite0", {**weights, "output.1.bias": torch.zeros(7)})


@pytest.mark.parametrize("short", [torch.bfloat16, torch.float16])
def test_the_output_is_computed_in_float32_whatever_came_before(network: DepthNet, short: torch.dtype) -> None:
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        exact = network.eval()(image)
        with torch.autocast("cpu", dtype=short):
            prediction = network(image)
    assert prediction.dtype is torch.float32
    assert (prediction - prediction.to(short)).abs().max() > 0  # values between the steps of the short type
    torch.testing.assert_close(prediction, exact, atol=0.01, rtol=0.05)


def test_another_unit_keeps_the_metres() -> None:
    network, photo = DepthNet().eval(), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before_m = 10 * network(photo)
        network.rescale(10 / 80)
        torch.testing.assert_close(80 * network(photo), before_m)
