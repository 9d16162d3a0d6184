"""The two small convolution blocks that everything after the encoder is made of."""

from torch import nn


class ConvNorm(nn.Sequential):
    """Convolve at constant size, normalise, activate.

    **Shape**: (B, in_channels, H, W) -> (B, out_channels, H, W).
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: tuple[int, int] = (1, 1), *, activate: bool = True
    ) -> None:
        padding = (kernel[0] // 2, kernel[1] // 2)
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, padding=padding, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.GELU() if activate else nn.Identity(),
        )


class SeparableConv(nn.Sequential):
    """Convolve each channel with its own 3x3 kernel, mix channels with a 1x1, normalise, activate.

    `groups` keeps parallel decoders apart: the 1x1 mixes only within each of them.
    A `plain` block ends with the 1x1 and its bias, without norm and activation.

    **Shape**: (B, in_channels, H, W) -> (B, out_channels, H, W).
    **Source**: Chollet 2017, arXiv 1610.02357.
    """

    def __init__(self, in_channels: int, out_channels: int, *, groups: int = 1, plain: bool = False) -> None:
        super().__init__(
            nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
            nn.Conv2d(in_channels, out_channels, 1, groups=groups, bias=plain),
        )
        if not plain:
            self.extend([nn.BatchNorm2d(out_channels), nn.GELU()])
