"""Networks by name: the part of a model's configuration that says which class to build and how wide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from spectac_fast.models.networks.attenuation import Attenuation, AttenuationHead, FirstBounded
from spectac_fast.models.networks.casnet import CasNet
from spectac_fast.models.networks.folded_unet import FoldedUNet
from spectac_fast.models.networks.resnet import ResnetGenerator
from spectac_fast.models.networks.unet import PaletteUNet, UNetModel
from spectac_fast.models.networks.unet_generator import UNetGenerator
from spectac_fast.models.networks.unit import UNITGenerators

_KINDS: dict[str, type[nn.Module]] = {
    "unet": UNetModel,
    "folded_unet": FoldedUNet,
    "palette_unet": PaletteUNet,
    "unet_generator": UNetGenerator,
    "resnet_generator": ResnetGenerator,
    "casnet": CasNet,
    "unit": UNITGenerators,
}
# Kinds that know by themselves what neighbouring slices change.
_OWN_CONTEXT = ("folded_unet", "unit")
# Kinds whose image is bounded by a tanh.
_BOUNDED = ("unet_generator", "resnet_generator", "casnet")


class Residual(nn.Module):
    """What a generator adds to its slice, which nothing bounds.

    network: whose last layer is a convolution. forward(x [B, in_channels, H, W], seeds) -> [B, out_channels, H, W]: the
    first channel of x and what the network gives.
    """

    def __init__(self, network: nn.Module, out_channels: int) -> None:
        super().__init__()
        self.network, self.out_channels = network, out_channels
        self.in_channels, self.multiple = network.in_channels, network.multiple
        self.begin_as_identity()

    def begin_as_identity(self) -> None:
        """Zero the last convolution: training then starts from NC itself."""
        *_, last = (m for m in self.network.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, seeds: Tensor | None = None) -> Tensor:
        return x[:, :1] + self.network(x, seeds)


def build_network(config: Mapping[str, Any], attenuation: Attenuation | None = None) -> nn.Module:
    """Build the network of a configuration {"kind": name, **constructor arguments}; ValueError if it fits none.

    "context_slices" is understood of every kind: so many neighbouring slices on either side are further channels,
    behind the `in_channels` that the network takes without them. "attenuation_paths" is understood where `attenuation`
    says what the network predicts: so many path lengths of an attenuation factor (models/networks/attenuation.py).
    "residual" is understood of the kinds that end in a tanh: true for `Residual` in its place; a UNIT adds by itself,
    both ways (`UNITGenerators`).
    """
    arguments = dict(config)
    kind = arguments.pop("kind", None)
    paths, residual = arguments.pop("attenuation_paths", 0), arguments.pop("residual", False)
    if kind not in _KINDS:
        raise ValueError(f"the network kind must be one of {', '.join(_KINDS)}, found {kind!r}.")
    try:
        if "context_slices" in arguments and kind not in _OWN_CONTEXT:
            arguments["in_channels"] = arguments.get("in_channels", 1) + 2 * arguments.pop("context_slices")
        if residual and kind == "unit":
            return UNITGenerators(**arguments, attenuation_paths=paths, residual=True)
        if residual:
            return _residual(kind, arguments, paths)
        return _attenuating(kind, arguments, paths, attenuation) if paths else _KINDS[kind](**arguments)
    except TypeError as error:
        raise ValueError(f"the arguments of network {kind!r} do not fit: {error}.") from error


def is_bounded(config: Mapping[str, Any]) -> bool:
    """Whether the network of a configuration (`build_network`) ends in a tanh, so that nothing it gives passes 1."""
    free = config.get("attenuation_paths") or config.get("residual")
    return config.get("kind") in (*_BOUNDED, "unit") and not free


def _residual(kind: str, arguments: dict[str, Any], paths: int) -> Residual:
    """A generator that adds to its slice; ValueError where it cannot."""
    if kind not in _BOUNDED or paths:
        raise ValueError(
            f"residual needs a network of kind {', '.join(_BOUNDED)} without attenuation_paths, "
            f"found {kind} with {paths}."
        )
    return Residual(_KINDS[kind](**arguments, last=nn.Identity()), arguments.get("out_channels", 1))


def _attenuating(kind: str, arguments: dict[str, Any], paths: int, attenuation: Attenuation | None) -> nn.Module:
    """A network with the outputs of an attenuation factor; ValueError where it can have none."""
    if attenuation is None:
        raise ValueError("attenuation_paths needs a network that makes AC of NC in pixels, found one of other images.")
    if not isinstance(paths, int) or paths < 1:
        raise ValueError(f"attenuation_paths must be a whole number, 0 for no factor, found {paths!r}.")
    channels = arguments.get("channels" if kind == "unit" else "out_channels", 1)
    if channels != 1:
        raise ValueError(f"attenuation_paths needs a network of images of one channel, found {channels}.")
    if kind == "unit":
        return UNITGenerators(**arguments, attenuation_paths=paths, gain=attenuation.gain)
    last = {"last": FirstBounded()} if kind in _BOUNDED else {}
    return AttenuationHead(_KINDS[kind](**arguments | {"out_channels": 2 + paths}, **last), attenuation)


def conditioned(network: nn.Module) -> tuple[int, int]:
    """(channels of an image, neighbouring slices on either side) of a network of state, condition and neighbours.

    Raises ValueError for a network whose channels do not divide that way.
    """
    channels = network.out_channels
    beside = network.in_channels - 2 * channels - len(facts_of_network(network))
    if beside < 0 or beside % 2:
        raise ValueError(
            f"a network that gives {channels} channels must take {2 * channels}, state and condition, "
            f"and two for each neighbour, found {network.in_channels}."
        )
    return channels, beside // 2


def facts_of_network(network: nn.Module) -> tuple[str, ...]:
    """The facts (`data.facts.FACTS`) that a network takes as even images behind the neighbours; none for most."""
    inner = network.network if isinstance(network, AttenuationHead) else network
    return inner.facts if isinstance(inner, FoldedUNet) else ()


def check_latent_channels(network: nn.Module, latent: int, context: int) -> None:
    """ValueError unless a network takes a latent and then its context, and gives a latent, of so many channels."""
    if (network.in_channels, network.out_channels) != (latent + context, latent):
        raise ValueError(
            f"a network between latents of {latent} channels that sees {context} more must take {latent + context} "
            f"and give {latent}, found {network.in_channels} and {network.out_channels}."
        )
