"""`spectac models`: the models that are known by name, in a line each."""

from __future__ import annotations

import argparse
from pathlib import Path

_WHAT = {
    "bbdm": "Brownian-bridge diffusion, the default",
    "cpdm": "latent bridge guided by maps of attention and attenuation",
    "cunet": "less noise in views, learnt from counts: `spectac reconstruct --denoise`",
    "cyclegan": "two GANs that undo each other, unpaired",
    "ddpm": "diffusion from noise, NC as condition",
    "dudoss": "views that nobody took: `spectac reconstruct --views-by`",
    "identity": "NC times the gain",
    "lbbdm": "Brownian bridge between latents of a VQGAN",
    "ldm": "latent diffusion, NC as condition",
    "linear": "slope and offset, fitted",
    "medgan": "GAN with perceptual, style and content terms",
    "mumap": "the most likely map of NC, for `spectac reconstruct --ac predicted`",
    "mumap-bridge": "Brownian bridge from NC to maps: what NC leaves open of them",
    "palette": "diffusion from noise that knows the noise level",
    "pix2pix": "conditional GAN",
    "reggan": "GAN whose L1 term forgives misalignment",
    "regression": "the bridge's network in one evaluation, trained on AC itself",
    "scale": "NC times one fitted factor",
    "unit": "two autoencoders that share their latents, unpaired",
    "vqgan": "first stage of the latent models: images to codes and back",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = f"{parser.description} `spectac info NAME` says all of one."


def run(args: argparse.Namespace) -> int:
    from spectac_fast.models.names import FOLDER, MAPS, NAMED, VIEWS, shipped

    installed = shipped()
    for name in installed:
        print(_line(name, FOLDER / NAMED[name]))
    if absent := sorted(set(NAMED) - set(installed)):
        print("\nnot installed (`spectac train NAME` makes weights, bench/table1.sh those of the comparison):\n")
    for name in absent:
        print(_line(name))
    for group, script, heading in (
        (MAPS, "bench/mumap.sh", "attenuation maps of volumes, which `spectac correct` does not take"),
        (VIEWS, "bench/views.sh", "views and counts of projections, for `spectac reconstruct` alone"),
    ):
        print(f"\n{heading}:\n")
        for name, file in group.items():
            path = FOLDER / file
            print(_line(name, path) if path.is_file() else f"{_line(name)} (not installed; {script})")
    return 0


def _line(name: str, path: Path | None = None) -> str:
    """What is said of a model; path: of its file, where there is one."""
    said = f"{name:13}{_WHAT[name]}"
    if path is None:
        return said
    from spectac_fast.models.names import header_of

    header = header_of(path)
    pixel = header.get("config", header)["pixel_mm"]
    patients = header.get("card", {}).get("data", {}).get("cases")
    trained = f"; {patients} patients" if patients else ""
    return f"{said} ({pixel:g} mm pixels{trained})"
