"""Damaged DICOM files: each is made from a sound one by a seed, so that a bad one can be made again."""

import re
import struct
from io import BytesIO

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

_VRS = b"AE AS AT CS DA DS DT FD FL IS LO LT OB OW PN SH SL SQ SS ST TM UI UL UN US UT".split()
_LONG = {b"OB", b"OW", b"SQ", b"UN", b"UT"}
_ABSURD = (0, 1, 3, 7, 0xFF, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_NUMBERS = ("NaN", "inf", "-inf", "1e400", "-1", "0", "1e-300", "6.8\\6.8\\6.8\\6.8", "six", "", "1e17")
_GEOMETRY = ("PixelSpacing", "SpacingBetweenSlices", "SliceThickness")
_POSITION = ("ImageOrientationPatient", "ImagePositionPatient")
_CLAIMS = ("Rows", "Columns", "NumberOfFrames", "BitsAllocated", "BitsStored", "SamplesPerPixel", "NumberOfSlices")


def mutant(whole, rng):
    """(kind, bytes): one damaged form of the DICOM file `whole`."""
    kinds = [*_RAW, *_PARSED]
    kind = kinds[rng.integers(len(kinds))]
    if kind in _RAW:
        bad = bytearray(whole)
        return kind, bytes(_RAW[kind](bad, _elements(whole), rng) or bad)
    ds = pydicom.dcmread(BytesIO(whole))
    _PARSED[kind](ds, rng)
    out = BytesIO()
    try:
        ds.save_as(out)
    except Exception:
        # What cannot be written this way is damaged in another.
        return "cut", whole[: rng.integers(len(whole))]
    return kind, out.getvalue()


def _elements(whole):
    """(offset of the VR, of the length, size of the length) of what looks like an explicit element of the header."""
    found = []
    for match in re.finditer(rb"(?<=[\x00-\x7f]\x00..)(?:" + b"|".join(_VRS) + rb")", whole[132:9000], re.DOTALL):
        at, long = match.start() + 132, match.group() in _LONG
        found.append((at, at + 4 if long else at + 2, 4 if long else 2))
    return found or [(132, 136, 2)]


def _pick(options, rng):
    return options[rng.integers(len(options))]


def _flip(bad, elements, rng):
    end = len(bad) if rng.random() < 0.3 else min(len(bad), 6000)
    for at in rng.integers(132, end, rng.integers(1, 20)):
        bad[at] ^= 1 << rng.integers(8)


def _cut(bad, elements, rng):
    del bad[_pick([*(at for at, *_ in elements), rng.integers(len(bad)), len(bad) - 1], rng) :]


def _noise(bad, elements, rng):
    at, size = rng.integers(0, 6000), rng.integers(1, 2000)
    bad[at : at + size] = rng.bytes(size)


def _swap(bad, elements, rng):
    (_, a, n), (_, b, m) = _pick(elements, rng), _pick(elements, rng)
    first, second = bad[a : a + n], bad[b : b + m]
    bad[a : a + n], bad[b : b + m] = (second * 2)[:n], (first * 2)[:m]


def _absurd(bad, elements, rng):
    _, at, size = _pick(elements, rng)
    bad[at : at + size] = struct.pack("<I", _pick(_ABSURD, rng))[:size]


def _wrong_vr(bad, elements, rng):
    for _ in range(rng.integers(1, 4)):
        at = _pick(elements, rng)[0]
        bad[at : at + 2] = _pick(_VRS, rng)


def _splice(bad, elements, rng):
    at, other, size = rng.integers(132, 6000), rng.integers(0, 6000), rng.integers(1, 3000)
    bad[at:at] = bad[other : other + size]


def _random(bad, elements, rng):
    return b"\0" * 128 + b"DICM" + rng.bytes(rng.integers(0, 4000))


def _deep(bad, elements, rng):
    """Sequences within sequences, as no program would write them; most programs read and write them by recursion."""
    study, levels = b"\x20\x00\x0d\x00", int(_pick([3, 15, 60, 200, 400, 5000], rng))
    at = bad.find(study)
    kind = b"SQ\0\0" if bad[at + 4 : at + 6] == b"UI" else b""
    start = b"\x18\x00\x01\xa0" + kind + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4
    end = b"\xfe\xff\x0d\xe0" + b"\0" * 4 + b"\xfe\xff\xdd\xe0" + b"\0" * 4
    bad[at:at] = start * levels + end * levels


def _containers(ds):
    yield ds
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                yield from _containers(item)


def _missing(ds, rng):
    for _ in range(rng.integers(1, 4)):
        home = _pick(list(_containers(ds)), rng)
        if len(home):
            del home[_pick(list(home.keys()), rng)]


def _emptied(ds, rng):
    home = _pick([home for home in _containers(ds) if len(home)], rng)
    tag = _pick(list(home.keys()), rng)
    home[tag].value = Sequence() if home[tag].VR == "SQ" else b"" if home[tag].VR == "OW" else None


def _geometry(ds, rng):
    keyword = _pick(_GEOMETRY + _POSITION, rng)
    home = ds
    if keyword in _POSITION and "DetectorInformationSequence" in ds:
        home = ds.DetectorInformationSequence[0]
    raw = _pick(_NUMBERS, rng).encode()
    tag = pydicom.datadict.tag_for_keyword(keyword)
    raw += b" " * (len(raw) % 2)
    # Not yet a number to pydicom, which would refuse to write most of these.
    home._dict[tag] = RawDataElement(pydicom.tag.Tag(tag), "DS", len(raw), raw, 0, False, True)


def _claim(ds, rng):
    for _ in range(rng.integers(1, 4)):
        keyword = _pick(_CLAIMS, rng)
        value = int(_pick([0, 1, 2, 3, 32, 255, 4096, 65535, 10**9], rng))
        setattr(ds, keyword, value if keyword in ("NumberOfFrames",) else min(value, 65535))


def _pixels(ds, rng):
    size = len(ds.PixelData)
    one = np.zeros(size // 2, "<u2")
    one[rng.integers(len(one))] = 1
    ds.PixelData = _pick([bytes(size), b"\xff" * size, one.tobytes(), rng.bytes(size), b"", b"\0\0"], rng)


def _compressed(ds, rng):
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if ds.original_encoding[0] else "1.2.840.10008.1.2.5"
    ds["PixelData"].VR = "OB"
    ds.PixelData = pydicom.encaps.encapsulate([rng.bytes(300) for _ in range(rng.integers(1, 4))])


_RAW = {
    "flip": _flip,
    "cut": _cut,
    "noise": _noise,
    "swapped lengths": _swap,
    "absurd length": _absurd,
    "wrong VR": _wrong_vr,
    "splice": _splice,
    "random": _random,
    "deep": _deep,
}
_PARSED = {
    "missing": _missing,
    "emptied": _emptied,
    "geometry": _geometry,
    "claim": _claim,
    "pixels": _pixels,
    "compressed": _compressed,
}
