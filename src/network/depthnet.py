"""The whole network: encoder, three BiFPN decoders, image residual, inception, two separable blocks."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from src.choices import EMBEDDED_ENCODER, OUTPUTS
from src.conventions import IMAGE_SIZE_PX, UserError
from src.network.bifpn import BiFPN
from src.network.blocks import Inception, SeparableConv
from src.network.encoder import Encoder

MEAN_DEPTH = {"metric": 0.27, "relative": 0.573}
"""The mean depth of NYU's training frames, by target: 2.7 m in units of 10 m, or a share of each frame's maximum."""

ARCHITECTURE = 2
"""Checkpoints name theirs; those of another one are refused."""

JOINED, REDUCED, REFINED = 64, 16, 16  # channels at stride 4: into the inception module, within it, after it

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu6": F.relu6,
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "identity": nn.Identity(),
}
"""The activations of the output. The original project compared them and took ReLU6."""


class DepthNet(nn.Module):
    """Estimate depth from one photo.

    **Shape**: (B, 3, H, W) -> (B, 1, H/4, W/4); H and W multiples of 32, 224 in training.
    **Units**: RGB as uint8 in [0, 255] or float in [0, 1] -> depth in the range of the activation `output`, for ReLU6
    [0, 6]; under the metric target, 1 is the range of the training, 10 m by default. A new network predicts about
    `mean` everywhere.
    **Raises**: ValueError when the sides are no multiples of 32.
    """

    def __init__(
        self,
        encoder: str = EMBEDDED_ENCODER,
        *,
        pretrained: bool = True,
        decoders: int = 3,
        output: str = "relu6",
        mean: float = MEAN_DEPTH["metric"],
    ) -> None:
        super().__init__()
        self.encoder = Encoder(encoder, pretrained=pretrained)
        self.decoder = BiFPN(self.encoder.channels, JOINED, decoders=decoders)
        self.residual = nn.Conv2d(3, JOINED, 4, stride=4)
        self.inception = Inception(JOINED, REDUCED)
        self.refine = SeparableConv(JOINED, REFINED)
        self.output = SeparableConv(REFINED, 1, plain=True)
        # A norm before ReLU6, or large first weights, would start with half the pixels dead at 0.
        *_, weight, bias = self.output.parameters()
        nn.init.normal_(weight, std=0.01)
        nn.init.constant_(bias, math.log(mean / (1 - mean)) if output == "sigmoid" else mean)
        self.activation = ACTIVATIONS[output]

    @torch.no_grad()
    def rescale(self, factor: float) -> None:
        """Multiply the output by a factor, e.g. to predict the same metres in another unit."""
        *_, weight, bias = self.output.parameters()
        weight.mul_(factor)
        bias.mul_(factor)

    def forward(self, image: Tensor) -> Tensor:
        if image.shape[-2] % 32 or image.shape[-1] % 32:
            raise ValueError(f"got an image of {tuple(image.shape[-2:])} pixels, expected multiples of 32")
        if not image.is_floating_point():
            image = image.to(self.residual.weight.dtype) / 255  # not of torch's default type, which a program may set
        return self.decode(self.encoder(image), image)

    def decode(self, features: Sequence[Tensor], image: Tensor) -> Tensor:
        """Compute depth from the encoder's levels and the photo in [0, 1]."""
        refined = self.refine(self.inception(self.decoder(features) + self.residual(image)))
        # The output is never computed in a short type: bf16 has steps of 2 cm at 3 m.
        with torch.autocast(image.device.type, enabled=False):
            return self.activation(self.output(refined.to(self.output[-1].weight.dtype)))


def rebuild(about: Mapping[str, Any], weights: Mapping[str, Tensor]) -> DepthNet:
    """Make the network that a checkpoint describes, with its weights; UserError when they do not fit it."""
    encoder, output, architecture = about["encoder"], about.get("output"), about.get("architecture", 1)
    if architecture != ARCHITECTURE:
        raise UserError(
            f"The checkpoint's architecture: got {architecture!r:.40}, expected {ARCHITECTURE}. Train it again: "
            "python scripts/train.py --preset RUN/options.yaml, from its run's folder."
        )
    if output not in OUTPUTS:
        raise UserError(f"The checkpoint's output: got {output!r:.40}, expected one of {', '.join(OUTPUTS)}.")
    with torch.random.fork_rng(devices=[]):  # a program that predicts keeps its random numbers
        network = DepthNet(encoder, pretrained=False, output=output).float()  # whatever type is torch's default
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        faults = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
        raise UserError(
            f"The checkpoint's weights do not fit a DepthNet with {encoder}: {len(faults)} faults, the first: "
            f"{faults[0][:120]} Take one that this version of scripts/train.py wrote."
        ) from None
    return network


class Part(NamedTuple):
    """What one part of the network costs."""

    name: str
    parameters: int
    macs: int


def summarize(network: nn.Module) -> list[Part]:
    """Count parameters and multiply-accumulates of each part for one 224x224 photo, the total last."""
    training, device = network.training, next(network.parameters()).device
    counter = FlopCounterMode(display=False)  # counts convolutions and matrix products, not norms and activations
    with counter, torch.no_grad():
        network.eval()(torch.zeros(1, 3, IMAGE_SIZE_PX, IMAGE_SIZE_PX, device=device))
    network.train(training)
    counts = counter.get_flop_counts()
    whole = type(network).__name__
    parts = []
    for name, part in network.named_children():
        macs = sum(counts.get(f"{whole}.{name}", {}).values()) // 2
        parts.append(Part(name, sum(parameter.numel() for parameter in part.parameters()), macs))
    return [*parts, Part("total", sum(p.parameters for p in parts), sum(counts["Global"].values()) // 2)]
