"""The report of a study that was reconstructed: NC, the image route, the physics route, and its map."""

import re

import numpy as np
import pydicom
import pytest
from fake_map_model import write_constant_maps
from fake_patient import AXES, WATER, body, ct_of, write_ct, write_patient
from fake_study import Times

from spectac_fast.cli import main
from spectac_fast.errors import InputError, SetupError
from spectac_fast.evaluate.report import gather, page
from spectac_fast.evaluate.report.analysis import analyse
from spectac_fast.evaluate.report.forms.picture import summary_picture
from spectac_fast.evaluate.report.map_files import maps_of
from spectac_fast.formats.dicom.derivation import reconstruction_of

AXIS = ",".join(f"{each:g}" for each in (45.0, 25.0, *AXES.centre))


def made(folder, *words):
    tomo = write_patient(folder / "stress_TOMO.dcm", np.random.default_rng(3))
    words = ("-i", tomo, "-o", folder / "out", f"--axis={AXIS}", "--progress", "off", *words)
    assert main(["reconstruct", *map(str, words)]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    soft = write_constant_maps(folder / "soft.safetensors", 0.12)
    return made(folder, "--ac", "predicted", "--maps", soft)


def absent(*_, **__):
    raise SetupError("no weights.")


def test_both_routes_and_the_map_are_shown(out, tmp_path, monkeypatch, capsys):
    from spectac_fast.models import registry

    monkeypatch.setattr(registry, "load", lambda name, device: Times(1.5))
    assert main(["report", str(out), "-o", str(tmp_path / "r.html")]) == 0
    assert "attenuation:" not in capsys.readouterr().out
    text = (tmp_path / "r.html").read_text()
    polar = re.findall(r'aria-label="Polar map, stress, ([^:]+):', text)
    assert polar == ["NC", "Corrected", "Corrected − NC", "By a map"]
    alts = re.findall(r'alt="(Attenuation map[^"]+)"', text)
    assert alts == [
        f"Attenuation map, stress, {name}, outline of By a map" for name in ("transaxial", "coronal", "sagittal")
    ]
    assert "Within 40 mm of the ventricle’s middle: 0.120/cm" in text
    assert "map predicted from NC by mumap, weights" in text
    assert "model times; nothing corrected was at hand" in text
    assert "an attenuation map that nobody measured" in text


def test_the_physics_route_stands_alone_where_the_image_route_cannot(out, tmp_path, monkeypatch):
    from spectac_fast.correct import study
    from spectac_fast.models import registry

    monkeypatch.setattr(registry, "load", absent)
    assert main(["report", str(out), "-o", str(tmp_path / "r.html")]) == 0
    assert "By a map: lowest segment" in (tmp_path / "r.html").read_text()

    def refuse(of, *_, **__):
        raise InputError(f"{of.series[0].path}: expected something else, found this.")

    monkeypatch.setattr(registry, "load", lambda name, device: Times())
    monkeypatch.setattr(study, "prepare", refuse)
    assert main(["report", str(out), "-o", str(tmp_path / "r.html")]) == 0
    said = re.search(r"<li>([^<]*found this.)", (tmp_path / "r.html").read_text())[1]
    assert re.fullmatch(r"Stress (SA|VLA|HLA): expected something else, found this\.", said)


def test_doubts_about_a_correction_for_the_page_are_on_it(out, tmp_path, monkeypatch):
    from spectac_fast.correct.study import Prepared
    from spectac_fast.models import registry

    monkeypatch.setattr(registry, "load", lambda name, device: Times())
    doubted = lambda self, *_: (f"{self.study.series[0].path}: the correction is doubted.",)  # noqa: E731
    monkeypatch.setattr(Prepared, "doubts", doubted)
    assert main(["report", str(out), "-o", str(tmp_path / "r.html")]) == 0
    assert re.search(r"<li>Stress (SA|VLA|HLA): the correction is doubted\.</li>", (tmp_path / "r.html").read_text())


def test_ac_of_a_measured_map_is_ac(tmp_path, monkeypatch):
    ct = write_ct(tmp_path / "ct", ct_of(WATER * body()))
    (series,), found = gather.gather([made(tmp_path, "--ac", ct, "--planes", "SA")])
    assert {gather.kind_of(one) for one in series} == {"NC", "AC"}
    study = gather.study_of(series, Times())
    assert any("attenuation correction: CT map" in text for text in study.made_by)
    assert maps_of(found) == []


def test_a_map_of_another_frame_of_reference_has_no_outline(out, tmp_path):
    for path in out.glob("*.dcm"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    ds = pydicom.dcmread(tmp_path / "stress_TOMO_MU_TRA.dcm")
    ds.FrameOfReferenceUID = "1.2.3"
    ds.save_as(tmp_path / "stress_TOMO_MU_TRA.dcm")
    (series,), found = gather.gather([tmp_path])
    study = gather.study_of(series)
    text = page.page(study, analyse(study), maps=maps_of(found))
    assert "It has another frame of reference" in text
    assert "outline of" not in text
    assert not found.skipped


def test_the_summary_has_a_row_for_every_route(out):
    (series,), _ = gather.gather([out])
    alone = gather.study_of(series)
    both = gather.study_of(series, Times(2.0))
    pictures = [summary_picture(study, analyse(study))[0] for study in (alone, both)]
    assert pictures[0].shape[1] == pictures[1].shape[1]
    assert [*both.stacks["stress"]] == ["NC", "corrected", "physics"]


def test_derivations_in_other_words_are_not_repeated(out):
    ds = pydicom.dcmread(out / "stress_TOMO_AC_SA.dcm")
    assert reconstruction_of(ds).startswith("Research use only")
    for text in (f"{ds.DerivationDescription} SECRET", "SECRET", "", None):
        ds.DerivationDescription = text
        assert reconstruction_of(ds) == ""


def test_reconstruct_writes_the_page_itself(tmp_path, monkeypatch, capsys):
    from spectac_fast.models import registry

    monkeypatch.setattr(registry, "load", lambda name, device: Times())
    made(tmp_path, "--ac", "chang", "--planes", "SA", "--report", tmp_path / "page.html")
    assert str(tmp_path / "page.html") in capsys.readouterr().out
    text = (tmp_path / "page.html").read_text()
    assert "attenuation correction: Chang first order" in text
    assert "By a map" in text
    assert "Attenuation map" not in text
