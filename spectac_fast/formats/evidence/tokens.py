"""Free text of a header -> tokens in capital letters without accents, from any script that DICOM can hold."""

from __future__ import annotations

import re
import unicodedata

# Letters that have no decomposition into a base letter and an accent.
_PLAIN = str.maketrans(
    {"ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ø": "o", "Ø": "O", "ı": "i", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE"}
)
_ACCENTED = ("LATIN", "GREEK", "CYRILLIC")
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_TOKEN = re.compile(rf"[{_IDEOGRAPHS}]+|[^\W_{_IDEOGRAPHS}]+|[^\w\s]")
# "ACoff" and "NACstress": a code in capitals with a word after it.
_CODE_THEN_WORD = re.compile(r"(?<![A-Za-z])(AC|NC|NAC)(?=[a-z])")
# "ReconRest" holds two words, "ACStress" too.
_HUMPS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def tokens(text: str) -> list[str]:
    """Words, runs of ideographs, and every other sign on its own.

    Full-width signs become ordinary ones, "ReconRest" two words, "Schwächung" SCHWACHUNG. A word may hold digits.
    """
    return _TOKEN.findall(plain(text))


def plain(text: str) -> str:
    """`text` in capital letters without accents, the words of CamelCase set apart."""
    text = unicodedata.normalize("NFKC", _repaired(str(text))).translate(_PLAIN)
    text = "".join(map(_without_accent, text))
    return _HUMPS.sub(" ", _CODE_THEN_WORD.sub(r"\1 ", text)).upper()


def _without_accent(letter: str) -> str:
    if letter.isascii() or not unicodedata.name(letter, "").startswith(_ACCENTED):
        return letter
    return "".join(part for part in unicodedata.normalize("NFD", letter) if not unicodedata.combining(part))


def _repaired(text: str) -> str:
    """UTF-8 that was read as Latin-1, because the header does not name its character set, read again."""
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text
