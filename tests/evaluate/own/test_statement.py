"""`spectac evaluate` and `train` on an archive's export: what is measured, what is said, and of whom nothing is."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from exported import Export, an_hour_later, coarser, smaller_pixels
from fake_cohort import FakeTranslator
from patience import HANGS_S
from PIL import Image

from spectac_fast import read_study, write_corrected
from spectac_fast.cohort.own.matching import ALONE, OURS, Left
from spectac_fast.cohort.own.studies import StudyPairs
from spectac_fast.correct.study import correct_study
from spectac_fast.data.facts import StudyFacts
from spectac_fast.data.study import Study
from spectac_fast.evaluate.own import page, text, words
from spectac_fast.evaluate.own.phase import StudyPhase
from spectac_fast.evaluate.own.seen import Seen
from spectac_fast.evaluate.own.segments import against_ac
from spectac_fast.evaluate.own.statement import statement
from spectac_fast.evaluate.regional.segments import SEGMENT_NAMES
from spectac_fast.evaluate.table.score import corrected_stacks, score_cohort
from spectac_fast.evaluate.table.variants import COMBINED, Row
from spectac_fast.outputs import Kind


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """Three patients with pairs, one of them on a camera of other pixels, and all that may lie beside them."""
    folder = tmp_path_factory.mktemp("pacs")
    export = Export(folder / "export", folder / "study")
    nc, _ = export.pair("A", "stress_SA")
    export.pair("A", "stress_HLA")
    export.pair("BB", "rest_SA", counts=lambda v: coarser(v) + 1, change=smaller_pixels)
    export.pair("CCC", "stress_SA", counts=lambda v: v[:, ::-1, ::-1])
    export.pair("CCC", "stress_SA", change=an_hour_later, counts=lambda v: v + 2)
    export.put("A", "rest_SA_AC")
    export.pdf("BB")
    source = read_study(nc)
    write_corrected(source, [1.4 * one.counts for one in source.series], export.folder / "ours")
    return export


@pytest.fixture(scope="module")
def done(export, tmp_path_factory):
    """The command as a process, on a row fitted to the export by another one."""
    folder = tmp_path_factory.mktemp("out")

    def spectac(*words):
        command = [sys.executable, "-m", "spectac_fast.cli", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=HANGS_S)

    trained = spectac("train", "linear", "--data", export.folder, "-o", folder / "run")
    models = f"identity,{folder / 'run' / 'linear.json'}"
    return folder, trained, spectac("evaluate", export.folder, "--models", models, "-o", folder / "table")


def test_training_brings_all_to_one_grid(export, done):
    folder, trained, _ = done
    assert trained.returncode == 0, trained.stderr
    assert "brought to slices of 64 x 64 pixels of 6.8 mm, 6.8 mm apart" in trained.stdout
    line = json.loads((folder / "run" / "linear.json").read_text())
    assert line["pixel_mm"] == 6.8
    assert 2 < line["gain"] < 5


def test_the_result_holds_what_the_synthetic_tables_hold(export, done):
    folder, _, ended = done
    assert ended.returncode == 0, ended.stderr
    names = ["matching.csv", "panel.png", "statement.html", "statement.md", "table.csv", "table.json", "table.md"]
    assert sorted(path.name for path in (folder / "table").iterdir()) == names
    numbers = json.loads((folder / "table" / "table.json").read_text())
    head = numbers["head"]
    assert (head["patients"], head["stacks"]) == (3, {"stress SA": 2, "stress HLA": 1, "rest SA": 1})
    assert sorted(grid[:2] for grid in head["grids"]) == [[48, 48], [64, 64]]
    assert "truth, because nothing tells" in head["convention"]["left_out"]
    for row in numbers["rows"]:
        assert row["whole"]["rmse"]["low"] < row["whole"]["rmse"]["value"] < row["whole"]["rmse"]["high"]
        assert 0 < row["segments"]["error"]["value"] < 40
        assert len([name for name in row["segments"] if name.startswith("bias ")]) == 17
    assert numbers["reference_segments"]["NC"]["error_over_nc"]["value"] == 1
    written = (folder / "table" / "table.md").read_text()
    for part in ("## 17 segments", "## Paired with the best baseline", "4 basal inferior", "NC at its best scale"):
        assert part in written
    assert "defect contrast |" not in written
    lines = list(csv.DictReader((folder / "table" / "table.csv").open()))
    assert {"bias 17 apex", "error"} <= {line["metric"] for line in lines if line["region"] == "segments"}


def test_everything_that_is_in_no_pair_is_listed(export, done):
    folder, trained, ended = done
    for said in (trained.stdout, ended.stdout):
        assert f"{export.folder}: 3 patients, 3 studies, 4 pairs of NC and AC series; 5 other files or series" in said
        assert said.count("in no pair: ") == 5
    listed = list(csv.DictReader((folder / "table" / "matching.csv").open()))
    assert sum(bool(line["in no pair"]) for line in listed) == 5
    assert sorted({line["patient"] for line in listed}) == ["", "1", "2", "3"]
    assert len(listed) == 4 + 5
    numbers = json.loads((folder / "table" / "table.json").read_text())["statement"]
    assert numbers["left"][OURS] == numbers["left"][ALONE.format("NC")] == 1
    assert sum(numbers["left"].values()) == 5


def test_nobody_is_named(export, done):
    folder, *_ = done
    secrets = [b"SECRET-", b"DOE^", b"1.2.826.0.1", bytes(export.folder)]
    for path in (folder / "table").iterdir():
        if path.name != "matching.csv":
            assert [each for each in secrets if each in path.read_bytes()] == [], path.name


def test_the_statement_is_whole(done):
    folder, *_ = done
    html = (folder / "table" / "statement.html").read_text()
    assert re.findall(r"<(script|link|iframe)", html) == []
    assert html.count("<svg") == 2
    # NC, corrected, AC and their difference of three patients.
    assert html.count('<img src="data:image/png;base64,') == 12
    assert "size: A4" in html
    assert "not a medical device" in html
    for name in SEGMENT_NAMES:
        assert name in html
    written = (folder / "table" / "statement.md").read_text()
    said = json.loads((folder / "table" / "table.json").read_text())["statement"]
    assert said["patients"] == 3
    assert {one["patient"] for one in said["worst"]} == {1, 2, 3}
    away = said["away"]
    assert away["NC"]["low"] < away["NC"]["value"] < away["NC"]["high"]
    assert f"{away['corrected']['value']:.1f} (" in written
    assert "6 mm" in written
    with Image.open(folder / "table" / "panel.png") as image:
        assert image.format == "PNG"


def test_the_next_run_may_replace_them(done):
    folder, *_ = done
    for name, kind in (("statement.html", Kind.PAGE), ("statement.md", Kind.TABLE), ("matching.csv", Kind.TABLE)):
        assert kind.is_own((folder / "table" / name).read_bytes())


@pytest.fixture(scope="module")
def studies(export):
    return StudyPairs(export.folder)


def test_counts_are_those_that_correct_gives(studies):
    """Planes apart and together, whatever the pixels; a first stage that changes nothing gives back AC."""
    model = FakeTranslator("net", slope=1.1, intercept=0.2)
    for i in range(len(studies)):
        phase = studies.series(i)[0][0]
        planes = StudyPhase(studies, i, phase, seed=0)
        series = tuple(pair.nc for pair in planes.pairs.values())
        together, _ = planes.correct(Row("net", model, together=COMBINED))
        for stack, wanted in zip(together.values(), correct_study(Study(series), model), strict=True):
            np.testing.assert_array_equal(stack, wanted)
        apart, _ = planes.correct(Row("net", model))
        for stack, one in zip(apart.values(), series, strict=True):
            scaled = correct_study(Study((one,)), model)[0]
            # Alone, a plane has the scale of its own stack.
            assert np.corrcoef(stack.ravel(), scaled.ravel())[0, 1] > 0.999
        trip, _ = planes.correct(Row("trip", FakeTranslator("vqgan"), given="AC"))
        for plane, stack in trip.items():
            np.testing.assert_allclose(stack, planes.ac[plane], rtol=1e-3, atol=1e-3 * stack.max())
        assert next(iter(corrected_stacks(studies, i, phase, Row("net", model)))) == "SA"


def test_a_model_is_asked_for_the_ac_of_the_department(studies):
    class Told(FakeTranslator):
        facts = ("keeps_scatter", "sharper")

        def translate(self, nc, seeds=None, neighbours=None, facts=None, **options):
            heard.append(facts)
            return super().translate(nc, seeds, neighbours, **options)

    heard, model = [], Told("net")
    planes = StudyPhase(studies, 0, studies.series(0)[0][0], seed=0)
    for wanted in (StudyFacts(), StudyFacts(keeps_scatter=True)):
        planes.correct(Row("net", model, wanted=wanted))
    assert {tuple(row) for facts in heard for row in facts.tolist()} == {(0.0, 0.0), (1.0, 0.0)}


def test_who_is_refused_by_a_model_is_left_out_and_named_by_number(studies):
    coarse = FakeTranslator("net")
    coarse.pixel_mm = 21.0
    small = next(i for i in range(3) if studies.grids([i]).most_common()[0][0][0] == 48)
    scores = score_cohort(studies, [Row("net", coarse)])
    assert [case["patient"] for case in scores.cases] == [n for n in (1, 2, 3) if n != small + 1]
    assert [text.startswith(f"patient {small + 1} rest SA: the model needs pixels") for text in scores.refused] == [
        True
    ]
    assert len(scores.rows[0].patients) == len(scores.segments["AC"]) == 2


def test_numbers_have_a_sign_and_an_interval_where_there_is_one():
    assert words.number({"value": -0.04, "low": -1.0, "high": 0.26}, 1, "+") == "0.0 (−1.0 to +0.3)"
    assert words.number({"value": 2.0, "low": None, "high": None}) == "2.0"
    assert words.number(None) == "–"


def test_segments_of_whom_has_them(rng):
    """Patients without a short axis count for nothing, a missing phase neither."""
    ac = rng.uniform(60, 90, (4, 2, 17))
    found, nc = ac + np.arange(17), ac - 10
    ac[1], ac[2, 0] = np.nan, np.nan
    said = against_ac(found, nc, ac, 0, 2000)
    assert said["error"].value == pytest.approx(8)
    assert said["error_over_nc"].value == pytest.approx(0.8)
    assert said["bias 17 apex"].value == pytest.approx(16)
    assert against_ac(found, nc, np.full_like(ac, np.nan), 0, 2000) == {}


class _Bbdm:
    name, weights_sha256, gain = "bbdm", "ab" * 32, 3.29


def crowded(rng):
    """A statement with as much on it as there can be."""
    seen = []
    for number in range(1, 41):
        maps = {kind: rng.uniform(60, 100, (24, 72)) for kind in ("NC", "corrected", "AC")}
        tiles = {kind: rng.uniform(0, 100, (96, 288)) for kind in ("NC", "corrected", "AC", "difference")}
        said = [
            f"patient {number} stress SA: the image is unlike those it was trained on, {chr(97 + k) * 9}; " * 3
            for k in range(9)
        ]
        away = dict(zip(("NC", "corrected"), rng.uniform(0.1, 0.4, 2)))
        segments = {kind: polar[0, :17] for kind, polar in maps.items()}
        gain = float(rng.uniform(1, 5))
        seen.append(Seen(number, "stress", ("SA", "VLA", "HLA"), gain, away, segments, maps, tuple(said), tiles))
    grids = [[128, 128, [3.3, 3.3, 3.3 + k / 10], 9] for k in range(7)]
    head = {"grids": grids, "version": "0", "commit": "f1dd3eb-dirty", "seen_in_training": {"bbdm": 40}}
    head["refused"] = ["patient 7 stress SA: expected a field of at least 200 mm about the heart, found 130 mm."] * 3
    left = [Left("", f"no AC series of its phase, plane and acquisition is at hand, reason {k}") for k in range(9)]
    row = Row("bbdm, mean of 8 x 6-step samples, planes combined", _Bbdm(), name="bbdm")
    return statement(seen, row, head, left=left, notes=["so many studies are one patient's " * 9], resamples=2000), seen


def test_warnings_that_differ_in_numbers_are_one(rng):
    said, seen = crowded(rng)
    assert [each["patients"] for each in said["warnings"]] == [40] * 9
    assert said["warnings"][0]["first"] == 1
    assert not any(each["example"].startswith("patient") for each in said["warnings"])
    assert "AC/NC gains run from" in said["notes"][1]
    assert "10 more kinds: statement.md" in page.page(said, seen)
    assert text.text(said).count("of 40 patients, such as patient 1: ") == 9


def test_a_crowded_statement_prints_on_one_sheet(tmp_path, rng):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("needs chromium (Debian: chromium)")
    (tmp_path / "s.html").write_text(page.page(*crowded(rng)))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={tmp_path / 's.pdf'}"]
    subprocess.run([*command, str(tmp_path / "s.html")], capture_output=True, timeout=HANGS_S, check=True)
    assert len(re.findall(rb"/Type */Page\b", (tmp_path / "s.pdf").read_bytes())) == 1
