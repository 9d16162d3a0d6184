from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from src.scoring.metrics import (
    average,
    boundary_f1,
    by_part,
    eigen,
    eigen_mask,
    eigen_pixels,
    fastdepth,
    mean_map,
    resize_depth,
    score,
    ssim_mse,
)
from src.ssim import ssim
from src.training.measures import measure_images


def truth_and_prediction(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    small = rng.uniform(0.5, 9, (9, 12)).astype(np.float32)
    truth = np.asarray(Image.fromarray(small).resize((640, 480), Image.Resampling.BILINEAR)).copy()
    truth[100:140, 200:300] = 0  # a hole of the sensor
    truth[200:210, 300:310] = 10.5  # beyond the range
    prediction = np.asarray(Image.fromarray(small).resize((56, 56), Image.Resampling.BILINEAR))
    return torch.from_numpy(truth), torch.from_numpy(prediction * rng.uniform(0.7, 1.3, (56, 56)).astype(np.float32))


@pytest.mark.parametrize("median_scaled", [False, True])
def test_eigen_by_hand(median_scaled: bool) -> None:
    truth, prediction = truth_and_prediction()
    resized = Image.fromarray(prediction.numpy()).resize((640, 480), Image.Resampling.BILINEAR)
    p = np.asarray(resized).astype(np.float64)[45:471, 41:601]
    t = truth.numpy().astype(np.float64)[45:471, 41:601]
    seen = (t > 1e-3) & (t < 10)
    p, t = p[seen], t[seen]
    if median_scaled:
        p = p * np.median(t) / np.median(p)
    p = np.clip(p, 1e-3, 10)
    ratio = np.maximum(p / t, t / p)
    expected = {
        "abs_rel": np.mean(np.abs(p - t) / t),
        "rmse_m": np.sqrt(np.mean((p - t) ** 2)),
        "log10": np.mean(np.abs(np.log10(p) - np.log10(t))),
        "d1": np.mean(ratio < 1.25),
        "d2": np.mean(ratio < 1.25**2),
        "d3": np.mean(ratio < 1.25**3),
    }
    assert eigen(prediction, truth, median_scaled=median_scaled) == pytest.approx(expected, rel=1e-4)


def ssim_by_hand(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. 2004, 11x11 Gaussian of sigma 1.5, reflected border."""
    offset = np.arange(-5, 6)
    line = np.exp(-(offset**2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    blurred = []
    for values in (x, y, x * x, y * y, x * y):
        padded = np.pad(values, 5, mode="reflect")
        views = np.lib.stride_tricks.sliding_window_view(padded, (11, 11))
        blurred.append((views * window).sum(axis=(2, 3)))
    mx, my, xx, yy, xy = blurred
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mx * my + c1) * (2 * (xy - mx * my) + c2)
    return float((top / ((mx**2 + my**2 + c1) * (xx - mx**2 + yy - my**2 + c2))).mean())


def test_ssim_and_mse_by_hand() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.rand(56, 56, generator=g)
    y = (x + 0.2 * torch.rand(56, 56, generator=g)).clamp(0, 1)
    got = ssim_mse(x, y, torch.ones(56, 56, dtype=torch.bool))
    assert got["ssim"] == pytest.approx(ssim_by_hand(x.double().numpy(), y.double().numpy()), abs=1e-4)
    assert got["mse"] == pytest.approx((x - y).square().mean().item(), rel=1e-5)


def test_holes_in_the_truth_add_no_similarity() -> None:
    g = torch.Generator().manual_seed(0)
    truth = F.interpolate(torch.rand(1, 1, 9, 9, generator=g), 56, mode="bilinear")[0, 0]
    prediction = (truth + 0.05 * torch.randn(56, 56, generator=g)).clamp(0, 1)
    dense = torch.ones(56, 56, dtype=torch.bool)
    expected = ssim_mse(prediction, truth, dense)["ssim"]
    assert ssim(*(values[None, None] for values in (prediction, truth, dense))).item() == pytest.approx(expected)
    block = dense.clone()
    block[10:35, 5:45] = False
    for measured in (block, torch.rand(56, 56, generator=g) < 0.3):
        prediction_, truth_ = (torch.where(measured, values, 9) for values in (prediction, truth))
        assert ssim_mse(prediction_, truth_, measured)["ssim"] == pytest.approx(expected, abs=0.03)
        images = (values[None, None] for values in (prediction_, truth_, measured))
        assert measure_images(*images)[0].item() == pytest.approx(expected, abs=0.03)


def test_boundaries_are_known_in_dense_truth_only() -> None:
    full, small = torch.full((480, 640), 3.0), torch.full((56, 56), 3.0)
    assert "boundary" in score(small / 10, full, small, unit_m=10.0)
    small[torch.arange(56) % 8 > 0] = 0
    assert "boundary" not in score(full[:56, :56] / 10, full, small, unit_m=10.0)


def test_the_seeds_protocols_divide_as_they_say() -> None:
    small = torch.linspace(1, 5, 56 * 56).view(56, 56)
    full = torch.full((480, 640), 3.0)
    prediction = small / 10 * 1.1  # 10 % too far everywhere
    got = score(prediction, full, small, unit_m=10.0)
    assert got["metric10"]["mse"] == pytest.approx(((small / 100) ** 2).mean().item(), rel=1e-4)
    assert got["relative"]["mse"] == pytest.approx(0, abs=1e-9)  # each is divided by its own maximum
    assert got["relative"]["ssim"] == pytest.approx(1, abs=1e-4)
    assert set(score(prediction, full, small, unit_m=None)) == {"relative", "eigen_median", "boundary"}


def test_a_network_of_the_relative_target_is_scored_raw() -> None:
    small = torch.linspace(1, 5, 56 * 56).view(56, 56)
    prediction = 0.8 * small / 5  # 20 % too near everywhere: dividing by its own maximum would hide it
    got = score(prediction, torch.full((480, 640), 3.0), small, unit_m=None)["relative"]
    assert got["mse"] == pytest.approx((0.2 * small / 5).square().mean().item(), rel=1e-4)
    assert got["ssim"] < 0.99


def test_the_mean_map_averages_metres_and_shares_where_they_were_measured() -> None:
    near, far = torch.full((56, 56), 2.0), torch.full((56, 56), 8.0)
    near[0, 0], far[0, :28] = 4, 0
    got = mean_map([near, far])
    assert got.frames == 2
    assert got.metric_m[0, :2].tolist() == [4, 2]  # only the first frame was measured there
    assert got.metric_m[-1, -1].item() == 5
    assert got.relative[-1, -1].item() == (0.5 + 1) / 2
    near[-1, 0] = far[-1, 0] = 0
    measured = torch.cat([near[near > 0], far[far > 0]])
    assert mean_map([near, far]).metric_m[-1, 0].item() == pytest.approx(measured.mean().item())  # which none measured


def test_unmeasured_pixels_do_not_count() -> None:
    small = torch.full((56, 56), 4.0)
    small[:10] = 0
    prediction = torch.full((56, 56), 0.4)
    prediction[:10] = 3
    got = score(prediction, torch.full((480, 640), 4.0), small, unit_m=10.0)
    assert got["metric10"] == pytest.approx({"ssim": 1, "mse": 0}, abs=1e-4)
    assert got["relative"] == pytest.approx({"ssim": 1, "mse": 0}, abs=1e-4)


def test_the_mean_training_map_scores_as_published(real_nyu: Path) -> None:
    """Of all 654 test frames; those here are a part. Divided by its own maximum, the map has SSIM 0.570, MSE 0.08."""
    from src.data.batches import make_sample
    from src.data.nyu import find_nyu, open_nyu

    root = find_nyu(real_nyu)
    assert root is not None
    train, test = (open_nyu(root, split, validation=0) for split in ("train", "test"))
    mean = mean_map(make_sample("", train[index]).small_truth_m for index in range(0, len(train), 4))
    got = average([mean.score(make_sample("", test[index]).small_truth_m) for index in range(0, len(test), 4)])
    assert got["relative"] == pytest.approx({"ssim": 0.610, "mse": 0.0388}, abs=0.015)
    assert got["metric10"] == pytest.approx({"ssim": 0.753, "mse": 0.0142}, abs=0.015)


def test_truth_is_scored_up_to_the_range_of_the_network() -> None:
    truth_m, small_m = torch.full((480, 640), 40.0), torch.full((56, 56), 40.0)
    truth_m[:240] = 4
    result = score(small_m / 80, truth_m, small_m, unit_m=80.0, max_depth_m=80.0)
    assert "metric10" not in result  # which is defined for 10 m
    upper = (240 - 45) / (471 - 45)
    assert result["eigen"]["rmse_m"] == pytest.approx(36 * upper**0.5)
    assert score(small_m / 80, truth_m, small_m, unit_m=80.0)["eigen"]["rmse_m"] == pytest.approx(6)  # clamped at 10 m
    assert not eigen_mask(torch.full((48, 64), 40.0)).any()
    with pytest.raises(ValueError, match="without one measured pixel"):
        eigen(small_m, torch.zeros(480, 640))


def test_distances_and_thirds_part_the_pixels_that_eigen_scores() -> None:
    truth, prediction = truth_and_prediction()
    found = by_part(*eigen_pixels(prediction, truth))
    masks = {f"{near}-{far} m": (truth >= near) & (truth < far) for near, far in ((0, 2), (2, 4), (4, 6), (6, 10))}
    rows, columns = torch.meshgrid(torch.arange(480), torch.arange(640), indexing="ij")
    masks |= {"top third": rows < 160, "middle third": (rows >= 160) & (rows < 320), "bottom third": rows >= 320}
    masks |= {"left third": columns < 214, "centre third": (columns >= 214) & (columns < 427)}
    masks |= {"right third": columns >= 427}
    assert list(found) == list(masks)
    for name, measures in found.items():
        part = eigen_mask(truth) & masks[name]
        predicted = resize_depth(prediction, truth)[part].double().clamp(1e-3, 10)
        assert measures["rmse_m"] == pytest.approx(((predicted - truth[part]) ** 2).mean().sqrt().item())
    far = by_part(torch.full((9,), 30.0), torch.full((9,), 40.0), torch.full((9, 2), 0.5), max_depth_m=80)
    assert [(name, measures["rmse_m"]) for name, measures in far.items()] == [
        (name, 10) for name in ("10-80 m", "middle third", "centre third")
    ]


def test_fastdepths_protocol_scores_the_middle_of_the_frame() -> None:
    truth = torch.full((480, 640), 12.0)
    truth[:20], truth[460:], truth[:, :26], truth[:, 612:] = 1, 1, 1, 1
    truth[200:300] = 0
    measures = fastdepth(torch.full((56, 56), 9.0), truth, 12)
    assert measures["rmse_m"] == pytest.approx(3)
    assert measures["abs_rel"] == pytest.approx(0.25)
    assert fastdepth(truth[:56, :56], torch.zeros(480, 640)) == {}  # and no mean of nothing
    assert fastdepth(torch.full((56, 56), 9.0), truth) == {}  # all of it is beyond 10 m
    truth[:23] = 1
    assert fastdepth(torch.full((56, 56), 9.0), truth, 12)["rmse_m"] > 3


def test_boundaries_are_steps_of_the_same_direction_between_measured_neighbours() -> None:
    truth, measured = torch.ones(8, 8), torch.ones(8, 8, dtype=torch.bool)
    truth[:, 4:] = 2
    assert boundary_f1(3 * truth, truth, measured) == {"f1": 1}  # no scale is needed
    assert boundary_f1(1 / truth, truth, measured) == {"f1": 0}
    assert boundary_f1(torch.ones(8, 8), truth, measured) == {"f1": 0}
    assert boundary_f1(torch.ones(8, 8), torch.ones(8, 8), measured) == {"f1": 1}
    extra = truth.clone()
    extra[4:, :4] = 3  # 4 steps down, where the truth has none, and at 4 of its 8 a step in the other direction
    assert boundary_f1(extra, truth, measured)["f1"] == pytest.approx(2 * 4 / (8 + 12))
    measured[:, 3] = False
    assert boundary_f1(torch.ones(8, 8), truth, measured) == {"f1": 1}
    slight = torch.where(truth > 1, 1.15, 1.0)  # counts for the lower half of the ratios
    assert boundary_f1(slight, truth, torch.ones_like(measured))["f1"] == pytest.approx(5.472 / 11.5, abs=1e-3)
