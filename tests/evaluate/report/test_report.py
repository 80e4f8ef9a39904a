"""The report of a study: what it shows, what it never shows, and its forms."""

from __future__ import annotations

import base64
import html.parser
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from fake_cohort import LV
from fake_population import population
from fake_study import ORIENTATIONS, Times, edit, write_nc
from fake_ventricle import drawn, image
from patience import HANGS_S
from PIL import Image

from spectac_fast import read_study, write_corrected
from spectac_fast.cli import main
from spectac_fast.data.scale import count_scale
from spectac_fast.evaluate.regional.segments import ANGLES, LEVELS, SEGMENT_NAMES
from spectac_fast.evaluate.regional.ventricle import Ventricle
from spectac_fast.evaluate.report import analysis, gather, images, page
from spectac_fast.evaluate.report.terminal import segments_table
from spectac_fast.formats.dicom import read_series
from spectac_fast.formats.series import Provenance
from spectac_fast.models.uncertainty import Calibration

PHASES = ("stress", "rest")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """NC and corrected series of a heart whose inferior half gets 30 % brighter, with their standard deviation."""
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng()
    heart = replace(drawn(rng), centre_mm=(-12.0, 3.0, -4.0))
    for phase in PHASES:
        for plane in ("SA", "VLA", "HLA"):
            # The other planes show the same stack: what lies in them does not matter here.
            write_nc(folder / "in" / f"DOE_JOHN_{phase}_{plane}.dcm", image(heart, rng=rng), plane=plane, phase=phase)
    study = read_study(folder / "in")
    brighter = [s.counts * np.where(np.arange(64) > 31, 1.3, 1.0)[:, None].astype(np.float32) for s in study.series]
    write_corrected(study, brighter, folder / "out", uncertainty=[0.04 * b for b in brighter])
    return folder


def phases_of(*paths, geometry=None):
    (series,), _ = gather.gather(paths)
    study = gather.study_of(series)
    return study, analysis.analyse(study, geometry)


class Outline(html.parser.HTMLParser):
    """Tags that are open, and the attributes of each kind of tag."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "link", "br", "circle", "path", "image"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, tag
        last = self.open.pop()
        assert last == tag, f"{last} closed by {tag}"

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def test_the_page_stands_alone_and_can_be_read_by_everybody(run, tmp_path, capsys):
    assert main(["report", str(run), "-o", str(tmp_path / "r.html")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'r.html'}\n"
    text = (tmp_path / "r.html").read_text()
    outline = Outline(text)
    assert outline.open == []
    tags = {tag for tag, _ in outline.seen}
    assert not tags & {"script", "link", "iframe", "form"}
    for tag, attributes in outline.seen:
        for name in ("src", "href"):
            if name in attributes:
                assert attributes[name].startswith(("data:image/png;base64,", "#")), attributes[name][:60]
        if tag == "img":
            assert len(attributes["alt"]) > 20
        if tag == "svg":
            assert attributes["role"] == "img"
            assert "Polar map" in attributes["aria-label"]
        if tag == "th":
            assert attributes["scope"] in ("col", "row", "colgroup")
        if attributes.get("role") == "region":
            assert attributes["tabindex"] == "0"
            assert attributes["aria-label"]
    assert "url(" not in text
    assert "//" not in re.sub(r"base64,[^\"]+", "", text)
    assert ("html", {"lang": "en"}) in outline.seen
    identifiers = [a["id"] for _, a in outline.seen if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    assert {a["href"][1:] for t, a in outline.seen if t == "a"} <= set(identifiers)
    assert sum(tag == "img" for tag, _ in outline.seen) == 3 * 2 * 4
    # NC, corrected and their difference of each phase; stress minus rest of NC and corrected.
    assert sum(tag == "svg" for tag, _ in outline.seen) == 2 * 3 + 2
    assert text.count("not a medical device") >= 3
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_nobody_is_named(run, tmp_path):
    source = next((run / "in").iterdir())
    header = pydicom.dcmread(source)
    assert main(["report", str(run), "-o", str(tmp_path / "r.html")]) == 0
    text = re.sub(r"base64,[^\"]+", "", (tmp_path / "r.html").read_text())
    named = (header.PatientID, str(header.PatientName), header.StudyInstanceUID, header.SeriesInstanceUID)
    for secret in (*named, header.SOPInstanceUID, header.StudyDate, "DOE", str(run)):
        assert str(secret) not in text
    assert gather.pseudonym(read_series(source)) in text
    assert main(["report", str(run), "-o", str(tmp_path / "t.html"), "--title", "Case <7> & co"]) == 0
    assert "Case &lt;7&gt; &amp; co" in (tmp_path / "t.html").read_text()


def test_a_brighter_inferior_half_is_what_the_segments_say(run):
    study, phases = phases_of(run)
    assert [phase.name for phase in phases] == list(PHASES)
    for phase in phases:
        assert set(phase.segments) == {"NC", "corrected"}
        change = {name.split()[-1]: value for name, value in zip(SEGMENT_NAMES[:6], phase.change)}
        # What is 100 % moves with the brightest place, so only the contrast of the walls is known.
        assert change["inferior"] - change["anterior"] > 10
        assert phase.found_on == "NC"
        assert set(phase.stacks) == {"NC", "corrected", "SD"}
        deviation = phase.stacks["SD"]["SA"].counts / phase.stacks["corrected"]["SA"].counts.clip(1)
        assert np.median(deviation[phase.stacks["corrected"]["SA"].counts > 200]) == pytest.approx(0.04, rel=0.05)
    table = segments_table(phases)
    k = int(np.abs(phases[1].change).argmax())
    assert table.splitlines()[4].endswith(
        f"{phases[1].change[k]:+.0f}".replace("-", "−") + f" {k + 1} {SEGMENT_NAMES[k]}"
    )
    assert max(map(len, table.splitlines())) <= 110
    assert "Research use only" in study.made_by[0]
    assert len(study.made_by) == 1


def test_a_study_is_corrected_in_memory(run, tmp_path, monkeypatch):
    from spectac_fast.models import registry

    monkeypatch.setattr(registry, "load", lambda name, device: Times(3.0))
    assert main(["report", str(run / "in"), "-o", str(tmp_path / "r.html")]) == 0
    text = (tmp_path / "r.html").read_text()
    assert "model times; nothing corrected was at hand" in text
    # Three times the counts are the same picture in % of maximum.
    assert not re.findall(r'<td class="(?:up|down)">', text)


def test_what_would_be_corrected_leads_and_planes_share_a_sentence(run, tmp_path):
    for path in run.glob("in/*_stress_*.dcm"):
        shutil.copy(path, tmp_path)
        edit(tmp_path / path.name, lambda ds: delattr(ds, "SpacingBetweenSlices"))
    short = tmp_path / "DOE_JOHN_stress_SA.dcm"
    write_nc(tmp_path / "a.dcm", read_series(short).counts, corrected=True)

    def told():
        (series,), _ = gather.gather([tmp_path])
        return gather.study_of(series, Times()).warnings

    edit(short, lambda ds: setattr(ds, "PatientPosition", "HFP"))
    said = told()
    assert any("the patient lay prone" in text for text in said)
    assert "stress SA: one AC series of another acquisition is not shown (position of the patient)." in said
    edit(short, lambda ds: setattr(ds, "PatientPosition", "HFS"))
    assert [text[:20] for text in told() if "SpacingBetweenSlices" in text] == ["stress SA, VLA, HLA:"]


def test_what_is_unlike_the_training_is_said_without_file_names(run):
    (series,), _ = gather.gather([run])
    model = Times(1.3)
    model.pixel_mm = 5.2
    said = gather.study_of([s for s in series if s.plane == "SA"], model).warnings
    assert "stress SA: the model was trained on pixels of 5.2 mm, found pixels of 6.8 x 6.8 mm." in said
    assert not any("DOE" in text for text in said)
    # Another model than the one that made the corrected series has nothing to say of them.
    model.weights_sha256 = "another"
    assert not any("trained on" in text for text in gather.study_of(series, model).warnings)


@pytest.mark.parametrize(("samples", "steps", "said"), [(4, 1, 1), (2, 1, 0), (4, 3, 0)])
def test_samples_that_lie_far_apart_are_said(run, tmp_path, samples, steps, said):
    """Deviations of half the scale at stress, of next to nothing at rest, which says nothing of a mean of planes."""
    study = read_study(run / "in")
    study = replace(study, series=tuple(one for one in study.series if one.plane == "SA"))
    deviations = [
        np.full_like(one.counts, (0.5 if one.phase == "stress" else 1e-3) * count_scale(one.counts, one.spacing_mm))
        for one in study.series
    ]
    made = Provenance("times", "", "1", {"steps": steps}, {"deviation of samples": samples})
    write_corrected(study, [one.counts for one in study.series], tmp_path, provenance=made, uncertainty=deviations)
    model = Times()
    model.population = population()
    model.calibration = Calibration(2.0, 0.0, measured=True)
    (series,), _ = gather.gather([run / "in", tmp_path])
    found = [text for text in gather.study_of(series, model).warnings if "samples lie" in text]
    assert len(found) == said
    if found:
        # Half the scale, of a gain of 1 and a temperature of 2.
        assert found[0].startswith("stress SA: the model's samples lie further apart")
        assert "in the heart region 25.0 % of the scale" in found[0]


def test_slices_come_in_the_customary_order_whatever_the_file_says(run, tmp_path):
    source = read_series(run / "in" / "DOE_JOHN_stress_SA.dcm")
    row, column = np.array(ORIENTATIONS["SA"][:3]), np.array(ORIENTATIONS["SA"][3:])
    last = np.array(source.position) + 28 * 6.8 * np.cross(row, column)
    write_nc(tmp_path / "reversed_SA.dcm", source.counts[::-1], slice_mm=-6.8, position=tuple(last))
    one, other = gather.stack_of(source), gather.stack_of(read_series(tmp_path / "reversed_SA.dcm"))
    np.testing.assert_array_equal(one.counts, other.counts)
    np.testing.assert_allclose(one.steps, other.steps, atol=1e-6)
    np.testing.assert_allclose(one.origin, other.origin, atol=1e-3)
    index = np.random.default_rng().uniform(0, 20, 3)
    np.testing.assert_allclose(one.index(one.point(index)), index)
    # From apex to base: up, back and to the right in the patient.
    assert one.steps[0] @ [-0.6, 0.64, 0.48] > 6


def test_windows_of_the_long_axes_are_centred_on_the_ventricle(run):
    _, (phase, _) = phases_of(run)
    sa = phase.stacks["NC"]["SA"]
    v = phase.ventricle
    middle = [(n - 1) / 2 for n in sa.counts.shape]
    heart = [middle[0] - 0.5 * (v.apex_mm + v.base_limit_mm) / 6.8, middle[1] - v.centre_mm[1] / 6.8, middle[2]]
    for plane in ("VLA", "HLA"):
        stack = phase.stacks["NC"][plane]
        shown = images.window(phase, plane, stack, 30.0)
        # Planes share their first voxel here, so only the middle of the ventricle, carried over, can tell.
        inside = stack.index(sa.point([*heart[:2], heart[2] + v.centre_mm[2] / 6.8]))
        if (np.abs(inside - (np.array(stack.counts.shape) - 1) / 2) * 6.8 < 60).all():
            assert shown.middle == pytest.approx(tuple(inside[1:]), abs=1e-6)
        assert 5 <= len(shown.slices) <= images.MOST_TILES
    strip = images.tiles(sa, images.window(phase, "SA", sa, 40.0), phase.peaks["NC"])
    assert strip.shape[0] == images.TILE
    # Of the peak, which is the 99th percentile of the polar map: a noisy heart lies somewhat below or above it.
    assert 70 < np.percentile(strip, 99.5) < 125


def test_a_disc_has_anterior_above_and_lateral_right():
    polar = np.full((LEVELS, ANGLES), 50.0)
    polar[:, ANGLES // 4] = 100
    polar[:, 0] = 0
    polar[-1] = 75
    disc = images.disc(polar, 101)
    assert disc[5, 50] == pytest.approx(100, abs=5)
    assert disc[50, 95] == pytest.approx(0, abs=5)
    assert disc[95, 50] == pytest.approx(50)
    assert disc[50, 50] == pytest.approx(75)
    assert np.isnan(disc[0, 0])


@pytest.mark.parametrize(("scale", "values"), [("perfusion", [0, 50, 100]), ("difference", [-30, 0, 30])])
def test_a_png_shows_the_colours_of_its_scale(scale, values):
    array = np.repeat([[*values, np.nan]], 4, axis=0)
    uri = images.png(array, scale)
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
        pixels = np.asarray(picture.convert("RGBA"))
    np.testing.assert_array_equal(pixels[0, :3, :3], images.palette(scale)[[0, 127, 254]])
    assert pixels[0, :, 3].tolist() == [255, 255, 255, 0]


def test_geometry_set_by_hand_is_used_and_said(run, tmp_path, capsys):
    file = tmp_path / "lv.json"
    file.write_text(json.dumps({"rest": {"centre_mm": [-10, 2, 1], "radius_mm": 24.5}}))
    assert main(["report", str(run), "-o", str(tmp_path / "r.html"), "--geometry", str(file)]) == 0
    text = (tmp_path / "r.html").read_text()
    assert "set by hand: centre_mm, radius_mm; the rest found on NC: centre_mm [-10.0, 2.0, 1.0]" in text
    _, (stress, rest) = phases_of(run, geometry=json.loads(file.read_text()))
    assert stress.set_by_hand == ()
    assert rest.ventricle.radius_mm == 24.5
    for wrong in ({"rest": {"radius": 3}}, {"rest": {"radius_mm": -1}}, {"rest": {"centre_mm": [1, 2]}}):
        file.write_text(json.dumps(wrong))
        assert main(["report", str(run), "-o", str(tmp_path / "r.html"), "--geometry", str(file)]) == 2
    file.write_text("[]")
    assert main(["report", str(run), "-o", str(tmp_path / "r.html"), "--geometry", str(file)]) == 1
    said = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("spectac: ") for line in said) == 4
    assert all(line.startswith(("spectac: ", "searching: ", "reporting: ")) for line in said)


def test_picture_and_capture_hold_the_summary(run, tmp_path):
    assert main(["report", str(run), "-o", str(tmp_path / "r.html"), "--png", "--dicom"]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.dcm", "r.html", "r.png"]
    with Image.open(tmp_path / "r.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    capture = pydicom.dcmread(tmp_path / "r.dcm")
    np.testing.assert_array_equal(capture.pixel_array, pixels)
    source = pydicom.dcmread(next((run / "in").iterdir()))
    assert capture.StudyInstanceUID == source.StudyInstanceUID
    assert capture.PatientID == source.PatientID
    assert capture.SeriesInstanceUID != source.SeriesInstanceUID
    assert capture.BurnedInAnnotation == "NO"
    first = (tmp_path / "r.dcm").read_bytes()
    assert main(["report", str(run), "-o", str(tmp_path / "r.html"), "--dicom"]) == 0
    assert (tmp_path / "r.dcm").read_bytes() == first
    if shutil.which("dciodvfy"):
        said = subprocess.run(["dciodvfy", tmp_path / "r.dcm"], capture_output=True, text=True, check=False)
        assert "Error" not in said.stderr


def test_several_studies_are_several_pages(run, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(run / "out", other)
    for path in other.rglob("*.dcm"):
        edit(path, lambda ds: setattr(ds, "StudyInstanceUID", "1.2.3.4"))
    assert main(["report", str(run), str(other), "-o", str(tmp_path / "r.html")]) == 2
    assert "found 2; name a folder" in capsys.readouterr().err
    assert main(["report", str(run), str(other), "-o", str(tmp_path / "pages")]) == 0
    pages = sorted((tmp_path / "pages").iterdir())
    assert len(pages) == 2
    without = next(p.read_text() for p in pages if p.stem != gather.pseudonym(read_series(next(run.rglob("*.dcm")))))
    assert "Stress SA: the NC series it was corrected from is not at hand." in without
    assert main(["report", str(tmp_path / "pages"), "-o", str(tmp_path / "r.html")]) == 3


def test_what_makes_a_map_unsure_is_said():
    rng = np.random.default_rng()
    heart = replace(drawn(rng), centre_mm=(-12.0, 0.0, 0.0))

    def warned(counts, spacing=(6.8, 6.8, 6.8)):
        stack = gather.Stack(counts, spacing, np.zeros(3), np.diag(spacing))
        study = gather.ReportStudy("x", {"rest": {"NC": {"SA": stack}}})
        (phase,) = analysis.analyse(study)
        return phase.warnings

    assert warned(image(heart)) == []
    (hot,) = warned(image(heart, hot=3.0))
    assert "inferior segments may be too high" in hot
    (few,) = warned(image(heart) * np.float32(0.05))
    assert "few counts" in few
    assert any("outside the stack" in text for text in warned(image(heart)[11:18]))


def test_a_study_without_short_axis_has_slices_and_no_map(run, tmp_path):
    for folder in ("in", "out"):
        shutil.copytree(run / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*_SA*", "*.jsonl"))
    study, phases = phases_of(tmp_path)
    text = page.page(study, phases)
    assert "no short-axis series, so there is no polar map" in text
    assert text.count("<img ") == 2 * 2 * 4
    assert "<svg" not in text


@pytest.mark.night
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium (Debian: chromium)")
def test_a_real_browser_shows_and_prints_it(run, tmp_path):
    assert main(["report", str(run), "-o", str(tmp_path / "r.html")]) == 0
    at_390 = '<body style="margin:0"><iframe src="r.html" width="390" height="3000" style="border:0"></iframe>'
    measure = "for (const t of f.contentDocument.querySelectorAll('table')) "
    measure += "document.body.append(`over=${t.scrollWidth - t.parentElement.clientWidth};`)"
    (tmp_path / "wide.html").write_text(
        f"{at_390}<script>f = frames[0].frameElement; f.onload = () => {{{measure}}}</script>"
    )
    (tmp_path / "phone.html").write_text(at_390)
    browser = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    browser += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--allow-file-access-from-files"]
    for name, size in (("r", "1280,3000"), ("phone", "500,3000")):
        words = [f"--window-size={size}", f"--screenshot={tmp_path / name}.png", (tmp_path / f"{name}.html").as_uri()]
        said = subprocess.run([*browser, *words], capture_output=True, text=True, timeout=HANGS_S, check=True)
        assert "CONSOLE" not in said.stderr
        with Image.open(tmp_path / f"{name}.png") as shot:
            pixels = np.asarray(shot.convert("RGB")).astype(int)
        warm = (pixels[..., 0] > 200) & (pixels[..., 2] < 80)
        assert warm.sum() > 5000
        if name == "phone":
            assert (pixels[:, 391:] == 255).all()
    words = ["--dump-dom", (tmp_path / "wide.html").as_uri()]
    dom = subprocess.run([*browser, *words], capture_output=True, text=True, timeout=HANGS_S, check=True).stdout
    over = [int(each) for each in re.findall(r"over=(-?\d+);", dom)]
    assert len(over) == 2
    assert max(over) <= 0
    words = [f"--print-to-pdf={tmp_path / 'r.pdf'}", (tmp_path / "r.html").as_uri()]
    subprocess.run([*browser, *words], capture_output=True, timeout=HANGS_S, check=True)
    printed = (tmp_path / "r.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) <= 5


def test_phantom_geometry_is_that_of_its_record():
    known = Ventricle.of_phantom(LV)
    assert known.apex_mm == LV["base_long_mm"] + LV["equator_mm"] + LV["mid_length_mm"]
    assert known.base_limit_mm == pytest.approx(LV["base_long_mm"] + 12)
