"""Correct PNG and TIFF files as the training code of published networks saw them: values in, values out, no counts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spectac_fast.data.seeds import stable_seed
from spectac_fast.errors import InputError, NoInputError, SetupError, UsageError
from spectac_fast.formats.atomic import stage_bytes
from spectac_fast.formats.pictures import ENDINGS, Picture, read_picture
from spectac_fast.models.translator import Translator
from spectac_fast.outputs import Kind, Permit, check_folder

INTENSITIES = ("full", "max")


def correct_pictures(
    inputs: Sequence[Path],
    out: Path,
    translator: Translator,
    intensity: str = "full",
    *,
    steps: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> list[str]:
    """Correct every PNG and TIFF among `inputs`, or in folders among them, and write each under its name into `out`.

    intensity: what becomes +1 of the model, where 0 becomes -1: "full", the full scale of the file (255 or 65535), as
    the published loaders have it, or "max", the largest value of each page. The result is brought back by the same
    factor, and cut off at full scale.
    steps, samples, seed: as for `Corrector`. A page's noise is a function of the seed and of its values.

    overwrite: replace files of others that have an output's name.

    Every file is read before any is written. Returns what must be known of the files, a sentence for each kind.
    Raises InputError for a file that `read_picture` refuses or two of one name, NoInputError where there is none,
    UsageError for a model that looks at neighbouring slices, which single images do not have, or options that it
    refuses, SetupError where `out` cannot be written.
    """
    if translator.context_mm:
        raise UsageError(
            f"the model looks at {len(translator.context_mm)} neighbouring slices, which single images do not have"
        )
    check_folder(out)
    pictures = [read_picture(path) for path in _found(inputs)]
    names = [picture.path.name for picture in pictures]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{out}: expected inputs of different names, found {twice[0]} more than once.")
    if over := [picture.path for picture in pictures if (out / picture.path.name).resolve() == picture.path.resolve()]:
        raise UsageError(f"{out}: expected another folder than that of the inputs, found {over[0].name} in it")
    permit = Permit((*inputs, *(picture.path for picture in pictures)), overwrite)
    for name in names:
        permit.check(out / name, Kind.PICTURE)
    for picture in pictures:
        try:
            corrected = _corrected(picture, translator, intensity, steps, samples, seed)
        except ValueError as error:
            raise UsageError(str(error)) from error
        try:
            os.replace(stage_bytes(picture.encoded(corrected), out / picture.path.name), out / picture.path.name)
        except OSError as error:
            raise SetupError(f"cannot write to {out}: {error.strerror}") from error
    return _told(pictures)


def _found(inputs: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in inputs:
        if path.is_dir():
            inside = sorted(path.iterdir())
            found += [each for each in inside if each.suffix.lower() in ENDINGS and not each.name.startswith(".")]
        else:
            found.append(path)
    if not found:
        raise NoInputError(f"expected {', '.join(ENDINGS)} files in {', '.join(map(str, inputs))}, found none")
    return found


def _corrected(
    picture: Picture, translator: Translator, intensity: str, steps: int | None, samples: int | None, seed: int
) -> np.ndarray:
    pages = picture.pages
    top = np.full(len(pages), float(picture.full)) if intensity == "full" else pages.max(axis=(1, 2))
    # An empty page has no largest value, and stays empty whatever it is divided by.
    half = (np.where(top > 0, top, 1.0) / 2.0).astype(np.float32)[:, None, None]
    slices = torch.from_numpy(pages / half - 1.0)[:, None]
    seeds = torch.tensor([stable_seed(f"{seed} {page.tobytes().hex()}") for page in pages])
    options: dict[str, Any] = {"steps": steps, "samples": samples}
    given = {name: value for name, value in options.items() if value is not None}
    return (translator.translate(slices, seeds, **given)[:, 0].cpu().numpy() + 1.0) * half


def _told(pictures: Sequence[Picture]) -> list[str]:
    shallow = sum(picture.full == 255 for picture in pictures)
    if not shallow:
        return []
    return [
        f"{shallow} of {len(pictures)} files hold 8 bits: counts are lost in them, and what is written are shares of a "
        "scale that no file tells"
    ]
