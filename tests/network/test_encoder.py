import socket
import time
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import timm
import torch
from huggingface_hub.utils import get_session

from src.choices import EMBEDDED_ENCODER
from src.conventions import UserError
from src.network.encoder import Encoder, check_name, embedded_weights, hub_weights

REFERENCE_LOGITS = {818: 5.2055, 782: 4.6622, 644: 4.3083, 812: 3.9249, 604: 3.8407, 540: 3.5961}
"""Of `ramp()`, by the network that the weights were made for (efficientnet-lite-pytorch 0.1.0 on torch 2.14.1)."""


@pytest.fixture(scope="module")
def classifier() -> torch.nn.Module:
    model = timm.create_model(EMBEDDED_ENCODER).eval()
    model.load_state_dict(embedded_weights())  # strict: 296 of 296 tensors
    return model


def ramp() -> torch.Tensor:
    """An image that is the same everywhere: three ramps in [-1, 1]."""
    row = torch.linspace(-1, 1, 224)
    return torch.stack([row.expand(224, 224), row.expand(224, 224).T, -row.expand(224, 224)])[None]


def test_embedded_weights_give_the_logits_of_their_own_implementation(classifier: torch.nn.Module) -> None:
    # Padding or norm constants that differ load without complaint and are wrong; only logits tell.
    with torch.no_grad():
        logits = classifier(ramp())[0]
    for index, value in REFERENCE_LOGITS.items():
        assert logits[index].item() == pytest.approx(value, abs=1e-3)


def test_features_are_the_classifiers_own(classifier: torch.nn.Module) -> None:
    image = (ramp() + 1) / 2
    encoder = Encoder().eval()
    with torch.no_grad():
        features = encoder(image)
        expected = classifier.blocks[:6](classifier.bn1(classifier.conv_stem(ramp())))
    assert [tuple(f.shape[1:]) for f in features] == [(40, 28, 28), (112, 14, 14), (192, 7, 7)]
    assert encoder.channels == [40, 112, 192]
    torch.testing.assert_close(features[-1], expected, atol=1e-4, rtol=1e-4)


def test_each_family_is_normalised_its_own_way() -> None:
    assert Encoder(pretrained=False).mean.flatten().tolist() == [0.5] * 3
    b0 = Encoder("efficientnet_b0", pretrained=False)
    assert b0.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert "mean" in b0.state_dict()  # a checkpoint keeps it, whatever a later timm says


def test_unknown_encoder_gets_suggestions() -> None:
    with pytest.raises(UserError, match=r"Did you mean efficientnet_b\d"):
        check_name("efficientnet_bo")
    with pytest.raises(UserError, match="not an EfficientNet"):
        check_name("resnet50")


@pytest.mark.parametrize("hub", ["refuses", "is silent"])
def test_a_hub_out_of_reach_is_noticed_soon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hub: str) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if hub == "is silent":
            server.listen()
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        head = get_session().head  # a tenth of its timeout is enough here
        hurried = SimpleNamespace(head=lambda url, timeout=600: head(url, timeout=timeout / 10))
        monkeypatch.setattr("src.network.encoder.get_session", lambda: hurried)
        started = time.monotonic()
        with pytest.raises(UserError, match=f"efficientnet_b0: .*{EMBEDDED_ENCODER}.*--no-pretrained") as caught:
            hub_weights("efficientnet_b0")
        assert time.monotonic() - started < 10
        assert "\n" not in str(caught.value)


def test_norms_that_are_kept_keep_imagenets_statistics_and_still_learn() -> None:
    encoder = Encoder()
    encoder.keeps_norms = True
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    photo = torch.rand(2, 3, 64, 64)
    sum(level.sum() for level in encoder.train()(photo)).backward()
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert encoder.body.bn1.weight.grad is not None
    encoder.keeps_norms = False
    encoder.train()(photo)
    assert not torch.equal(encoder.body.bn1.running_mean, before["body.bn1.running_mean"])


def test_frozen_stages_neither_learn_nor_move_and_the_others_do() -> None:
    encoder = Encoder()
    encoder.freeze(2)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    sum(level.sum() for level in encoder.train()(torch.rand(2, 3, 64, 64))).backward()
    frozen = ("body.conv_stem.", "body.bn1.", "body.blocks.0.", "body.blocks.1.")
    for key, parameter in encoder.named_parameters():
        assert (parameter.grad is None) == key.startswith(frozen), key
    for key, value in encoder.named_buffers():
        if key.endswith("running_mean"):
            assert torch.equal(value, before[key]) == key.startswith(frozen), key
    with pytest.raises(UserError, match="--freeze 7: the encoder has 7 stages"):
        encoder.freeze(7)
