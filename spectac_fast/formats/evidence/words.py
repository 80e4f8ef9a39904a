"""Whether a text says that attenuation was corrected: a small grammar over tokens, with negation.

"AC", "attenuation and scatter corrected", "IRACRRSC" and "korrigiert" say so; "w/o AC", "AC: none", "not corrected for
attenuation" and 減弱補正なし say the contrary; "motion corrected", "TAC" and "cardiac" say nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from spectac_fast.formats.evidence import vocabulary as v
from spectac_fast.formats.evidence.places import phase_in, plane_in
from spectac_fast.formats.evidence.tokens import tokens

# Vietnamese writes one word as several.
_PHRASES: dict[tuple[str, ...], str] = {
    ("HIEU", "CHINH"): "HIEUCHINH",
    ("SUY", "GIAM"): "SUYGIAM",
    ("SUY", "HAO"): "SUYHAO",
    ("HAP", "THU"): "HAPTHU",
    ("TAN", "XA"): "TANXA",
    ("CHUYEN", "DONG"): "CHUYENDONG",
    ("TRU", "CORR"): "TRUCORR",
    ("NOT", "YET"): "NOT",
    ("W", "/", "O"): "WITHOUT",
    ("W", "/", "OUT"): "WITHOUT",
    ("W", ".", "O", "."): "WITHOUT",
    ("W", ".", "O"): "WITHOUT",
    ("W", "-", "O"): "WITHOUT",
    ("W", "\\", "O"): "WITHOUT",
    ("W", "O"): "WITHOUT",
    ("W", "/"): "WITH",
    ("C", "/"): "WITH",
    ("DL", "-", "AC"): "AC",
    ("N", "/", "A"): "NONE",
    # 減弱補正(-).
    **{("(", sign, ")"): "OFF" for sign in "-–−"},
}
# In one language without, in another stress, and, or something else: "s/ AC", "o. AC", "u. AC", "ss CA".
_AMBIGUOUS = (("S", "/"), ("S", "."), ("O", "."), ("U", "."), ("SS",))
# "A/C", "A.C.", "N-AC".
_SPELT = {("A", "C"): "AC", ("N", "C"): "NC", ("N", "A", "C"): "NAC", ("N", "AC"): "NAC"}


@dataclass(frozen=True)
class Said:
    """What a text says: kind "AC", "NC", or "both", and the words that say so (none of them can be a name)."""

    kind: str
    words: str


def correction_in(text: str) -> Said | None:
    """What `text` says about the correction of attenuation, or None where it says nothing."""
    words = _merged(tokens(text))
    found = [(kind, words[k]) for k in range(len(words)) if (kind := _term(words, k))]
    kinds = {kind for kind, _ in found}
    if not kinds:
        return None
    shown = " ".join(dict.fromkeys(word for _, word in found))
    return Said(kinds.pop() if len(kinds) == 1 else "both", shown)


def map_in(text: str) -> str | None:
    """The words by which `text` names an attenuation map or a transmission image, or None."""
    words = _merged(tokens(text))
    for k, word in enumerate(words):
        transmission = v.TRANSMISSION.match(word) and not _negated(words, k) and not _corrects(words, k)
        if transmission or v.MAP_IN_ONE_WORD.match(word):
            return word
        if v.MAP.match(word) and (of := _beside(words, k, -1) or _beside(words, k, +1)):
            return f"{of} {word}"
    return None


def computed_in(text: str) -> str | None:
    """The word by which `text` names an image that was computed from others, as a difference or scores are, or None.

    What is taken from an image to correct it, "scatter subtraction", makes it none.
    """
    words = _merged(tokens(text))
    for k, word in enumerate(words):
        if v.COMPUTED.match(word) and not _negated(words, k) and not _of_other(words, k):
            return word
        if v.COMPUTED_IMAGE.match(word) and k + 1 < len(words) and v.PICTURE.match(words[k + 1]):
            return f"{word} {words[k + 1]}"
    return None


def _corrects(words: list[str], k: int) -> bool:
    """Whether the word at `k` tells by what was corrected: "transmission-based correction", "TCT AC"."""
    near = k + 1
    while near < len(words) and v.SMALL.match(words[near]):
        near += 1
    return near < len(words) and bool(v.CORRECTED.match(words[near]) or v.code_says(words[near]) == "AC")


def _beside(words: list[str], k: int, step: int) -> str | None:
    """What a map at `k` is of; after it only behind "of"."""
    near = k + step
    while 0 <= near < len(words) and v.SMALL.match(words[near]):
        near += step
    far_enough = step < 0 or near > k + 1
    return words[near] if far_enough and 0 <= near < len(words) and v.MAP_OF.match(words[near]) else None


def _term(words: list[str], k: int) -> str:
    """What the word at `k` says in its place: "AC", "NC", "both" or nothing."""
    word = words[k]
    if v.UNCORRECTED.match(word):
        return "" if _of_other(words, k) else "NC"
    if (said := v.code_says(word)) in ("NC", "both"):
        return said
    if _is_map(words, k):
        return ""
    if inside := v.IDEOGRAPHS.search(word):
        if inside["other"]:
            return ""
        return "NC" if inside["before"] or inside["after"] or _negated(words, k) else "AC"
    corrected = v.CORRECTED.match(word) and not _of_attenuation(words, k) and not _of_other(words, k)
    if said or corrected or v.ATTENUATION.match(word) or v.ATTENUATION_CORRECTED.match(word) or v.NATIONAL.match(word):
        return _unless_ambiguous(words, k) or ("NC" if _negated(words, k) else "AC")
    if v.NATIONAL_AFTER_WITH.match(word) and k:
        return "NC" if v.WITHOUT.match(words[k - 1]) else "AC" if v.WITH.match(words[k - 1]) else ""
    return ""


def _unless_ambiguous(words: list[str], k: int) -> str:
    return "both" if any(tuple(words[max(k - len(sign), 0) : k]) == sign for sign in _AMBIGUOUS) else ""


def _is_map(words: list[str], k: int) -> bool:
    return any(v.MAP.match(words[j]) and _beside(words, j, (k > j) - (k < j)) == words[k] for j in _near(words, k))


def _near(words: list[str], k: int) -> range:
    return range(max(k - 4, 0), min(k + 5, len(words)))


def _of_attenuation(words: list[str], k: int) -> bool:
    """Whether a word of correction at `k` belongs to one of attenuation, which then speaks for both."""
    return any(
        v.ATTENUATION.match(words[j]) and all(_joins(words[m]) for m in range(min(j, k) + 1, max(j, k)))
        for j in _near(words, k)
    )


def _joins(word: str) -> bool:
    return bool(v.SMALL.match(word) or v.AND.match(word) or v.OTHER.match(word) or v.WITHOUT.match(word) or word == "+")


def _of_other(words: list[str], k: int) -> bool:
    """Whether it is motion, scatter or the like that a word at `k` calls corrected."""
    if _of_attenuation(words, k):
        return False
    before, after = k - 1, k + 1
    while before >= 0 and v.SMALL.match(words[before]):
        before -= 1
    if before >= 0 and v.OTHER.match(words[before]):
        return True
    while after < len(words) and v.SMALL.match(words[after]):
        after += 1
    if after == len(words):
        return False
    # "corrected scatter" is seldom written, "corrected for scatter" and "corregido movimiento" often.
    return bool(v.MOTION.match(words[after]) or (after > k + 1 and v.OTHER.match(words[after])))


def _negated(words: list[str], k: int) -> bool:
    return _without_before(words, k) or _off_after(words, k)


def _without_before(words: list[str], k: int) -> bool:
    """Whether "without" or the like reaches the term at `k`: over small words, and over others joined by "and"."""
    joined = False
    for word in reversed(words[:k]):
        if v.WITHOUT.match(word) or v.UNCORRECTED.match(word):
            return True
        if v.AND.match(word):
            joined = True
        elif v.OTHER.match(word) or v.ATTENUATION.match(word) or v.code_says(word) == "AC":
            if not joined:
                return False
            joined = False
        elif word in (")", "]") or not (v.SMALL.match(word) or v.CORRECTED.match(word)):
            return False
    return False


def _off_after(words: list[str], k: int) -> bool:
    """Whether "off", ": none" or "not applied" follows the term at `k`."""
    colon = False
    for j in range(k + 1, len(words)):
        word, after = words[j], words[j + 1] if j + 1 < len(words) else ""
        if v.OFF.match(word) or v.UNCORRECTED.match(word):
            return True
        if v.NOT.match(word):
            goes_on = re.match(r"[^\W\d]", after) and not (phase_in(after) or plane_in(after))
            ends = not goes_on or v.DONE.match(after) or v.CORRECTED.match(after)
            return bool(colon or (ends and word not in ("N", "F", "0")))
        colon = colon or word in (":", "=")
        if not (colon and word in (":", "=")) and not v.SMALL.match(word) and not v.CORRECTED.match(word):
            return False
    return False


def _merged(words: list[str]) -> list[str]:
    """`words` with abbreviations that hold signs, and words of several parts, made one."""
    merged: list[str] = []
    k = 0
    while k < len(words):
        taken, word = _phrase(words, k)
        merged.append(word)
        k += taken
    return merged


def _phrase(words: list[str], k: int) -> tuple[int, str]:
    for length in (4, 3, 2):
        if tuple(words[k : k + length]) in _PHRASES:
            return length, _PHRASES[tuple(words[k : k + length])]
    for spelt, word in _SPELT.items():
        parts = words[k : k + 2 * len(spelt) - 1]
        if tuple(parts[::2]) == spelt and set(parts[1::2]) <= {"/", ".", "-"} and len(parts) == 2 * len(spelt) - 1:
            return len(parts), word
    return 1, words[k]
