"""Plane and phase in the words of many languages."""

import pytest

from spectac_fast.formats.evidence.places import phase_in, plane_in, without_places

PLANES = {
    "SA": "SA|SAX|IRNCG_SA001|short axis|Short-Axis|SASTRESS|petit axe|kurze Achse|Kurzachse|eje corto|asse corto"
    "|eixo curto|korte as|oś krótka|kısa eksen|kortaxel|trục ngắn|короткая ось|短軸|负荷短轴|단축",
    "VLA": "VLA|x_VLA_2|Vertical Long Axis|Vert Long|VERT LONG AX|grand axe vertical|vertikale lange Achse"
    "|eje largo vertical|asse lungo verticale|pionowa oś długa|trục dài đứng|垂直長軸|수직장축",
    "HLA": "HLA|RestHLA|Horizontal Long Axis|Horz Long Axis|grand axe horizontal|horizontale lange Achse"
    "|eixo longo horizontal|lange as horizontaal|yatay uzun eksen|水平長軸|수평장축",
    None: "NASAL|SA VLA|transaxial|sagittal|VISA|long axis|SALINE|",
}
PHASES = {
    "stress": "STRESS|STRS_SA|StressSA|SASTRESS|STRAC|Exercise|Adenosine|regadenoson|dipyridamole|dobutamine|effort"
    "|Belastung|Belastungs-SPECT|Ergometrie|esfuerzo|estrés|sforzo|esforço|inspanning|wysiłek|Wysiłkowe|efor|arbete|zátěž"
    "|terheléses|gắng sức|нагрузка|負荷|负荷|運動負荷|부하|스트레스|POST STRESS|ストレス"
    "|POSTSTRESS|EXER_SA|ejercicio|PHARM SA|SA delayed stress",
    "rest": "REST|RST|RestIRNC|Resting|repos|REPOS SA|Ruhe|RUHE-SPECT|Ruheaufnahme|reposo|riposo|repouso|rust|spoczynek"
    "|istirahat|dinlenme|vila|hvile|klid|nyugalmi|nghỉ|покой|в покое|安静|静息|靜息|휴식|안정|redistribution"
    "|basal SA|4h delayed|Spätaufnahme|Umverteilung|klidová|再分布|baseline",
    None: "STRUCTURE|FOREST|ARREST|STRESS REST|restaurant|distress|RE"
    "|lateral|spatial|example|basal stress rest|pharm SA, basal|",
}


@pytest.mark.parametrize(("plane", "texts"), PLANES.items())
def test_planes(plane, texts):
    assert {text: plane_in(text) for text in texts.split("|")} == dict.fromkeys(texts.split("|"), plane)


@pytest.mark.parametrize(("phase", "texts"), PHASES.items())
def test_phases(phase, texts):
    assert {text: phase_in(text) for text in texts.split("|")} == dict.fromkeys(texts.split("|"), phase)


def test_a_name_without_its_places():
    assert without_places("stress_SA_NC") == without_places("rest_VLA_NC") == without_places("負荷_HLA_NC")
