"""What a derived object says of its making, read back: only in the words in which it is written here.

The text may come from anybody, who may have put a name there. What is repeated is therefore put together anew of what
was recognised: numbers, hashes, planes and words of a closed list.
"""

from __future__ import annotations

import re
from collections.abc import Container

from pydicom.dataset import Dataset

RESEARCH = "Research use only, not a medical device."
CORRECTION = "Attenuation correction estimated from the non-corrected image alone, without CT or transmission scan,"
DEVIATION = "Standard deviation over samples of attenuation correction estimated from the non-corrected image,"
TRANSAXIAL = " The source holds transaxial slices, not slices along the heart."
CORRECTED = " The source is, by what is known of it, attenuation-corrected already."
UNSTATED = "not stated"
DOUBTFUL = " Whether the source is attenuation-corrected already is not known."
_PLANES = r"(?:SA|VLA|HLA|TRA)(?:, (?:SA|VLA|HLA|TRA))*"
_KEYS = (
    r"(?:deviation of samples|device|exponent|floor|planes|precision|resolution|samples|scatter|seed|steps|temperature|"
    r"usual error|widened)"
)
_VALUES = r"(?:-?\d+(?:\.\d+)?(?:e-?\d+)?|cpu|cuda|mps|fp32|bf16|fp16|combined|separate|kept|recovered)"
_VERSION = r"\d[\d.]{0,20}(?:a|b|rc|\.dev)?\d{0,4}"
_DERIVATION = re.compile(
    rf"{re.escape(RESEARCH)} (?:{re.escape(CORRECTION)}|{re.escape(DEVIATION)})"
    rf" by spectac_fast {_VERSION}, model (?P<model>[ -\[\]-~]{{1,64}}?)(?: \(weights SHA-256 [0-9a-f]{{64}}\))?\."
    rf"(?:{re.escape(TRANSAXIAL)})?(?:{re.escape(CORRECTED)}|{re.escape(DOUBTFUL)})?"
    rf"(?: Mean of the corrections of this plane and, on the same voxels, of {_PLANES}\.)?"
    rf" Settings: (?:not stated|{_KEYS} {_VALUES}(?:, {_KEYS} {_VALUES})*)\."
)
# Of what `tomo.stacks` writes: a reconstruction, whose attenuation map may be one that nobody measured.
_NUMBER = r"\d+(?:\.\d+)?"
_FILTER = rf"(?:none|Gaussian {_NUMBER} mm|(?:Butterworth|Hann) {_NUMBER}/cm(?: order {_NUMBER})?)"
_UNMEASURED = (
    rf"(?:map predicted from NC by mumap, weights [0-9a-f]{{12}}|Chang first order, uniform body of {_NUMBER}/cm)"
)
UNMEASURED = re.compile(f"attenuation correction: {_UNMEASURED}")
_DRAWN = (
    rf"photons(?: and map, maps by mumap-bridge, weights [0-9a-f]{{12}}, (?:not calibrated|temperature {_NUMBER}, "
    rf"floor {_NUMBER}))?"
)
# What networks made of the projections before.
_COUNTED = r"(?: \d of \d views by dudoss, weights [0-9a-f]{12},)?(?: counts denoised by cunet, weights [0-9a-f]{12},)?"
_RECONSTRUCTION = re.compile(
    rf"{re.escape(RESEARCH)} (?P<deviation>Standard deviation over \d+ samples of {_DRAWN}\. )?"
    rf"Reconstructed from projections(?:,{_COUNTED})? by spectac_fast {_VERSION}: "
    rf"(?:OSEM \d+i\d+s(?: RR)?|FBP), filter {_FILTER}, "
    r"(?:no scatter correction|scatter correction: (?:dual energy window|triple energy window|effective source)), "
    rf"(?:no attenuation correction|attenuation correction: (?:CT map|NM map|{_UNMEASURED}))\."
)


def reconstruction_of(ds: Dataset) -> str:
    """The Derivation Description where it is one of a reconstruction by this program, else ""."""
    text = ds.get("DerivationDescription") or ""
    return text if isinstance(text, str) and _RECONSTRUCTION.fullmatch(text) else ""


def deviates(text: str) -> bool:
    """Whether what `reconstruction_of` gives is said of a standard deviation."""
    found = _RECONSTRUCTION.fullmatch(text)
    return found is not None and found["deviation"] is not None


def averaged(planes: str) -> str:
    """The sentence on the planes, parted by commas, that were averaged with this one; none without."""
    return f" Mean of the corrections of this plane and, on the same voxels, of {planes}." if planes else ""


def derivation_of(ds: Dataset, models: Container[str]) -> str:
    """The Derivation Description where it is one that `derive` writes, another one's name than those of `models` left
    out; else a sentence that says so.
    """
    text = ds.get("DerivationDescription") or ""
    found = _DERIVATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return "How it was made is not stated as spectac_fast states it."
    if found["model"] in models or found["model"] == UNSTATED:
        return text
    return f"{text[: found.start('model')]}of another name{text[found.end('model') :]}"
