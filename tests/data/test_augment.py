import pytest
import torch
import torch.nn.functional as F

from src.conventions import Batch
from src.data.augment import Augmentation, augment, draw, transform

NONE = Augmentation.none()


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def augmented(batch: Batch, augmentation: Augmentation) -> Batch:
    return augment(batch, augmentation, aspect=4 / 3, generator=generator())


def flat_batch(count: int, depth_m: float) -> Batch:
    """White photos of a wall."""
    depth = torch.full((count, 1, 144, 144), depth_m)
    return Batch(torch.full((count, 3, 288, 288), 255, dtype=torch.uint8), depth, depth > 0)


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Depth of 1 to 5 m whose pattern the photo shows too, and a hole in the mask."""
    pattern = torch.rand(4, 1, 144, 144, generator=generator())
    valid = torch.ones(4, 1, 144, 144, dtype=torch.bool)
    valid[:, :, 30:60, 80:100] = False
    image = F.interpolate(pattern, size=288).repeat(1, 3, 1, 1)
    return Batch((image * 255).round().to(torch.uint8), (1 + 4 * pattern) * valid, valid)


@pytest.fixture(scope="module")
def plain(batch: Batch) -> Batch:
    return augmented(batch, NONE)


@pytest.mark.parametrize(("density", "least"), [(0.9, 0.5), (0.3, 0.0)])  # dense, and sparse as of a LiDAR
def test_image_depth_and_mask_move_together_bit_for_bit(density: float, least: float) -> None:
    # The same numbers are photo, depth and mask: after any transform they must still be the same.
    numbers = (torch.rand(8, 1, 288, 288, generator=generator()) < density).to(torch.uint8) * 255
    batch = Batch(numbers.repeat(1, 3, 1, 1), (numbers > 0).float(), numbers > 0)
    theta, *_ = draw(8, Augmentation(), aspect=4 / 3, generator=generator())
    moved = transform(batch, theta)
    red = F.avg_pool2d(moved.image[:, :1], 4)
    assert torch.equal(moved.valid, red > least)
    assert torch.equal(moved.depth_m, moved.valid.float())
    assert torch.equal(moved.image[:, 0], moved.image[:, 2])


def test_no_augmentation_only_resizes_and_a_flip_mirrors_all_three(batch: Batch, plain: Batch) -> None:
    expected = F.interpolate(batch.image.float() / 255, size=224, mode="bilinear")
    torch.testing.assert_close(plain.image, expected, atol=1e-4, rtol=0)
    assert plain.depth_m.shape == plain.valid.shape == (4, 1, 56, 56)
    flipped = augmented(batch, NONE._replace(flip=1))
    for before, after in zip(plain[:3], flipped[:3], strict=True):
        torch.testing.assert_close(after.float().flip(3), before.float(), atol=1e-4, rtol=1e-4)


def test_metres_shrink_with_the_side_of_the_crop() -> None:
    zoom = NONE._replace(zoom=0.5)
    _, side, *_ = draw(32, zoom, aspect=4 / 3, generator=generator())
    assert 0.5 <= side.min() < 0.6 < 0.9 < side.max() <= 1
    zoomed = augmented(flat_batch(32, 4.0), zoom)
    torch.testing.assert_close(zoomed.depth_m, (4 * side).view(-1, 1, 1, 1).expand_as(zoomed.depth_m))


def test_invalid_depth_never_blends_into_valid(batch: Batch) -> None:
    poisoned = batch._replace(depth_m=torch.where(batch.valid, 3.0, 1e6))
    moved = augmented(poisoned, Augmentation(zoom=1))
    torch.testing.assert_close(moved.depth_m, 3.0 * moved.valid)
    assert not moved.valid.all()


def test_outside_of_the_frame_is_invalid() -> None:
    turned = augmented(flat_batch(8, 2.0), NONE._replace(rotation_deg=20))
    brightness = F.avg_pool2d(turned.image[:, :1], 4)
    certain = (brightness - 0.5).abs() > 1e-3
    assert (brightness[certain] < 0.5).any()
    assert torch.equal(turned.valid[certain], brightness[certain] > 0.5)


def test_a_rotation_keeps_right_angles_of_the_frame_before_it_was_squared() -> None:
    theta, *_ = draw(9, NONE._replace(rotation_deg=30), aspect=4 / 3, generator=generator())
    scale = torch.tensor([4 / 3, 1.0])
    true = scale[:, None] * theta[:, :, :2] / scale
    torch.testing.assert_close(true @ true.mT, torch.eye(2).expand(9, 2, 2))
    assert 15 < true[:, 1, 0].asin().rad2deg().abs().max() <= 30


def test_light_changes_the_photo_only(batch: Batch, plain: Batch) -> None:
    lit = augmented(batch, NONE._replace(gamma=1.25, gain=1.15, brightness=1.2))
    assert torch.equal(lit.depth_m, plain.depth_m)
    assert torch.equal(lit.valid, plain.valid)
    assert not torch.allclose(lit.image, plain.image, atol=0.02)
    assert 0 <= lit.image.min() < lit.image.max() <= 1


def test_colour_keeps_grey_photos_grey_and_the_draws_of_the_rest() -> None:
    batch = Batch(
        torch.full((64, 3, 288, 288), 90, dtype=torch.uint8),
        torch.ones(64, 1, 144, 144),
        torch.ones(64, 1, 144, 144) > 0,
    )
    batch.image[:, :, :, 144:] = 150
    colourful = NONE.only(["colour"])
    grey = augmented(batch, colourful)
    torch.testing.assert_close(grey.image.mean(dim=(1, 2, 3)) * 255, torch.full((64,), 120.0))
    torch.testing.assert_close(grey.image[:, 0], grey.image[:, 2])
    contrast = (grey.image[:, 0, 0, -1] - grey.image[:, 0, 0, 0]) * 255 / 60
    assert 1 / 1.4 <= contrast.min() < 0.8 < 1.3 < contrast.max() <= 1.4
    batch.image[:] = torch.tensor([100, 120, 140], dtype=torch.uint8).view(1, 3, 1, 1)
    tinted = augmented(batch, colourful).image[:, :, 0, 0] * 255
    torch.testing.assert_close(tinted.mean(dim=1), torch.full((64,), 120.0))
    spread = (tinted[:, 2] - tinted[:, 0]) / 40
    assert 0.4 / 1.4 <= spread.min() < 0.6 < 1.5 < spread.max() <= 1.6 * 1.4
    whole, without = (
        Augmentation(zoom=0.5).only(["zoom", "light", "colour"]),
        Augmentation(zoom=0.5).only(["zoom", "light"]),
    )
    both = [draw(4, choice, aspect=4 / 3, generator=generator())[:4] for choice in (whole, without)]
    assert all(torch.equal(*pair) for pair in zip(*both, strict=True))
