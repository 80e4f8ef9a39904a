"""The words of attenuation correction, as patterns of whole tokens (see `tokens`): what vendors and departments write.

GE writes IRNC and IRAC (iterative without or with AC), SC for scatter, RR for resolution recovery; Siemens, Hermes and
others string the same codes together; every department also writes in its own language.
"""

from __future__ import annotations

import re
from collections.abc import Iterator


def whole(*patterns: str) -> re.Pattern[str]:
    """A pattern for a token from its first letter to its last; to be used with `match`."""
    return re.compile(rf"(?:{'|'.join(patterns)})\Z")


_ATTENUATION = (
    r"ATT?ENUA(?!TOR)\w*|ATT?ENUER\w*|ABSOR[BP]\w*|ABSORCION|ABSORCAO|ASSORBIMENTO",
    r"(?:AB)?SCHWAE?CHUNG\w*|DAE?MPFUNG\w*|VERZWAKKING\w*|D[AE]MPN?ING\w*|SVACKNING\w*|SVA?E?KKELSE\w*",
    r"OSLABIEN\w*|POCHLANIAN\w*|TLUMIEN\w*|ZESLABEN\w*|UTLUM\w*|SLABLJENJ\w*|ZAYIFLA\w*|SOGURMA\w*|VAIMENNU\w*|ELNYELES\w*",
    r"АТТЕНЮА\w*|ОСЛАБЛЕН\w*|ПОГЛОЩЕН\w*|ΕΞΑΣΘΕΝ\w*|ΑΠΟΡΡΟΦ\w*|SUYGIAM|SUYHAO|HAPTHU",
)
ATTENUATION = whole(*_ATTENUATION, r"ATTN?|ATTEN|ATN")
CORRECTED = whole(
    r"[CK]ORRS?|CORRECT(?:S|ED|IONS?|IES?)?|CORRIGE(?:E?S?|R)|COR?RIGID[OA]S?|CORREGI(?:R|D[OA]S?)|CORRECCION(?:ES)?",
    r"CORRECAO|CORRECOES|CORRETT[OAIE]|CORREZION[EI]|KORRIGI?ER\w*|KORRIGALT|KORREK[TC]\w*|KORREKSJON\w*|GE[CK]ORRIGEERDE?",
    r"KOREKC\w*|S?KORYGOWAN\w*|KORIGOVAN\w*|DUZELT(?:ME|MELI|ILMIS|IM)|CORECTAT\w*|CORECTI[EA]|KORJATTU|KORJAUS",
    r"[CK]OMPENSAT(?:ED|ION)|КОРРЕКЦ\w*|С?КОРРЕКТИР\w*|ΔΙΟΡΘ\w*|HIEUCHINH",
)
_IN_ONE_WORD = (
    r"(?:ATT?ENU|ATTN?|ATTEN|ABSORP|(?:AB)?SCHWAE?CHUNG|DAE?MPFUNG|VERZWAKKING|D[AE]MPN?ING|SVA?E?KKELSE|VAIMENNUS)\w*?"
)
MOTION = whole(
    r"MC|MO|MOCO|MOTO|MOTION|MOVEMENT|MOUVEMENTS?|MOVIMI?ENT[OI]S?|BEWEG\w*|ROREL\w*|RUCHU?|POHYB\w*|HAREKET\w*|ДВИЖЕН\w*",
    r"CHUYENDONG",
)
ATTENUATION_CORRECTED = whole(rf"{_IN_ONE_WORD}(?:[CK]ORR\w*|COR)|AC[CK]ORR?\w*", r"(?:CT)?AC(?:ON|YES|TRUE)")
_WITHOUT = r"SANS|OHNE|SENZA|SIN|SEM|ZONDER|BEZ|UTAN|UDEN|UTEN|WITHOUT|WO|NO|NON|NOT|NICHT|NIET|NAO|NIE|NE|UN|ON|O|U"
UNCORRECTED = whole(
    rf"(?:{_WITHOUT})(?:GE)?[CK]ORR(?:ECTED|ECTION|IG\w*|EG\w*|EK\w*|ETT\w*)?",
    rf"{_IN_ONE_WORD}(?:UN|NON)[CK]ORR\w*",
    r"(?:NIES?|NE)KOR[YI]GO\w*|NECORECTAT\w*|DUZELT(?:MESIZ|ILMEMIS)|KORRIGALATLAN\w*|KORJAAMATON|НЕС?КОРР\w*",
    r"(?:SANS|OHNE|SENZA|SIN|SEM|ZONDER|BEZ|UTAN|UDEN|UTEN|WITHOUT|WO|NON?)(?:CT)?(?:AC|CA|AK|ATTN?|ATTEN\w*)",
    r"N?UNATTEN\w*|NATTE?N|UNCOMPENSATED|(?:CT)?AC(?:OFF|NONE|NO|FALSE|SIZ)",
)
# What else is corrected, or is no correction of attenuation.
OTHER = whole(
    r"SC|SCAT\w*|COMPTON|STREU\w*|DIFFUS\w+|DIFUS\w+|DISPERS\w+|STROOI\w*|SPRIDNING\w*|ROZPROSZ\w*|ROZPTYL\w*|SACILMA\w*",
    MOTION.pattern.removesuffix(r"\Z"),
    r"РАССЕЯН\w*|TANXA|TRUCORR|GATING|RESPIRAT\w*|BREATH\w*|DECAY\w*|DECY|ZERFALL\w*|DECROISSANCE|DECAD?IMI?ENTO|ROZPADU?|VERVAL\w*",
    r"UNIF|UNIFORMITY|FLOOD|HOMOGEN\w*|LIN|LINEARITY|ENERGY|NRGY|ENERGIE|COR|ROTATION|CENT(?:ER|RE)|DRIFT|OFFSET|CROSSTALK",
    r"DEAD|DEADTIME|DTIM|TIME|REGISTRATION|ALIGNMENT|MISREG\w*|RR|RES|RESOLUTION|RECOVERY|PSF|CDR|PV[CE]?|PARTIAL|VOLUME|BKG",
    r"BACKGROUND|SPILLOVER|BASELINE|GAIN|ORIENTATION|AXIS|MULTIPLEX\w*",
)
WITHOUT = whole(
    r"NO|NON|NOT|N|WITHOUT|WO|MINUS|UN|SANS|PAS|OHNE|NICHT|KEINE?[RNMS]?|SENZA|SIN|SEM|NAO|ZONDER|NIET|GEEN|BEZ|NIE|NE",
    r"UTAN|UDEN|UTEN|EJ|ICKE|IKKE|INGEN|EI|ILMAN|NEM|FARA|KHONG|CHUA|TANPA|TIDAK|БЕЗ|НЕ|ΧΩΡΙΣ|無|无|非|未|不",
    r"BEFORE|PRE|AVANT|VOR|ANTES|PRZED|INNAN|TRUOC|WOUT|EXCL?|EXCLUDING|NEVER|AUCUNE?|NINGUNA|NESSUNA|NENHUMA",
)
WITH = whole(
    r"WITH|W|AVEC|MIT|CON|COM|MET|MED|ZE?|CO|CU|DENGAN|S|С|ΜΕ|AFTER|POST|APRES|NACH|DOPO|DESPUES|APOS|DEPOIS|EFTER|SAU",
)
# After a term: "AC off", "AC: none", 減弱補正 なし.
OFF = whole(
    r"OFF|NONE|NIL|FALSE|DISABLED|OMITTED|AUS|NEIN|NEE|NEJ|KEINE?|BRAK|YOK|DEGIL|НЕТ|AUCUNE?|NINGUNA|NESSUNA|NENHUMA|GEEN",
    r"INGEN|SIZ|INACTIVE|REMOVED|FAILED|UNAVAILABLE|SKIPPED|EXCLUDED|DESELECTED|UNCHECKED|UIT|なし|無し?|无|ナシ|オフ|없음",
    r"안함|미적용|미실시|未|前|전",
)
# These only at the end of what is said, or after a colon: in "AC no SC" they belong to what follows.
NOT = whole(r"NO|NON|NOT|NICHT|NIET|NIE|NAO|NE|EJ|IKKE|KHONG|N|F|0")
DONE = whole(r"APPLIED|DONE|PERFORMED|USED|INCLUDED|AVAILABLE|YET|APPLIQUEE?|ANGEWANDT|REALIZAD[AO]|APLICAD[AO]")
SMALL = whole(
    r"[-–—'’.()\[\]*~?\"]|TURNED|SWITCHED|DEL?|D|DELL[AE]?|DES|D[UAOI]|L[AE]?|FOR|OF|THE|BY|P[OE]R|PAR|VON|DE[RMN]|DIE|VAN|AV|NA|FU?E?R|VOOR",
    r"ANY|CT|XCT|TX|TC|BASED|METHOD|IS|WAS|CHANG|GD",
)
AND = whole(r"[/&]|AND|OR|NOR|ET|OU|NI|UND|ODER|Y|O|E|OG|OCH|EN|I|LUB|VE|И|ΚΑΙ|VA")
# Attenuation correction in the language of the house: CA (fr, es, it, pt), AK and SK (de), VC (nl), КА (ru), KO (pl).
NATIONAL = whole(r"CA|AK")
NATIONAL_AFTER_WITH = whole(r"SK|VC|KA|КА|KO")
MAP = whole(r"MAPS?|KARTE|CARTE|MAPP?A|KAART|HARITA\w*|КАРТА|マップ|图|맵")
MAP_OF = whole(r"MU|U|Μ|AC|CTAC|ATTN?|ATTEN|TX|TCT", *_ATTENUATION)
MAP_IN_ONE_WORD = whole(
    r"(?:U|MU|Μ|ATTN?|ATTEN|ATTENUATION|AC|CTAC|CT|TX|TCT)MAPS?|(?:減弱|吸収|衰减|衰減|감쇠)係?数?(?:マップ|图|圖|맵|지도)",
    rf"{_IN_ONE_WORD}(?:KARTE|KAART|KART|MAP)\w*",
)
# Images computed from others; those of one word and those that are pictures of something. "PAR DÉFAUT" is no defect.
COMPUTED = whole(
    r"SUBTRACT(?:ION|ED|IONS)?|SUBTRAKTION\w*|SOUSTRACTION|SOUSTRAITE?|SUSTRACCION|SUBSTRACCION|SOTTRAZIONE|SUBTRACAO",
    r"DIFFERENCES?|DIFFERENZ\w*|DIFERENCIAS?|DIFFERENZ[AE]|DIFERENCAS?|RATIO|QUOTIENT\w*|COCIENTE|WASH(?:OUT|IN)",
    r"AMPLITUDE|REVERSIBILIT\w*|REVERSIBILIDAD\w*|SCORES?|SSS|SRS|SDS|BLACKOUT|BULLS?EYE|MASKS?|MIPS?|FUSION|FUSED|SEGMENTATION|SEGMENTACION|差分|減算|减影|比率",
    r"DEFE[CK]TS?|DEFE[CK]TEN?|DEFECTOS?|DIFETT[OI]|SEVERIT\w*|SEVERIDAD|SCHWEREGRAD|EXTENT|AUSDEHNUNG|THICKENING",
    r"PARAMETRIC|VARIANCE|UNCERTAINTY|PROBABILITY|欠損",
)
COMPUTED_IMAGE = whole(r"POLAR|PHASE|SCATTER|NORMAL|DEVIATION|STD")
PICTURE = whole(r"MAPS?|IMAGES?|WINDOWS?|DATABASE|LIMITS|DEV|KARTE|CARTE|MAPP?A")
TRANSMISSION = whole(r"TRANSMIS(?:SION|SIE|ION|SAO|SIONE|JA|JI)\w*|TCT|ТРАНСМИСС\w*|透過\w*|투과\w*")
# In one word 補正, 校正 or 보정 with what stands before and after it.
IDEOGRAPHS = re.compile(
    r"(?P<other>散乱|散射|산란|体動|運動|运动|動き|움직임|均一|減衰時間)?"
    r"(?P<before>未経過|未经|未經|未做|未作|未行|未|没有|没做|没|無|无|非|不|미|비|무)?(?:減弱|减弱|吸収|吸收|衰减|衰減|減衰|弱化|감쇠|감약|흡수)?"
    r"(?:補正|补正|校正|修正|矯正|矫正|보정|교정)(?P<after>なし|無し?|无|前|未|없음|안함|전|미실시|미적용)?"
)

_UNITS = (
    *("OSEM", "OSE", "OS", "IR", "MLEM", "FBP", "BP", "RBI", "RAMLA", "EVOLUTION", "EVO", "ASTONISH", "AST", "FLASH"),
    *(
        "WBR",
        "TB",
        "KNIT",
        "RECON",
        "REC",
        "ITERATIVE",
        "ITER",
        "TOMO",
        "GATED",
        "DS",
        "HR",
        "HYBRID",
        "BV",
        "TT",
        "CT",
    ),
    *("TT", "CT", "STRESS", "STRS", "STR", "REST", "RST", "SAX", "SA", "VLA", "HLA"),
    *("SC", "RR", "CDR", "PSF", "MC", "NSC", "AC", "NC", "NAC", "NOAC", "NONAC"),
)
_SAYS = {"AC": "AC", "NC": "NC", "NAC": "NC", "NOAC": "NC", "NONAC": "NC"}
_NUMBER = re.compile(r"\d+[DIS]?")


# АС in Cyrillic letters that look like Latin ones.
_LATIN = str.maketrans("АВСЕКМОРТХ", "ABCEKMOPTX")


def code_says(token: str) -> str:
    """What codes strung together say: "AC" (IRACRRSC, OSEMAC, CTAC), "NC" (IRNC, NOAC), "both", or "" (TAC, ACQ).

    Every letter must belong to a code that vendors use, so that a word which merely holds the letters does not count.
    """
    said = {_SAYS[unit] for unit in units_of(token.translate(_LATIN)) if unit in _SAYS}
    # Without contrast, of a CT.
    return "" if token == "NCCT" else "both" if len(said) > 1 else "".join(said)


def units_of(token: str) -> frozenset[str]:
    """The codes that a token is strung together from: of IRACSC001 IR, AC, SC and 001; empty where a letter is left."""
    return frozenset(unit for units in _cut(token, ()) for unit in units)


def _cut(rest: str, units: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every way to cut a token into units and numbers; after two, a G (gated) may end it."""
    if not rest or (rest == "G" and len(units) > 1):
        yield units
        return
    number = _NUMBER.match(rest)
    for unit in [number.group()] if number else [unit for unit in _UNITS if rest.startswith(unit)]:
        yield from _cut(rest[len(unit) :], (*units, unit))
