"""Photo in, depth out: the network and its parts."""

from src.network.depthnet import DepthNet, rebuild, summarize

__all__ = ["DepthNet", "rebuild", "summarize"]
