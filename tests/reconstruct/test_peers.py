"""The projector against PyTomography's; `pip install spectac_fast[peers]` brings it."""

from __future__ import annotations

import pytest
import torch

from spectac_fast.reconstruct.projector import Projector

ANGLES = [0.0, 33.0, 120.0, 251.0]


def test_rotation_and_attenuation_are_those_of_pytomography() -> None:
    """Its axes are the other way round, its angles count the other way. Its collimator samples the Gaussian, ours
    integrates it over each pixel, so none is compared.
    """
    pytest.importorskip("pytomography", reason="PyTomography is not installed: pip install 'spectac_fast[peers]'")
    from pytomography.metadata.SPECT import SPECTObjectMeta, SPECTProjMeta
    from pytomography.projectors.SPECT import SPECTSystemMatrix
    from pytomography.transforms.SPECT import SPECTAttenuationTransform

    n, cm = 32, 0.68
    place = torch.arange(n) - n / 2 + 0.5
    disc = ((place[:, None] ** 2 + place**2) < 12**2)[..., None]
    activity, mu = disc * torch.rand(n, n, n), 0.15 * disc * torch.rand(n, n, n)
    camera = SPECTProjMeta([n, n], [cm, cm], ANGLES, radii=[24.0] * len(ANGLES))
    theirs = SPECTSystemMatrix(
        [SPECTAttenuationTransform(mu)], [], SPECTObjectMeta([cm] * 3, [n, n, n]), camera
    ).forward(activity)
    projector = Projector(n, 10 * cm, [-angle for angle in ANGLES])
    ours = projector.project(activity.transpose(0, 1)[None].contiguous(), mu=mu.transpose(0, 1)[None].contiguous())
    assert float((ours[0] - theirs).abs().max()) < 1e-5 * float(theirs.max())
