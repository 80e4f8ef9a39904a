"""What the words of vendors and of many languages say about the correction of attenuation."""

import pytest

from spectac_fast.formats.evidence.vocabulary import code_says, units_of
from spectac_fast.formats.evidence.words import computed_in, correction_in, map_in

# What may stand around a term in a series description or a file's name.
AROUND = ("{}", "STRESS SA {}", "{} REST_SA", "SA {} 001", "rest_{}_HLA")

CORRECTED = """
AC|A/C|A.C.|AC-|AC+|AC-SA|CTAC|CT-AC|ＡＣ|SA AC|SAAC|StressAC|RestAC|ACStress|ACstress|AC_SA_OSEM|Rest_AC001|DL-AC
IRAC|IRACG|IRACSC|IRACSCRR|IRACRRSC|ACSC|SCAC|MCAC|OSEMAC|OSEM3D AC|OSEM3DAC|Flash3DAC|OSEM 8i4s AC|Astonish AC
TB_KNIT_AC|TOMO_EM_IRACSC|TOMO_EM_IRACRR001_DS|AC/SC|SC+AC|AC on|AC: yes|with AC|non-gated, AC
Attenuation Correction|Attenuation-Corrected|attenuation corrected|ATT CORR|AttCorr|ATTCORR|attn corr|ATTN|AC corrected
ATTCOR|dempingskorrigert|svækkelseskorrigeret|gecorrigeerd voor verzwakking|transmission corrected
corrected|CORR|corrected for attenuation|scatter and attenuation corrected|AC, no SC|no SC, AC|no SC AC|AC without SC
AC w/o scatter correction|AC no RR|corrigé|avec CA|correction d'atténuation|correction de l'atténuation|après correction
korrigiert|mit AK|schwächungskorrigiert|Schwaechungskorrektur|absorptionskorrigiert|con CA|corrección de atenuación
corregido|corretto|correzione dell'attenuazione|corrigido|correção de atenuação|gecorrigeerd|verzwakkingscorrectie
korekcja osłabienia|z korekcją|skorygowane|attenueringskorrigerad|korrigerad|atenüasyon düzeltmeli|düzeltilmiş
hiệu chỉnh suy giảm|có hiệu chỉnh suy giảm|с коррекцией ослабления
減弱補正(+)|AC(+)|SC(-) AC(+)|AC 적용|с АС|減弱補正|減弱補正あり|吸収補正|衰减校正|衰減校正|已校正|감쇠보정|감약 보정
"""
UNCORRECTED = """
NC|NAC|N/AC|N-AC|N.A.C.|NOAC|noac|NonAC|non-AC|no AC|w/o AC|wo AC|without AC|StressNoAC|RestNC|AC無し|無AC
IRNC|IRNCG|IRNCSC|FBP NC|OSEM_RR_NC|TB_KNIT_NOAC|AC off|ACoff|AC OFF|AC=off|AC: none|AC (none)|AC - none|AC: N|AC:no
AC not applied|AC NEIN|no AC, with SC|pre AC|before attenuation correction|without AC and SC|uncorrected|UNCORR
AC inactive|AC failed|AC removed|AC unavailable|w.o. AC|wout AC|excluding AC|sin corregir
not corrected|non corrected|no correction|no attenuation|non attenuation corrected|attenuation uncorrected
without attenuation correction|Without scatter or attenuation correction|attenuation correction: none
attenuation correction off|not corrected for attenuation|uncorrected for attenuation|sans CA|sans correction|non corrigé
sans correction d'atténuation|correction d'atténuation: non|ohne AK|ohne AC|unkorrigiert|nicht korrigiert
ohne Absorptionskorrektur|Schwächungskorrektur aus|keine Schwächungskorrektur|sin CA|no corregido|senza AC|non corretto
sem CA|não corrigido|zonder AC|ongecorrigeerd|niet gecorrigeerd|bez AC|bez korekcji|nieskorygowane|utan AC|okorrigerad
ej korrigerad|uden AC|düzeltilmemiş|düzeltmesiz|không hiệu chỉnh|без коррекции
AC(-)|CTAC (-)|SC(+)AC(-)|減弱補正(-)|減弱補正（－）|未做衰减校正|没有校正|무보정|AC 미적용|без АС
w-o AC|w_o AC|AC turned off|AC excluded|AC deselected|AC: F|AC? no|AC uit|CA non|CA não|never corrected
aucune correction|corr. attenuazione NO|NATTN
減弱補正なし|補正なし|補正前|未校正|未衰减校正|無補正
보정 전|미보정|감쇠보정 없음
"""
SILENT = """
resolution recovery corrected
TAC|cardiac|SAC|ACQ|acquisition|ACC|MAC|Isaac|Zodiac|Jacques|McAndrew|Acosta|Machado|Nancy|Maccabi|ACUTE SACRUM|ACS
CORRIDOR 4DM|Corrigan|Correa|Correia|Attila|Attenborough|Korea|CORONAL|COR|NCO|PACS|NCCT|Cardiac Accuracy|STRESS SA
SC|motion corrected|Motion Correction|corrected for motion|decay corrected|scatter corrected|scatter uncorrected
Mo Corr|corr. moto|corregido movimiento|gating corrected
uniformity correction|bewegungskorrigiert|Streukorrektur|散乱補正|散射校正|AC MAP|attenuation map|TruCorr
"""


def listed(words):
    return [word for line in words.strip().splitlines() for word in line.split("|")]


def kind_of(text):
    said = correction_in(text)
    return said and said.kind


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize(("words", "kind"), [(CORRECTED, "AC"), (UNCORRECTED, "NC"), (SILENT, None)])
def test_words_say_what_they_mean(words, kind, around):
    found = {word: kind_of(around.format(word)) for word in listed(words)}
    assert found == dict.fromkeys(found, kind)


@pytest.mark.parametrize("text", ["AC/NC", "AC & NAC", "AC and non-AC", "s/ AC", "o. AC", "u. AC", "ss CA"])
def test_a_text_that_names_both_says_so(text):
    assert kind_of(text) == "both"


def test_only_recognised_words_are_quoted():
    assert correction_in("DOE JANE 1950 IRACSC SA").words == "IRACSC"
    assert correction_in("Attenuation Correction DOE").words == "ATTENUATION"


def test_utf_8_under_no_character_set_is_understood():
    assert kind_of("corrección de atenuación".encode().decode("latin-1")) == "AC"
    assert kind_of("減弱補正なし".encode().decode("latin-1")) == "NC"


@pytest.mark.parametrize(
    ("token", "said"),
    [("IRACSC001", "AC"), ("REST3DNC", "NC"), ("NCAC", "both"), ("TAC", ""), ("IRG", ""), ("ACG", ""), ("", "")],
)
def test_codes_are_read_unit_by_unit(token, said):
    assert code_says(token) == said


def test_units_cover_every_letter():
    assert units_of("IRACSC001") == {"IR", "AC", "SC", "001"}
    assert not units_of("CARDIAC")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("AC MAP", "AC MAP"),
        ("REST attenuation map", "ATTENUATION MAP"),
        ("µ-map", "Μ MAP"),
        ("carte d'atténuation", "ATTENUATION CARTE"),
        ("map of attenuation", "ATTENUATION MAP"),
        ("umap", "UMAP"),
        ("Transmission scan", "TRANSMISSION"),
        ("Schwächungskarte", "SCHWACHUNGSKARTE"),
        ("μマップ", "Μ マップ"),
        ("減弱マップ", "減弱マップ"),
        ("transmisja", "TRANSMISJA"),
        ("no transmission scan", None),
        ("ohne Transmission", None),
        ("transmission-based correction", None),
        ("TCT AC", None),
        ("polar map", None),
        ("MAP reconstruction AC", None),
    ],
)
def test_maps_and_transmission_are_told_from_emission(text, words):
    assert map_in(text) == words


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("STRESS - REST SUBTRACTION", "SUBTRACTION"),
        ("SA LV MASK", "MASK"),
        ("SPECT/CT fusion SA", "FUSION"),
        ("Stress MIP", "MIP"),
        ("SA scatter window", "SCATTER WINDOW"),
        ("soustraction effort-repos", "SOUSTRACTION"),
        ("SA Differenz", "DIFFERENZ"),
        ("差分 SA", "差分"),
        ("Summed Stress Score", "SCORE"),
        ("SA std dev", "STD DEV"),
        ("polar map", "POLAR MAP"),
        ("SA DEFECT", "DEFECT"),
        ("Defekt SA", "DEFEKT"),
        ("STRESS SA severity", "SEVERITY"),
        ("SA, sans défaut", None),
        ("SA no defects", None),
        ("Maximum Likelihood EM SA", None),
        ("scatter subtraction", None),
        ("background subtracted SA", None),
        ("SA, no subtraction", None),
        ("stress phase SA, normal", None),
    ],
)
def test_computed_images_are_told_from_counts(text, word):
    assert computed_in(text) == word
