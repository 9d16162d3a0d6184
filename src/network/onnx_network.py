"""An exported ONNX file as a network, run by ONNX Runtime on the CPU."""

import json
from pathlib import Path
from typing import Any

import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.conventions import IMAGE_SIZE_PX, UserError

GREY = 128  # around a photo of another aspect


class OnnxNetwork(nn.Module):
    """Estimate depth as the exported network does; threads may share it.

    A file of one input size gets other sizes enlarged or shrunk until they fit, in the middle of grey; a change of
    focal length scales metres.

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
        self.is_dynamic = not isinstance(self.session.get_inputs()[0].shape[2], int)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        if image.is_floating_point():
            image = (255 * image).round()
        if self.is_dynamic:
            return self._run(image.to(torch.uint8)) / self.unit
        ratio = IMAGE_SIZE_PX / max(height, width)
        inside = [4 * round(side * ratio / 4) for side in (height, width)]
        if inside != [height, width]:
            image = F.interpolate(image.float(), inside, mode="bilinear", antialias=True).round()
        top, left = ((IMAGE_SIZE_PX - side) // 8 * 4 for side in inside)
        sides = left, IMAGE_SIZE_PX - inside[1] - left, top, IMAGE_SIZE_PX - inside[0] - top
        depth = torch.cat([self._run(photo) for photo in F.pad(image.to(torch.uint8), sides, value=GREY).split(1)])
        depth = depth[..., top // 4 : (top + inside[0]) // 4, left // 4 : (left + inside[1]) // 4]
        if inside != [height, width]:
            depth = F.interpolate(depth, (height // 4, width // 4), mode="bilinear")
        is_metric = self.about["target"] == "metric"  # an object that looks larger is nearer; a share stays one
        return depth * ((ratio if is_metric else 1) / self.unit)

    def _run(self, image: Tensor) -> Tensor:
        return torch.from_numpy(self.session.run(None, {"image": image.contiguous().numpy()})[0])
