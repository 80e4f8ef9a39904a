"""What runs of GANs keep: the options of pytorch-CycleGAN-and-pix2pix, and the YAML of Reg-GAN and of UNIT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spectac_fast.checkpoints.settings import looked_up
from spectac_fast.errors import InputError

from .section import Section, square

_ACTIVATIONS = ("relu", "lrelu", "selu", "tanh", "none")
_RESNETS = {"resnet_9blocks": 9, "resnet_6blocks": 6}
_UNETS = {"unet_256": 8, "unet_128": 7}


def junyanz(published: Mapping[str, Any], config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Of `train_opt.txt`, `test_opt.txt` or `opt.txt`; see the folder's page."""
    options = Section({"options": published}, "options", source)
    kind = options.take("netG", kind=str)
    if kind not in (*_RESNETS, *_UNETS):
        raise InputError(f"{source}: netG is {kind!r}, expected one of {', '.join((*_RESNETS, *_UNETS))}")
    if published.get("no_antialias", True) is False or published.get("no_antialias_up", True) is False:
        raise InputError(f"{source}: no_antialias is False, and there is no antialiased generator here")
    found = {
        "network.kind": "resnet_generator" if kind in _RESNETS else "unet_generator",
        "network.width": options.take("ngf", 64, int),
        "network.in_channels": options.take("input_nc", 3, int),
        "network.out_channels": options.take("output_nc", 3, int),
        # The published loader gives a slice as one channel or as three equal ones, and never its neighbours.
        "context_slices": 0,
    }
    found |= {"network.blocks": _RESNETS[kind]} if kind in _RESNETS else {"network.num_downs": _UNETS[kind]}
    found |= _norm_and_dropout(options, has_dropout=config["network"]["dropout"] != "none")
    return found | _size(options)


def _norm_and_dropout(options: Section, has_dropout: bool) -> dict[str, Any]:
    """Norms by batch run as the published test runs them: by each image unless its `--eval` is set."""
    norm, tested = options.take("norm", "instance"), options.take("eval", None)
    if norm not in ("batch", "instance", "none"):
        raise InputError(f"{options.source}: norm is {norm!r}, expected batch, instance or none")
    found: dict[str, Any] = {}
    if norm != "batch":
        found["network.norm"] = norm
    elif tested is not None:
        found["network.norm"] = "eval" if tested else "batch1"
    without = options.take("no_dropout", None)
    if has_dropout and (without or tested):
        found["network.dropout"] = "off"
    elif has_dropout and tested is False and without is False:
        found["network.dropout"] = "seeded"
    return found


def _size(options: Section) -> dict[str, Any]:
    how, crop = options.take("preprocess", "resize_and_crop"), square(options.take("crop_size", 256))
    if how == "resize_and_crop" or how == "resize":
        return {"size": crop, "fit": "resize"}
    return {"fit": "pad"} if how == "none" else {}


def reggan(published: Mapping[str, Any], config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """See the folder's page."""
    if "input_nc" not in published or "size" not in published:
        raise InputError(f"{source}: expected the options input_nc and size of a Reg-GAN configuration, found none")
    trainer = published.get("name")
    if trainer not in (None, "CycleGan", "P2p"):
        raise InputError(f"{source}: name is {trainer!r}, and there is no such generator under Reg-GAN's names here")
    return {
        "network.in_channels": published["input_nc"],
        "network.out_channels": published.get("output_nc", published["input_nc"]),
        "context_slices": 0,
        "size": square(published["size"]),
        "fit": "resize",
    }


def unit(published: Mapping[str, Any], config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """See the folder's page."""
    gen = Section(published, "gen", source)
    gen.ignore("mlp_dim", "style_dim", "weight_norm")
    found = {
        "network.width": gen.take("dim"),
        "network.downs": gen.take("n_downsample"),
        "network.residuals": gen.take("n_res"),
        "network.activation": gen.take("activ", kind=str),
        "network.padding": gen.take("pad_type", kind=str),
    }
    if found["network.activation"] not in _ACTIVATIONS:
        raise InputError(
            f"{source}: gen.activ is {found['network.activation']!r}, expected one of {', '.join(_ACTIVATIONS)}"
        )
    gen.done()
    inputs, outputs = looked_up(published, "input_dim_a"), looked_up(published, "input_dim_b")
    if inputs is not None and outputs is not None:
        # Its loader too gives no neighbours.
        found |= {"network.channels": outputs, "context_slices": 0}
    size = square(looked_up(published, "new_size"))
    return found | ({"size": size, "fit": "resize"} if size else {})
