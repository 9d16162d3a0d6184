import pytest
import torch
from torch import nn

from src.choices import OUTPUTS
from src.conventions import UserError
from src.network import MEAN_DEPTH, DepthNet, rebuild, summarize
from src.network.bifpn import BiFPN, FusionNode
from src.network.blocks import Inception
from src.network.depthnet import ACTIVATIONS


@pytest.fixture(scope="module")
def network() -> DepthNet:
    torch.manual_seed(0)
    return DepthNet()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("output", "target"), [("relu6", "metric"), ("relu", "relative"), ("sigmoid", "relative")])
def test_the_initial_output_is_near_the_mean_depth_and_not_clamped(training: bool, output: str, target: str) -> None:
    torch.manual_seed(0)
    network = DepthNet(output=output, mean=MEAN_DEPTH[target])
    prediction = network.train(training)(torch.rand(2, 3, 224, 224))
    assert prediction.shape == (2, 1, 56, 56)
    assert (prediction > 0.05).float().mean() > 0.99
    assert prediction.mean().item() == pytest.approx(MEAN_DEPTH[target], abs=0.15)


def test_output_activations() -> None:
    assert set(ACTIVATIONS) == set(OUTPUTS)
    values = torch.tensor([-1.0, 0.5, 7.0])
    got = {name: activate(values).tolist() for name, activate in ACTIVATIONS.items()}
    sigmoid = pytest.approx([0.26894, 0.62246, 0.99909], abs=1e-5)
    assert got == {"relu6": [0, 0.5, 6], "relu": [0, 0.5, 7], "sigmoid": sigmoid, "identity": [-1, 0.5, 7]}


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
    assert residual.macs == 64 * 3 * 4 * 4 * 56 * 56


def test_sizes_and_weights_that_do_not_fit_are_refused(network: DepthNet) -> None:
    with pytest.raises(ValueError, match=r"\(224, 200\)"):
        network(torch.rand(1, 3, 224, 200))
    weights = network.state_dict()
    about = {"encoder": "tf_efficientnet_lite0", "architecture": 2, "output": "relu6"}
    assert rebuild(about, weights).state_dict().keys() == weights.keys()
    with pytest.raises(UserError, match="output: got 'tanh'"):
        rebuild({**about, "output": "tanh"}, weights)
    with pytest.raises(UserError, match="architecture: got 1, expected 2"):
        rebuild({"encoder": "tf_efficientnet_lite0"}, weights)  # of the first architecture, which named none
    with pytest.raises(UserError, match="do not fit"):
        rebuild({**about, "encoder": "efficientnet_b1"}, weights)
    with pytest.raises(UserError, match="do not fit"):
        rebuild(about, {**weights, "output.1.bias": torch.zeros(7)})


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
    together = BiFPN(CHANNELS, 64, decoders=3).eval()
    for norm in [m for m in together.modules() if isinstance(m, nn.BatchNorm2d)]:
        for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            values.uniform_(0.5, 1.5)
    for node in together.nodes.values():
        node.weights.data.uniform_(0.1, 2)
    inputs = [torch.rand(2, c, s, s) for c, s in zip(CHANNELS, (28, 14, 7), strict=True)]
    assert together(inputs).shape == (2, 64, 56, 56)
    expected = together.decode(inputs)
    for index in range(3):
        alone = BiFPN(CHANNELS, 64, decoders=1).eval()
        for (name, target), source in zip(alone.state_dict().items(), together.state_dict().values(), strict=True):
            if target.ndim and not name.startswith("join"):
                target.copy_(source.chunk(3)[index])
        for level, outputs in zip(alone.decode(inputs), expected, strict=True):
            torch.testing.assert_close(level, outputs.chunk(3, dim=1)[index], atol=1e-5, rtol=1e-4)


def test_branches_are_not_linear() -> None:
    # Without a nonlinearity inside, the module would be one convolution: f(a) + f(-a) = 2 f(0).
    module = Inception(60, 24).eval()
    module.activate = torch.nn.Identity()
    a, zero = torch.randn(1, 60, 8, 8), torch.zeros(1, 60, 8, 8)
    assert (module(a) + module(-a) - 2 * module(zero)).abs().max() > 1e-2


def test_branches_see_fields_of_one_to_five_pixels() -> None:
    module = Inception(16, 24).eval()
    reach = []
    for branch in module.branches:
        spot = torch.zeros(1, 24, 11, 11)
        spot[..., 5, 5] = 1
        changed = (branch(spot) - branch(torch.zeros_like(spot))).abs().amax(dim=(0, 1)) > 0
        reach.append((int(changed.any(1).sum()), int(changed.any(0).sum())))
    assert reach == [(1, 1), (3, 3), (3, 3), (5, 5)]
