"""The public API: a photo in, metres out."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from src.conventions import Intrinsics, UserError
from src.data.batches import network_input
from src.data.frame import enlarge_depth
from src.data.photos import Photo, make_photo, read_photo, to_photo
from src.network import SHIPPED, rebuild
from src.training import checkpoint
from src.training.engine import choose_precision, predict

Picture = str | Path | Image.Image | NDArray[np.uint8]
"""A file's path, a PIL image, or an array (H, W, 3) of RGB."""


class DepthEstimator:
    """Estimate how far each pixel of a photo is, along the optical axis.

        estimator = DepthEstimator()            # the weights that ship, or DepthEstimator("best.pt"), ("best.onnx")
        depth_m = estimator("photo.jpg")        # (H, W) float32, metres

    Each photo is resized by its focal length, see `src.data.frame.place`. Its angle of view is `fov_deg`, else from
    EXIF, else the training camera's (63 degrees along the longer side); depth is as accurate as that angle.
    A network of `--target relative` predicts no scale: `scale_m` is where each photo's farthest point is put.
    Threads may share an estimator.

    **Raises**: UserError for an unreadable checkpoint, a missing device, or a scale for a metric network.
    """

    def __init__(
        self,
        checkpoint_path: str | Path | None = None,
        *,
        scale_m: float | None = None,
        weights: str | None = None,
        device: str = "auto",
        amp: str = "off",
    ) -> None:
        path = Path(checkpoint_path or SHIPPED)
        self.about: dict[str, Any]
        self.network: nn.Module
        if path.suffix == ".onnx":
            from src.network.onnx_network import OnnxNetwork  # onnxruntime is needed for such files only

            if device not in ("auto", "cpu") or amp not in ("auto", "off") or weights:
                raise UserError(f"{path}: an ONNX file runs on the CPU as it is. Leave out --device, --amp, --weights.")
            self.precision = choose_precision("cpu", "off")
            self.network = OnnxNetwork(path).eval()
            self.about = self.network.about
            self.weights = self.about["weights"]
        else:
            self.precision = choose_precision(device, amp)
            content = checkpoint.load(path)
            self.about = content["about"]
            state, self.weights = checkpoint.choose_weights(content, weights)
            network = rebuild(self.about, state)
            self.network = network.to(self.precision.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        shipped = "the weights that ship with the repository"
        self.name = f"{checkpoint_path} ({self.weights})" if checkpoint_path else shipped
        if scale_m is not None and self.unit_m:
            raise UserError(f"--scale-m {scale_m:g}: has no effect on a metric network ({self.name}). Leave it out.")
        self.scale_m = scale_m

    @property
    def unit_m(self) -> float | None:
        """Metres per unit of the network's output; None for a relative network, whose farthest point is 1."""
        return self.about["max_depth_m"] if self.about["target"] == "metric" else None

    @property
    def unit(self) -> str:
        """The unit of `estimate`, for labels."""
        return "m" if self.unit_m else "of the farthest"

    def __call__(
        self,
        photo: Picture | Sequence[Picture],
        *,
        fov_deg: float | None = None,
        size_px: tuple[int, int] | None = None,
    ) -> NDArray[np.float32]:
        """Estimate depth in metres, those of a relative network at `scale_m`.

        **Shape**: a photo -> (H, W), its own size, or `size_px` as (width, height), e.g. (56, 56). Several photos of
        one size, in a list or an array (B, H, W, 3), -> (B, H, W).
        **Raises**: UserError for other inputs and sizes, and for a relative network without `scale_m`.
        """
        if not self.unit_m and not 0 < (self.scale_m or 0) < math.inf:
            raise UserError(
                f"{self.name}: predicts relative depth; got scale_m={self.scale_m}, expected metres of each photo's "
                "farthest point, as in DepthEstimator(path, scale_m=10)."
            )
        scale_m = np.float32(self.scale_m or 1)
        is_batch = isinstance(photo, list | tuple) or (isinstance(photo, np.ndarray) and photo.ndim == 4)
        if not is_batch:
            return self.estimate(read_picture(cast(Picture, photo), fov_deg), size_px) * scale_m
        photos = [read_picture(picture, fov_deg) for picture in cast(Sequence[Picture], photo)]
        sizes = {member.image.shape[:2] for member in photos}
        if not photos or (size_px is None and len(sizes) > 1):
            raise UserError(f"got {len(photos)} photos of {len(sizes)} sizes, expected one size. Set size_px.")
        return np.stack([self.estimate(member, size_px) for member in photos]) * scale_m

    def intrinsics(self, photo: Picture, *, fov_deg: float | None = None) -> Intrinsics:
        """Return the camera assumed for a photo, e.g. for `Intrinsics.unproject`."""
        return read_picture(photo, fov_deg).camera

    def estimate(self, photo: Photo, size_px: tuple[int, int] | None = None) -> NDArray[np.float32]:
        """Estimate one photo's depth in `unit`, without `scale_m`: (H, W), or of `size_px`; never below 0."""
        size: Any = (photo.camera.width_px, photo.camera.height_px) if size_px is None else size_px
        is_pair = isinstance(size, tuple | list) and len(size) == 2
        if not is_pair or not all(isinstance(side, int | np.integer) and side > 0 for side in size):
            raise UserError(f"got size_px={size_px}, expected (width, height) of at least 1 px.")
        width_px, height_px = map(int, size)
        image, scale = network_input(photo.image, photo.camera)
        output = predict(self.network, image.to(self.precision.device), self.precision)[0, 0]
        depth = output.clamp(min=0).cpu().numpy()  # without an activation, an output may be negative
        factor = self.unit_m * scale if self.unit_m else 1 / max(float(depth.max()), 1e-6)
        return enlarge_depth(depth * np.float32(factor), width_px, height_px)


def read_picture(photo: Picture, fov_deg: float | None = None) -> Photo:
    """Read a photo and its camera from any `Picture`.

    **Raises**: UserError for other types and shapes.
    """
    if isinstance(photo, str | Path):
        return read_photo(Path(photo), fov_deg=fov_deg)
    if isinstance(photo, Image.Image):
        return to_photo(photo, "the image", fov_deg=fov_deg)
    if isinstance(photo, np.ndarray) and photo.dtype == np.uint8 and photo.ndim == 3 and photo.shape[2] == 3:
        return make_photo(photo, fov_deg=fov_deg)
    got = f"an array {photo.shape} of {photo.dtype}" if isinstance(photo, np.ndarray) else f"a {type(photo).__name__}"
    raise UserError(f"got {got}, expected a path, a PIL image, or an array (H, W, 3) of uint8 RGB.")
