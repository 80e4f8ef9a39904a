"""Generator and discriminator of UNIT (Liu, Breuel & Kautz, NeurIPS 2017; arXiv 1703.00848), published names.

Written from the paper and from the names, shapes and numbers of its checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectac_fast.models.networks.attenuation import FirstBounded, of_image, with_factor
from spectac_fast.models.networks.norms import SliceNorm2d, in_row

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "lrelu": partial(nn.LeakyReLU, 0.2),
    "selu": nn.SELU,
    "tanh": nn.Tanh,
    "none": nn.Identity,
}
PADDINGS: dict[str, Callable[[int], nn.Module]] = {
    "reflect": nn.ReflectionPad2d,
    "replicate": nn.ReplicationPad2d,
    "zero": nn.ZeroPad2d,
}


class SliceLayerNorm(nn.Module):
    """(x - mean) / (std + 1e-5) over all channels and positions of a slice, then gamma and beta per channel.

    std is the unbiased one, and eps is added to it rather than to the variance, so that this is not group norm with
    one group: on tiny maps the two differ by up to 5e-3.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        std, mean = torch.std_mean(x, dim=(1, 2, 3), keepdim=True)
        return (x - mean) / (std + 1e-5) * self.gamma[:, None, None] + self.beta[:, None, None]


class _Conv(nn.Module):
    """Convolution with continued borders (key `conv`), norm (key `norm`, if it has weights) and activation."""

    def __init__(
        self,
        cin: int,
        cout: int,
        kernel: int,
        stride: int = 1,
        norm: nn.Module | None = None,
        activation: nn.Module | None = None,
        padding: str = "reflect",
    ) -> None:
        super().__init__()
        self.pad = PADDINGS[padding]((kernel - 1) // 2)
        self.conv = nn.Conv2d(cin, cout, kernel, stride)
        self.norm = norm if norm is not None else nn.Identity()
        self.activation = activation if activation is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return in_row((self.pad, self.conv, self.norm, self.activation), x)


class _Residual(nn.Module):
    def __init__(self, channels: int, activation: str, padding: str) -> None:
        super().__init__()
        own = ACTIVATIONS[activation]()
        self.model = nn.Sequential(
            _Conv(channels, channels, 3, norm=SliceNorm2d(channels), activation=own, padding=padding),
            _Conv(channels, channels, 3, norm=SliceNorm2d(channels), padding=padding),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.model(x)


class _Chain(nn.Module):
    """Layers in a row under the key `model`."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class VAEGenerator(nn.Module):
    """Encoder and decoder of one image domain around a shared latent space.

    width: channels of the first level; downs: halvings, each doubling the channels; residuals: blocks in the encoder,
    and as many in the decoder.

    enc(x [B, C, H, W]) -> mean of the latent [B, width 2**downs, H / 2**downs, W / 2**downs]; its variance is fixed at
    one. dec(latent) -> image in (-1, 1). H and W divisible by `multiple`, and at least twice as large.
    beside: further outputs of dec behind the image, which nothing bounds.
    activation, padding: of the hidden convolutions and of every border, the published `activ` and `pad_type`.

    Raises ValueError for an activation or a padding that is unknown.
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 64,
        downs: int = 2,
        residuals: int = 4,
        beside: int = 0,
        activation: str = "relu",
        padding: str = "reflect",
    ) -> None:
        super().__init__()
        for name, value, known in (("activation", activation, ACTIVATIONS), ("padding", padding, PADDINGS)):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, found {value!r}.")
        self.multiple = 2**downs
        inner = width * 2**downs
        widths = [width * 2**level for level in range(downs)]
        last = FirstBounded(channels) if beside else nn.Tanh()

        def convolve(cin: int, cout: int, kernel: int, stride: int, norm: nn.Module) -> _Conv:
            return _Conv(cin, cout, kernel, stride, norm, ACTIVATIONS[activation](), padding)

        def middle() -> _Chain:
            return _Chain(*(_Residual(inner, activation, padding) for _ in range(residuals)))

        self.enc = _Chain(
            convolve(channels, width, 7, 1, SliceNorm2d(width)),
            *(convolve(w, 2 * w, 4, 2, SliceNorm2d(2 * w)) for w in widths),
            middle(),
        )
        ups: list[nn.Module] = []
        for w in reversed(widths):
            ups += [nn.Upsample(scale_factor=2), convolve(2 * w, w, 5, 1, SliceLayerNorm(w))]
        self.dec = _Chain(middle(), *ups, _Conv(width, channels + beside, 7, activation=last, padding=padding))


class UNITGenerators(nn.Module):
    """The generators of both domains: `a` of NC, `b` of AC.

    context_slices: neighbouring slices on either side, which are part of the NC domain's images; AC's are one slice.
    shared_latent: the residual blocks next to the latent are the same in both domains, as the paper (section 3) has it;
    the published code ties the domains by nothing but its losses.
    attenuation_paths, gain: of an attenuation factor (networks/attenuation.py) in the AC that is made of NC, if any.
    residual: what is made of the other domain's image is that image and a change that nothing bounds, zero at first.
    activation, padding: see `VAEGenerator`.

    forward(nc [B, C + 2 context, H, W]) -> AC [B, C, H, W] in (-1, 1), unless residual, by the mean of the latent,
    without noise; H and W divisible by `multiple` and at least twice as large. Raises ValueError for a residual
    generator that has an attenuation factor too.
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 64,
        downs: int = 2,
        residuals: int = 4,
        context_slices: int = 0,
        shared_latent: bool = False,
        attenuation_paths: int = 0,
        gain: float = 1.0,
        activation: str = "relu",
        padding: str = "reflect",
        residual: bool = False,
    ) -> None:
        super().__init__()
        if residual and attenuation_paths:
            raise ValueError(f"residual needs generators without attenuation_paths, found {attenuation_paths}.")
        self.attenuation_paths, self.gain, self.residual = attenuation_paths, gain, residual
        self.in_channels, self.out_channels = channels + 2 * context_slices, channels
        changed = self.in_channels if residual else 0
        raising = channels if residual else 1 + attenuation_paths if attenuation_paths else 0
        self.a = VAEGenerator(self.in_channels, width, downs, residuals, changed, activation, padding)
        self.b = VAEGenerator(channels, width, downs, residuals, raising, activation, padding)
        if residual:
            self._begin_as_identity()
        if shared_latent:
            self.b.enc.model[-1], self.b.dec.model[0] = self.a.enc.model[-1], self.a.dec.model[0]
        self.multiple = self.a.multiple

    def forward(self, nc: Tensor, seeds: Tensor | None = None) -> Tensor:
        return self.to_ac(self.a.enc(nc), nc)

    def to_ac(self, code: Tensor, nc: Tensor | None = None) -> Tensor:
        """AC of a code [B, C, H, W]. nc: what the code is of, if of NC, which a factor or a change is to start from."""
        image = self.b.dec(code)
        if self.attenuation_paths:
            return image[:, :1] if nc is None else with_factor(image, self.gain, *of_image(nc, None, None))
        return self._changed(image, self.out_channels, None if nc is None else nc[:, : self.out_channels])

    def to_nc(self, code: Tensor, ac: Tensor | None = None) -> Tensor:
        """NC of a code [B, C + 2 context, H, W]. ac: what the code is of, if of AC, which a change is to start from."""
        # A slice of AC stands in for its neighbours.
        start = None if ac is None else ac.repeat(1, self.in_channels // self.out_channels, 1, 1)
        return self._changed(self.a.dec(code), self.in_channels, start)

    def _changed(self, decoded: Tensor, channels: int, start: Tensor | None) -> Tensor:
        """The image of a decoder's outputs or, where there is one to start from, that one and the change behind it."""
        if start is None or not self.residual:
            return decoded[:, :channels]
        return start + decoded[:, channels:]

    def _begin_as_identity(self) -> None:
        """Zero what makes the changes: training then starts from the other domain's image itself."""
        for own, channels in ((self.a, self.in_channels), (self.b, self.out_channels)):
            last = own.dec.model[-1].conv
            with torch.no_grad():
                last.weight[channels:] = 0.0
                last.bias[channels:] = 0.0


class MultiScaleDiscriminator(nn.Module):
    """The same discriminator, with weights of its own, on the image, its half and its quarter.

    forward(x [B, C, H, W]) -> logits of each scale, finest first: [B, 1, h, w] with h = H / 2**layers at full size.
    """

    def __init__(self, channels: int = 1, width: int = 64, layers: int = 4, scales: int = 3) -> None:
        super().__init__()
        widths = [channels, *(width * 2**level for level in range(layers))]
        self.cnns = nn.ModuleList(
            nn.Sequential(
                *(_Conv(cin, cout, 4, 2, activation=nn.LeakyReLU(0.2)) for cin, cout in pairwise(widths)),
                nn.Conv2d(widths[-1], 1, 1),
            )
            for _ in range(scales)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        logits = []
        for scale, cnn in enumerate(self.cnns):
            if scale:
                x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
            logits.append(cnn(x))
        return logits
