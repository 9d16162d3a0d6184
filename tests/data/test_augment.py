import math

import pytest
import torch

from src.conventions import Batch
from src.data.augment import Augmentation, augment, draw, transform


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_batch(count: int = 4) -> Batch:
    """Depth 1 to 5 m in a pattern that the photo's red channel shows too, and a hole in the mask."""
    pattern = torch.rand(count, 1, 144, 144, generator=generator(1))
    valid = torch.ones(count, 1, 144, 144, dtype=torch.bool)
    valid[:, :, 30:60, 80:100] = False
    image = torch.nn.functional.interpolate(pattern, size=288).repeat(1, 3, 1, 1)
    return Batch((image * 255).round().to(torch.uint8), (1 + 4 * pattern) * valid, valid)


def test_image_depth_and_mask_move_together_bit_for_bit() -> None:
    # The same numbers go in as photo, as depth and as mask: after any transform they must still be the same.
    numbers = (torch.rand(8, 1, 288, 288, generator=generator()) > 0.5).to(torch.uint8) * 255
    batch = Batch(numbers.repeat(1, 3, 1, 1), (numbers > 0).float(), numbers > 0)
    theta, *_ = draw(8, Augmentation(), aspect=4 / 3, generator=generator())
    moved = transform(batch, theta)
    red = torch.nn.functional.avg_pool2d(moved.image[:, :1], 4)
    assert torch.equal(moved.valid, red > 0.5)
    assert torch.equal(moved.depth_m > 0, moved.valid)  # depth is 1 wherever it is valid
    assert torch.equal(moved.image[:, 0], moved.image[:, 2])
    share = red[moved.valid]
    assert torch.equal(moved.depth_m[moved.valid], share / share)


def test_no_augmentation_changes_nothing() -> None:
    batch = random_batch()
    same = augment(batch, Augmentation.none(), aspect=4 / 3, generator=generator())
    expected = torch.nn.functional.interpolate(batch.image.float() / 255, size=224, mode="bilinear")
    torch.testing.assert_close(same.image, expected, atol=1e-4, rtol=0)
    assert same.depth_m.shape == same.valid.shape == (4, 1, 56, 56)


def test_a_flip_mirrors_all_three() -> None:
    batch = random_batch()
    plain = augment(batch, Augmentation.none(), aspect=4 / 3, generator=generator())
    flipped = augment(batch, Augmentation.none()._replace(flip=1), aspect=4 / 3, generator=generator())
    for before, after in zip(plain, flipped, strict=True):
        torch.testing.assert_close(after.float().flip(3), before.float(), atol=1e-4, rtol=1e-4)


def test_a_crop_of_half_the_side_halves_the_metres() -> None:
    batch = Batch(
        torch.zeros(64, 3, 288, 288, dtype=torch.uint8),
        torch.full((64, 1, 144, 144), 4.0),
        torch.ones(64, 1, 144, 144, dtype=torch.bool),
    )
    how = Augmentation.none()._replace(zoom=0.5)
    _, side, *_ = draw(64, how, aspect=1, generator=generator())
    assert side.min() < 0.55
    assert side.max() > 0.95
    zoomed = augment(batch, how, aspect=1, generator=generator())
    expected = (4 * side).view(-1, 1, 1, 1).expand_as(zoomed.depth_m)
    torch.testing.assert_close(zoomed.depth_m, expected, atol=1e-4, rtol=1e-4)


def test_invalid_depth_never_bleeds() -> None:
    batch = random_batch()
    poisoned = batch._replace(depth_m=torch.where(batch.valid, 3.0, 1e6))
    moved = augment(poisoned, Augmentation(zoom=1, rotation_deg=5), aspect=4 / 3, generator=generator())
    torch.testing.assert_close(moved.depth_m[moved.valid], torch.full_like(moved.depth_m[moved.valid], 3.0))
    assert (moved.depth_m[~moved.valid] == 0).all()
    assert not moved.valid.all()


def test_outside_of_the_frame_is_invalid() -> None:
    full = Batch(
        torch.full((16, 3, 288, 288), 255, dtype=torch.uint8),
        torch.full((16, 1, 144, 144), 2.0),
        torch.ones(16, 1, 144, 144, dtype=torch.bool),
    )
    how = Augmentation.none()._replace(rotation_deg=20)
    turned = augment(full, how, aspect=4 / 3, generator=generator())
    brightness = torch.nn.functional.avg_pool2d(turned.image[:, :1], 4)
    sure = (brightness - 0.5).abs() > 1e-3
    assert (brightness[sure] < 0.5).any()
    assert torch.equal(turned.valid[sure], brightness[sure] > 0.5)


def test_a_turn_keeps_right_angles_of_the_true_frame() -> None:
    # Squared frames are squeezed; turning them as they are would shear the world.
    theta, *_ = draw(1, Augmentation.none()._replace(rotation_deg=30), aspect=4 / 3, generator=generator())
    true = torch.diag(torch.tensor([4 / 3, 1.0])) @ theta[0, :, :2] @ torch.diag(torch.tensor([3 / 4, 1.0]))
    torch.testing.assert_close(true @ true.T, torch.eye(2))
    assert abs(math.degrees(math.asin(true[1, 0].item()))) == pytest.approx(14.9, abs=15.1)


def test_light_changes_the_photo_only() -> None:
    batch = random_batch()
    how = Augmentation.none()._replace(gamma=1.25, gain=1.15, brightness=1.2)
    plain = augment(batch, Augmentation.none(), aspect=4 / 3, generator=generator())
    lit = augment(batch, how, aspect=4 / 3, generator=generator())
    assert torch.equal(lit.depth_m, plain.depth_m)
    assert torch.equal(lit.valid, plain.valid)
    assert not torch.allclose(lit.image, plain.image, atol=0.02)
    assert lit.image.min() >= 0
    assert lit.image.max() <= 1


def test_the_same_generator_draws_the_same() -> None:
    batch = random_batch()
    one, two, three = (augment(batch, Augmentation(), aspect=4 / 3, generator=generator(s)) for s in (5, 5, 6))
    assert torch.equal(one.image, two.image)
    assert not torch.equal(one.image, three.image)


def test_a_part_of_a_batch_is_changed_as_in_the_whole() -> None:
    how, batch = Augmentation(), random_batch(4)
    whole = augment(batch, how, aspect=4 / 3, generator=generator())
    parts = [
        augment(Batch(*(each[n : n + 2] for each in batch)), how, aspect=4 / 3, generator=generator(), first=n, count=4)
        for n in (0, 2)
    ]
    for together, apart in zip(whole, zip(*parts, strict=True), strict=True):
        torch.testing.assert_close(torch.cat(apart), together)
