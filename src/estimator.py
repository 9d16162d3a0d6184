"""The public API: a photo in, metres out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from src.conventions import Intrinsics, UserError
from src.data.frame import enlarge_depth, to_network_input
from src.data.photos import Photo, make_photo, read_photo, to_photo
from src.network import SHIPPED, rebuild
from src.training import checkpoint
from src.training.engine import choose_precision, predict

Picture = str | Path | Image.Image | NDArray[np.uint8]
"""A file's path, a PIL image, or an array (H, W, 3) of RGB."""


class DepthEstimator:
    """Estimate how far each pixel of a photo is, along the optical axis.

        estimator = DepthEstimator()            # the weights that ship, or DepthEstimator("runs/…/best.pt")
        depth_m = estimator("photo.jpg")        # (H, W) float32, metres

    Each photo is resized until an angle covers as many pixels as in training: its angle of view is `fov_deg`, else
    its EXIF's, else that of the training camera (63 degrees along the longer side). Metres are as right as that angle.
    Calls change nothing in the estimator, so that threads may share it.

    **Raises**: UserError when the checkpoint cannot be read or the device is not there.
    """

    def __init__(
        self,
        checkpoint_path: str | Path | None = None,
        *,
        weights: str | None = None,
        device: str = "auto",
        amp: str = "off",
    ) -> None:
        self.precision = choose_precision(device, amp)
        content = checkpoint.load(Path(checkpoint_path or SHIPPED))
        self.about: dict[str, Any] = content["about"]
        chosen, self.weights = checkpoint.choose_weights(content, weights)
        network = rebuild(self.about["encoder"], chosen)
        self.network = network.to(self.precision.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        shipped = "the weights that ship with the repository"
        self.name = f"{checkpoint_path} ({self.weights})" if checkpoint_path else shipped

    @property
    def unit_m(self) -> float | None:
        """Metres that the network calls 1; None where it learnt shares of the farthest point."""
        return self.about["max_depth_m"] if self.about["target"] == "metric" else None

    @property
    def unit(self) -> str:
        """What the numbers of `estimate` are, in a word."""
        return "m" if self.unit_m else "of the farthest"

    def __call__(
        self,
        photo: Picture | Sequence[Picture],
        *,
        fov_deg: float | None = None,
        size_px: tuple[int, int] | None = None,
    ) -> NDArray[np.float32]:
        """Estimate depth in metres.

        **Shape**: a photo -> (H, W), its own size, or `size_px` as (width, height), e.g. (56, 56). Several photos of
        one size, in a list or an array (B, H, W, 3), -> (B, H, W).
        **Raises**: UserError for what is no photo, and when the network learnt relative depth: `estimate` gives that.
        """
        if self.unit_m is None:
            raise UserError(f"{self.name}: learnt relative depth and knows no metres. Take another checkpoint.")
        is_batch = isinstance(photo, list | tuple) or (isinstance(photo, np.ndarray) and photo.ndim == 4)
        if not is_batch:
            return self.estimate(read(cast(Picture, photo), fov_deg), size_px)
        photos = [read(one, fov_deg) for one in cast(Sequence[Picture], photo)]
        sizes = {one.image.shape[:2] for one in photos}
        if not photos or (size_px is None and len(sizes) > 1):
            raise UserError(f"got {len(photos)} photos of {len(sizes)} sizes, expected one size. Name it by size_px.")
        return np.stack([self.estimate(one, size_px) for one in photos])

    def intrinsics(self, photo: Picture, *, fov_deg: float | None = None) -> Intrinsics:
        """Tell the camera with which a photo is taken to be seen, as `Intrinsics.unproject` needs it."""
        return read(photo, fov_deg).camera

    def estimate(self, photo: Photo, size_px: tuple[int, int] | None = None) -> NDArray[np.float32]:
        """Estimate one photo's depth in `unit`: metres, or shares of the farthest point. (H, W), or size_px's."""
        seen = to_network_input(photo.image, photo.camera)
        image = torch.from_numpy(seen.image.copy()).permute(2, 0, 1)[None].to(self.precision.device)
        depth = predict(self.network, image, self.precision)[0, 0].cpu().numpy()
        factor = self.unit_m * seen.scale if self.unit_m else 1 / max(float(depth.max()), 1e-6)
        width_px, height_px = size_px or (photo.camera.width_px, photo.camera.height_px)
        return enlarge_depth(depth * np.float32(factor), width_px, height_px)


def read(photo: Picture, fov_deg: float | None = None) -> Photo:
    """Read whatever may stand for a photo, with its camera.

    **Raises**: UserError that says what was got.
    """
    if isinstance(photo, str | Path):
        return read_photo(Path(photo), fov_deg=fov_deg)
    if isinstance(photo, Image.Image):
        return to_photo(photo, "the image", fov_deg=fov_deg)
    if isinstance(photo, np.ndarray) and photo.dtype == np.uint8 and photo.ndim == 3 and photo.shape[2] == 3:
        return make_photo(photo, fov_deg=fov_deg)
    got = f"an array {photo.shape} of {photo.dtype}" if isinstance(photo, np.ndarray) else f"a {type(photo).__name__}"
    raise UserError(f"got {got}, expected a path, a PIL image, or an array (H, W, 3) of uint8 RGB.")
