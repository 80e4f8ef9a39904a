"""PNG and TIFF as the training code of image-to-image networks reads them: grey values as shares of a full scale.

Such files hold no counts. 8 bits keep 256 levels of whatever somebody scaled them by, and nothing in a file says by
what; pairs and studies of counts are read by `formats.images` and `formats.dicom`, which refuse 8 bits.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectac_fast.errors import InputError
from spectac_fast.formats.damage import damaged
from spectac_fast.outputs import PROGRAM

ENDINGS = (".png", ".tif", ".tiff")
_EIGHT, _SIXTEEN = 255, 65535
_DEEP = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_COLOUR = ("RGB", "RGBA")


@dataclass(frozen=True)
class Picture:
    """One file. pages: float32 [pages, rows, columns], grey values in 0 ... full; full: 255 or 65535; colour: whether
    the file keeps every value three times.
    """

    path: Path
    pages: NDArray[np.float32]
    full: int
    colour: bool

    def encoded(self, pages: NDArray[np.floating]) -> bytes:
        """Other values of the same shape in the file's own form: rounded, and cut off at 0 and full."""
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        levels = np.rint(np.clip(pages, 0, self.full)).astype(np.uint8 if self.full == _EIGHT else np.uint16)
        images = [Image.fromarray(np.stack([page] * 3, -1) if self.colour else page) for page in levels]
        target = io.BytesIO()
        kind = "PNG" if self.path.suffix.lower() == ".png" else "TIFF"
        more: dict[str, Any] = {"save_all": True, "append_images": images[1:]} if len(images) > 1 else {}
        if kind == "PNG":
            more["pnginfo"] = PngInfo()
            more["pnginfo"].add_text("Software", PROGRAM)
        else:
            more["software"] = PROGRAM
        images[0].save(target, format=kind, **more)
        return target.getvalue()


def read_picture(path: Path) -> Picture:
    """The grey values of a PNG or a TIFF of 8 or 16 bits; of a colour file the three equal channels.

    InputError for a file that is missing or damaged, of another kind, of pages of unequal sizes, or whose colours are
    not grey: what a network made of them is not a slice.
    """
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path}: expected a name that ends in {', '.join(ENDINGS)}.")
    with damaged(path, path.suffix.lower()[1:]):
        pages = _pages(path)
    if len({(page.shape, full, colour) for page, full, colour in pages}) != 1:
        raise InputError(f"{path}: expected pages of one size and kind, found several.")
    _, full, colour = pages[0]
    return Picture(path, np.stack([page for page, _, _ in pages]).astype(np.float32), full, colour)


def _pages(path: Path) -> list[tuple[NDArray[Any], int, bool]]:
    from PIL import Image, ImageSequence

    found = []
    with Image.open(path, formats=("PNG", "TIFF")) as image:
        for page in ImageSequence.Iterator(image):
            if page.mode in _DEEP:
                values, full, colour = np.array(page), _SIXTEEN, False
            elif page.mode in ("1", "L", "P", "LA", "PA", *_COLOUR):
                colour = page.mode in _COLOUR or page.mode.startswith("P")
                values, full = np.array(page.convert("RGB" if colour else "L")), _EIGHT
            else:
                raise InputError(f"{path}: expected grey values of 8 or 16 bits, found mode {page.mode}.")
            if colour and (values != values[..., :1]).any():
                raise InputError(f"{path}: expected grey values, found colours (mode {page.mode}).")
            values = values[..., 0] if colour else values
            if values.min() < 0 or values.max() > full:
                raise InputError(f"{path}: expected values in 0 ... {full}, found {values.min()} ... {values.max()}.")
            found.append((values, full, colour))
    return found
