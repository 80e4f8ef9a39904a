"""Plane and phase in free text: the words of many languages for the axes of the heart, for stress and for rest."""

from __future__ import annotations

import re

from spectac_fast.formats.evidence.tokens import plain
from spectac_fast.formats.evidence.vocabulary import units_of

_SHORT = (
    r"SAX?|SHAX|SHORT[ _-]*(?:AXIS|AX)|PETIT[ _-]*AXE|KURZE?[RN]?[ _-]*ACHSEN?\w*|EJE[ _-]*CORTO|ASSE[ _-]*CORTO"
    r"|EIXO[ _-]*CURTO|KORTE[ _-]*AS|KORT[AE]?[ _-]*(?:AXEL|AKSE)\w*|(?:OS[I]?[ _-]*KROTK|KROTK\w*[ _-]*OS)\w*"
    r"|KISA[ _-]*(?:EKSEN|AKS)\w*|KRATK\w*[ _-]*OSA|ROVID[ _-]*TENGELY|AX[ _-]*SCURT|TRUC[ _-]*NGAN"
    r"|КОРОТК\w*[ _-]*ОС\w*"
)
_LONG = (
    r"(?:LONG|LX|LA|LAX)(?:[ _-]*(?:AXIS|AX))?|GRANDS?[ _-]*AXES?|EJE[ _-]*LARGO|ASSE[ _-]*LUNGO|EIXO[ _-]*LONGO"
    r"|LANGE?[RN]?[ _-]*(?:ACHSEN?|AS)\w*|LANG[AE]?[ _-]*(?:AXEL|AKSE)\w*|(?:OS[I]?[ _-]*DLUG|DLUG\w*[ _-]*OS)\w*"
    r"|UZUN[ _-]*(?:EKSEN|AKS)\w*|DLOUH\w*[ _-]*OSA|HOSSZU[ _-]*TENGELY|AX[ _-]*LUNG|TRUC[ _-]*DAI|ДЛИНН\w*[ _-]*ОС\w*"
)
_VERTICAL = r"VERT(?:ICAL\w*|IKAL\w*|IC|IK)?|VERTIKAAL|PIONOW\w*|DIKEY|SVISL\w*|FUGGOLEGES|DOC|DUNG|ВЕРТИК\w*"
_HORIZONTAL = r"HORI?Z(?:ONTAL\w*|ONTAAL)?|ORIZ\w*|POZIOM\w*|YATAY|VODOROV\w*|VIZSZINTES|NGANG|ГОРИЗ\w*"


def _between(pattern: str) -> re.Pattern[str]:
    """A term where no letter touches it, so that "IRNCG_SA001" holds SA and "NASAL" does not; ideographs may."""
    letter = r"[^\W\d_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
    return re.compile(rf"(?<!{letter})(?:{pattern})(?!{letter})".replace(r"\w", letter))


_TERMS = {
    "SA": _between(_SHORT),
    "VLA": _between(rf"VLAX?|(?:{_VERTICAL})[ _-]*(?:{_LONG})|(?:{_LONG})[ _-]*(?:{_VERTICAL})"),
    "HLA": _between(rf"HLAX?|(?:{_HORIZONTAL})[ _-]*(?:{_LONG})|(?:{_LONG})[ _-]*(?:{_HORIZONTAL})"),
    "stress": _between(
        r"(?:POST)?STRESS\w{0,3}|STRS|STR|EXERCI[SC]E\w?|EXERC|TREADMILL|BRUCE|ERGO\w*|ADENO|(?:REG)?ADENOS\w*|REGA"
        r"|LEXISCAN|RAPISCAN|DIPYRIDAM\w*|DIPIRIDAM\w*|DIPY|PERSANTIN\w*|DOBU\w*|PHARMACOLOGICAL|EFFORTS?|BELAST\w*"
        r"|ESFUERZO|ESTRES(?:SE)?|SFORZO|ESERCIZIO|ESFORCO|INSPANNING\w*|WYSIL\w*|OBCIAZ\w*|EFORT?\w{0,2}|EGZERSIZ|STRES"
        r"|ARBETS?\w*|ANSTRENGN\w*|ZATEZ\w*|TERHELES\w*|RASITUS\w*|GANG[ _-]*SUC|НАГРУЗ\w*|СТРЕСС?\w*|ΚΟΠΩΣ\w*"
        r"|מאמץ|جهد|إجهاد"
    ),
    "rest": _between(
        r"REST|RST|RESTING|REPOS|REPOSO|RIPOSO|REPOUSO|RUHE\w*|RUST|SPOCZYN\w*|ISTIRAHAT\w*|DINLEN\w*|VILA|VILO\w*"
        r"|HVILE\w*|KLIDO?\w?|NYUGAL\w*|LEPO\w{0,2}|REPAUS|NGHI|KLIDOV\w*|UMVERTEIL\w*|RIDISTRIB\w*|REIN[IYJ]E\w*|ПОКО[ЙИЕЮЯ]\w?|ΗΡΕΜΙΑ\w*|מנוחה|راحة|REDIST\w*|REINJ\w*"
    ),
}
# Words that tell a phase where nothing else does: they may also be about anatomy or time.
_WEAK = {
    "stress": _between(r"EXER\w{0,2}|EX|TMT|PHARM\w*|FARMA[CK]O\w*|LEXI|VASODILAT\w*|EJERCICIO|ARBEJD\w*"),
    "rest": _between(
        r"BASALE?|BASELINE|DELAY\w*|LATE|TARDI\w*|SPAE?T(?:E[NRS]?|AUFNAHME\w{0,1})?|NTG|NITRO\w*|再分布|遅延|延迟|延遲"
    ),
}
# Where ideographs stand together nothing sets words apart.
_IDEOGRAPHS = {
    "SA": "短軸|短轴|단축",
    "VLA": "垂直長軸|垂直长轴|垂直断|수직장축|수직 장축",
    "HLA": "水平長軸|水平长轴|水平断|수평장축|수평 장축",
    "stress": "負荷|负荷|運動|运动|應激|应激|ストレス|스트레스|부하|운동",
    "rest": "安静|安靜|静息|靜息|休息|휴식|안정|휴지",
}
_UNITS = {
    "SA": {"SA", "SAX"},
    "VLA": {"VLA"},
    "HLA": {"HLA"},
    "stress": {"STRESS", "STRS", "STR"},
    "rest": {"REST", "RST"},
}
PLANES, PHASES = ("SA", "VLA", "HLA"), ("stress", "rest")


def plane_in(text: str) -> str | None:
    """The plane that `text` names, "SA", "VLA" or "HLA"; one that names two tells nothing."""
    return _only(text, PLANES)


def phase_in(text: str) -> str | None:
    """The phase that `text` names, "stress" or "rest"; one that names both tells nothing."""
    if phase := _only(text, PHASES):
        return phase
    if any(_TERMS[name].search(plain(text)) for name in PHASES):
        return None
    weak = [name for name, term in _WEAK.items() if term.search(plain(text))]
    return weak[0] if len(weak) == 1 else None


def without_places(text: str) -> str:
    """A name in capital letters, without the words that tell plane and phase."""
    text = plain(text)
    for name in (*PLANES, *PHASES):
        text = re.sub(_IDEOGRAPHS[name], "", _TERMS[name].sub("", text))
    return text


def _only(text: str, names: tuple[str, ...]) -> str | None:
    text = plain(text)
    units = {unit for word in re.findall(r"[A-Z0-9]+", text) for unit in units_of(word)}
    named = {name: _TERMS[name].search(text) or re.search(_IDEOGRAPHS[name], text) for name in names}
    found = [name for name in names if named[name] or units & _UNITS[name]]
    return found[0] if len(found) == 1 else None
