"""Photo in, depth out: the network, its parts, and the weights that ship."""

from pathlib import Path

from src.network.depthnet import ARCHITECTURE, MEAN_DEPTH, DepthNet, rebuild, summarize

SHIPPED = Path(__file__).parent / "weights" / "nyu.safetensors"  # its model card: weights/README.md

__all__ = ["ARCHITECTURE", "MEAN_DEPTH", "SHIPPED", "DepthNet", "rebuild", "summarize"]
