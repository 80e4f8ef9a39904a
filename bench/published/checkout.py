"""BBDM's published code, run from a checkout of github.com/xuekt98/BBDM (Li et al., CVPR 2023)."""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

TEMPLATE = "configs/Template-LBBDM-f8.yaml"
_LIGHTNING = "pytorch_lightning"


class _Loader(yaml.SafeLoader):
    """Of templates, which write tuples as Python's."""


_Loader.add_constructor("tag:yaml.org,2002:python/tuple", lambda loader, node: tuple(loader.construct_sequence(node)))


def template(checkout: Path, steps: int) -> dict[str, Any]:
    """The LBBDM-f8 template, whose sampler takes so many steps and whose first stage is in the checkpoint itself.

    Raises SystemExit where the folder holds no such checkout.
    """
    path = checkout / TEMPLATE
    if not path.is_file():
        raise SystemExit(f"{checkout}: expected a checkout of the published code with {TEMPLATE}, found none.")
    found = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    found["model"]["BB"]["params"]["sample_step"] = steps
    found["model"]["VQGAN"]["params"]["ckpt_path"] = None
    return found


def published_model(checkout: Path, configuration: Mapping[str, Any], seed: int) -> nn.Module:
    """The published latent bridge of a configuration with random weights, in evaluation."""
    torch.manual_seed(seed)
    with _importable(checkout):
        module = importlib.import_module("model.BrownianBridge.LatentBrownianBridgeModel")
        model = module.LatentBrownianBridgeModel(_namespace(configuration["model"])).eval().requires_grad_(False)
    for parameter in model.parameters():
        # Fresh networks end in zeros, which some processors multiply faster, and then say nothing of what comes before.
        if not parameter.any():
            parameter.copy_(torch.randn_like(parameter) / max(parameter[0].numel(), 16) ** 0.5)
    return model


@contextlib.contextmanager
def _importable(checkout: Path) -> Iterator[None]:
    """The checkout first on the path, and a stand-in for Lightning's module where there is none: of it
    only torch's own module is used here.
    """
    if importlib.util.find_spec(_LIGHTNING) is None:
        stand_in = types.ModuleType(_LIGHTNING)
        stand_in.LightningModule = nn.Module
        sys.modules[_LIGHTNING] = stand_in
    sys.path.insert(0, str(checkout.resolve()))
    try:
        with contextlib.redirect_stdout(None):
            yield
    finally:
        sys.path.remove(str(checkout.resolve()))


def _namespace(values: Mapping[str, Any]) -> Namespace:
    return Namespace(**{key: _namespace(of) if isinstance(of, Mapping) else of for key, of in values.items()})
