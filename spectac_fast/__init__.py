"""CT-free attenuation correction of cardiac SPECT, and the Brownian-bridge samplers it runs on.

Non-attenuation-corrected (NC) slices go in, attenuation-corrected (AC) slices come out:

    import spectac_fast as sf

    model = sf.load("bbdm")
    ac = model.translate(nc)          # float32 [B, 1, H, W] in model units, [0, scale] -> [-1, 1]

    for result in sf.Corrector("bbdm").map(["a folder", "an archive.zip"]):
        result.study, result.counts   # NC series as read, and their corrected counts

    sf.reconstruct("tomo.dcm", ac="chang").stacks   # NC and AC slices of projections

Every public name is imported on first use, so that importing the package costs nothing and needs only what is used.
Research software, not a medical device.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

from spectac_fast._version import __version__

if TYPE_CHECKING:
    from spectac_fast.correct.corrector import Corrector
    from spectac_fast.correct.physics.reconstructor import Reconstructor, reconstruct
    from spectac_fast.data.facts import StudyFacts
    from spectac_fast.data.study import read_study, write_corrected
    from spectac_fast.diffusion.bridge import BrownianBridge
    from spectac_fast.diffusion.bridge_sampler import BridgeSampler
    from spectac_fast.diffusion.k_view import KDiffusionBridge
    from spectac_fast.diffusion.sampler import sample_bridge
    from spectac_fast.diffusion.solvers import solver_table
    from spectac_fast.models.engine.engine import engine
    from spectac_fast.models.registry import load
    from spectac_fast.models.translator import Translator
    from spectac_fast.models.uncertainty import translate_with_std
    from spectac_fast.ops.slice_metrics import slice_metrics
    from spectac_fast.ops.ssim_loss import ssim_loss

_HOME = {
    "Corrector": "spectac_fast.correct.corrector",
    "Reconstructor": "spectac_fast.correct.physics.reconstructor",
    "reconstruct": "spectac_fast.correct.physics.reconstructor",
    "load": "spectac_fast.models.registry",
    "Translator": "spectac_fast.models.translator",
    "translate_with_std": "spectac_fast.models.uncertainty",
    "StudyFacts": "spectac_fast.data.facts",
    "read_study": "spectac_fast.data.study",
    "write_corrected": "spectac_fast.data.study",
    "BrownianBridge": "spectac_fast.diffusion.bridge",
    "BridgeSampler": "spectac_fast.diffusion.bridge_sampler",
    "KDiffusionBridge": "spectac_fast.diffusion.k_view",
    "solver_table": "spectac_fast.diffusion.solvers",
    "sample_bridge": "spectac_fast.diffusion.sampler",
    "engine": "spectac_fast.models.engine.engine",
    "slice_metrics": "spectac_fast.ops.slice_metrics",
    "ssim_loss": "spectac_fast.ops.ssim_loss",
}

__all__ = [
    "BridgeSampler",
    "BrownianBridge",
    "Corrector",
    "KDiffusionBridge",
    "Reconstructor",
    "StudyFacts",
    "Translator",
    "__version__",
    "engine",
    "load",
    "read_study",
    "reconstruct",
    "sample_bridge",
    "slice_metrics",
    "solver_table",
    "ssim_loss",
    "translate_with_std",
    "write_corrected",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'spectac_fast' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOME))


class _Package(types.ModuleType):
    """This module. Importing a subpackage would bind its name here, and `reconstruct` is that of a function too."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
