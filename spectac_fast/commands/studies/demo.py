"""`spectac demo`: correct the bundled studies, print the figures of one and draw pictures of both."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from spectac_fast.commands import _flags
from spectac_fast.outputs import OWN, Kind, output_folder
from spectac_fast.terminal import say
from spectac_fast.terms import PLANES

if TYPE_CHECKING:
    from spectac_fast.correct import Report
    from spectac_fast.models.translator import Translator


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _flags.add_output(parser, "folder for the study, its corrected form and the pictures", default="demo-out")
    _flags.add_model(parser)
    _flags.add_sampling(parser)
    _flags.add_device(parser)


def run(args: argparse.Namespace) -> int:
    from spectac_fast.models.registry import load

    translator = load(args.model, device=args.device)
    out = output_folder(args.out)
    for name in ("stress.png", "rest.png", "patient/patient.png", "patient/map.png"):
        OWN.check(out / name, Kind.PICTURE)
    OWN.check(out / "report.html", Kind.PAGE)
    _synthetic(out, translator, args)
    _patient(out / "patient", translator, args)
    return 0


def _corrected(source: Path, out: Path, translator: Translator, args: argparse.Namespace) -> Report:
    from spectac_fast.correct import correct_files
    from spectac_fast.errors import SpectacError

    how = {"steps": args.steps, "samples": args.samples, "seed": args.seed}
    report = correct_files([source], out, translator, again=True, **how)
    if report.failed:
        raise SpectacError(report.failed[0])
    return report


def _synthetic(out: Path, translator: Translator, args: argparse.Namespace) -> None:
    """A patient of whom the truth is known: figures, pictures and the report."""
    from spectac_fast.data import demo
    from spectac_fast.evaluate.figures.pictures import phase_panel
    from spectac_fast.evaluate.report.terminal import segments_table
    from spectac_fast.evaluate.report.write import write_report
    from spectac_fast.evaluate.study_scores import against_ac, match
    from spectac_fast.evaluate.table.render import terminal
    from spectac_fast.formats.dicom import read_series

    sources = [read_series(path) for path in demo.unpack(out / "input")]
    nc = [series for series in sources if not series.attenuation_corrected]
    ac = [series for series in sources if series.attenuation_corrected]
    report = _corrected(out / "input", out / "corrected", translator, args)
    derived = [read_series(path) for path in report.written]
    study = match(nc, derived, ac)
    scores = against_ac(study, translator.gain)
    pictures = [
        phase_panel(out / f"{phase}.png", phase, planes, gain=translator.gain, method=translator.name)
        for phase, planes in study.items()
    ]
    written, phases = write_report([*nc, *derived, *ac], out / "report.html", model=lambda: translator)
    milliseconds = 1000 * report.seconds / report.slices
    print(f"A synthetic patient: {len(nc)} NC series, {report.slices} slices, corrected by {translator.name}.\n")
    rows = [
        (name, {"whole": asdict(patient.whole), "heart": asdict(patient.heart)}, None)
        for name, patient in zip(("NC", "corrected"), scores, strict=True)
    ]
    print(terminal(rows))
    print(
        "\nAgainst AC, pooled over the patient; heart region: 60 mm sphere. Counts [0, scale] are [-1, 1],\n"
        f"data range 2; NC is multiplied by the AC/NC gain {translator.gain:.2f}. SSIM: Gaussian 11 x 11, sigma 1.5.\n"
    )
    print(segments_table(phases))
    print(f"\n{milliseconds:.1f} ms per slice on {translator.device}\n")
    say(f"{out / 'corrected'}{'':4}{len(report.written)} DICOM series")
    for path in [*pictures, *written]:
        say(path)


def _patient(out: Path, translator: Translator, args: argparse.Namespace) -> None:
    """A real patient's projections, reconstructed and corrected: nobody knows the truth, so there is a picture."""
    from spectac_fast.correct.physics.reconstructor import Reconstructor
    from spectac_fast.data import demo
    from spectac_fast.errors import SpectacError
    from spectac_fast.evaluate.figures.maps import map_panel
    from spectac_fast.evaluate.figures.patient import patient_panel
    from spectac_fast.evaluate.report.gather import gather
    from spectac_fast.evaluate.report.map_files import maps_of
    from spectac_fast.evaluate.report.write import write_report
    from spectac_fast.formats.dicom import read_series

    source = demo.unpack_patient(out / "projections")
    by = Reconstructor(planes=PLANES, ac="predicted")
    (result,) = by.run(by.plan([source], out / "nc", again=True))
    if result.made is None:
        raise SpectacError((*result.failed, *result.skipped)[0])
    report = _corrected(out / "nc", out / "corrected", translator, args)
    stacks = {kind: [path for path in result.written if f"_{kind}_" in path.name] for kind in ("NC", "AC")}
    rows = {
        name: {series.plane: series.counts for series in map(read_series, paths)}
        for name, paths in (("NC", stacks["NC"]), ("by a map", stacks["AC"]), ("by images", report.written))
    }
    assert result.projections is not None
    views, axes, made = result.projections.views, result.made.axes, result.made
    origin = "Nobody knows this patient's truth. Projections: GhasemHajianfar/RIMD-DLAC-SPECT-MPI, Apache-2.0."
    pictures = [
        patient_panel(
            out / "patient.png",
            result.projections,
            rows,
            made.grid.dx,
            title=f"A real patient, {result.projections.phase}: {views} views, NC and corrected slices",
            note=f"By a map: OSEM with a map that mumap predicted from NC. By images: NC slices corrected by "
            f"{translator.name}. Every row has a scale of its own. {origin}",
        ),
        map_panel(
            out / "map.png",
            {"NC": made.volumes["NC"], "map": made.mu, "AC": made.volumes["AC"]},
            made.grid,
            axes.centre,
            maps=frozenset({"map"}),
            title="The same patient: NC, predicted attenuation map (0 to 0.2/cm), AC by it",
            note=f"To look at: the body's outline, dark lungs, the heart within. {origin}",
        ),
    ]
    print(
        f"\nA real patient: {views} views, long axis found at azimuth {axes.azimuth:.0f} and elevation "
        f"{axes.elevation:.0f} degrees.\n"
    )
    studies, found = gather([out / "nc", out / "corrected"])
    pages, _ = write_report(studies[0], out / "report.html", model=lambda: translator, maps=maps_of(found))
    for folder, files in ((out / "nc", result.written), (out / "corrected", report.written)):
        say(f"{folder}{'':4}{len(files)} DICOM series")
    say(*pictures, *pages)
