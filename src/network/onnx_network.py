"""An exported ONNX file as a network, run by ONNX Runtime on the CPU."""

import json
import math
from pathlib import Path
from typing import Any

import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.conventions import IMAGE_SIZE_PX, UserError


class OnnxNetwork(nn.Module):
    """Estimate depth as the exported network does; threads may share it.

    The file has one input size. Other sizes are resized to it, and depth by the change of focal length.

    **Shape**: (B, 3, H, W) -> (B, 1, H/4, W/4).
    **Units**: RGB as uint8 or float in [0, 1] -> depth / `unit`, what `DepthNet` predicts.
    **Raises**: UserError when the file is missing, damaged or was not written by export.py.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        if not path.is_file():
            raise UserError(f"{path}: no such file. Write it with scripts/export.py --to onnx.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors only
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            self.about: dict[str, Any] = json.loads(self.session.get_modelmeta().custom_metadata_map["about"])
            self.unit = float(self.about["unit"])
        except Exception as error:  # onnxruntime has a class for each kind of failure
            reason = f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
            raise UserError(f"{path}: not an ONNX file that scripts/export.py wrote ({reason}).") from None
        self.has_any_batch = not isinstance(self.session.get_inputs()[0].shape[0], int)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        if image.is_floating_point():
            image = (255 * image).round()
        if (height, width) != (IMAGE_SIZE_PX, IMAGE_SIZE_PX):
            size = IMAGE_SIZE_PX, IMAGE_SIZE_PX
            image = F.interpolate(image.float(), size, mode="bilinear", antialias=True).round()
        pixels = image.to(torch.uint8).contiguous().numpy()
        photos = [pixels] if self.has_any_batch else [pixels[index : index + 1] for index in range(len(pixels))]
        depth = torch.cat([torch.from_numpy(self.session.run(None, {"image": photo})[0]) for photo in photos])
        if depth.shape[-2:] != (height // 4, width // 4):
            depth = F.interpolate(depth, (height // 4, width // 4), mode="bilinear")
        is_metric = self.about["target"] == "metric"  # an object that looks larger is nearer; a share stays one
        return depth * ((IMAGE_SIZE_PX / math.sqrt(height * width) if is_metric else 1) / self.unit)
