"""Frozen feature maps for style and content losses, from what is at hand without a download."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from spectac_fast.checkpoints.pickles import read_checkpoint
from spectac_fast.checkpoints.weights import fill, load_weights
from spectac_fast.errors import InputError
from spectac_fast.models.description import reading
from spectac_fast.models.methods.vqgan import VQGAN

# Channels of the convolutions of each block of VGG-19 (Simonyan & Zisserman, arXiv 1409.1556, configuration E).
_VGG19 = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGG19Features(nn.Module):
    """The answers of the five blocks of VGG-19, each after its last ReLU, under the names of torchvision.

    forward(x [B, 1, H, W] in [-1, 1]) -> five maps, [B, 64, H, W] to [B, 512, H / 16, W / 16]; H and W at least 16. The
    grey image becomes three equal channels in the units the published weights were trained in.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for block in _VGG19:
            for width in block:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        for name, values in (("mean", _MEAN), ("std", _STD)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = ((x + 1) / 2 - self.mean) / self.std
        maps = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                maps.append(x)
            x = layer(x)
        return maps


class EncoderFeatures(nn.Module):
    """The answers of every level of a VQGAN's encoder, each half the size of the one before.

    forward(x [B, 1, H, W] in [-1, 1]) -> one map per level; H and W as the VQGAN needs them.
    """

    def __init__(self, vqgan: VQGAN) -> None:
        super().__init__()
        self.channels, self.encoder = vqgan.in_channels, vqgan.encoder

    def forward(self, x: Tensor) -> list[Tensor]:
        h = self.encoder.conv_in(x.expand(-1, self.channels, -1, -1))
        maps: list[Tensor] = []
        for level in self.encoder.down:
            if maps:
                h = self.encoder.down[len(maps) - 1].downsample(h)
            h = level(h)
            maps.append(h)
        return maps


def feature_extractor(choice: str) -> nn.Module | None:
    """The features of a choice, without gradients of their own; belongs beside every result it has a part in.

    vgg19:FILE: torchvision's weights of VGG-19. vqgan:FILE: the encoder of a VQGAN trained on the same data, a weight
    file of this package. random:SEED: an untrained VGG-19 (He et al. 2015), the same for the same seed. disc: None,
    which leaves the discriminator's own features. Raises ValueError for another choice, InputError for a file that does
    not fit.
    """
    kind, _, detail = choice.partition(":")
    if choice == "disc":
        return None
    makers = {"vgg19": _trained_vgg19, "vqgan": _trained_vqgan, "random": _random_vgg19}
    if kind not in makers or not detail:
        raise ValueError(f"features must be vgg19:FILE, vqgan:FILE, random:SEED or disc, found {choice!r}.")
    return makers[kind](detail).eval().requires_grad_(False)


def _trained_vgg19(detail: str) -> nn.Module:
    found = read_checkpoint(Path(detail))
    state = {name: tensor for name, tensor in found.items() if not name.startswith("classifier.")}
    model = VGG19Features()
    fill(model, state, f"the checkpoint {detail}")
    return model


def _trained_vqgan(detail: str) -> nn.Module:
    path = Path(detail)
    tensors, header = load_weights(path)
    if header.get("model") != "vqgan":
        raise InputError(f"the weight file {path} holds a model {header.get('model')!r}, expected 'vqgan'")
    with reading(path):
        model = VQGAN(**header["config"]["network"])
    fill(model, tensors, str(path))
    return EncoderFeatures(model)


def _random_vgg19(detail: str) -> nn.Module:
    if not detail.isdecimal():
        raise ValueError(f"features random:SEED needs a whole number, found {detail!r}.")
    generator = torch.Generator().manual_seed(int(detail))
    model = VGG19Features()
    for layer in model.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)
    return model
