"""`spectac demo`: correct the bundled study, print its figures and draw a picture."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from spectac_fast.commands import _flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _flags.add_output(parser, "folder for the study, its corrected form and the pictures", default="demo-out")
    _flags.add_model(parser)
    _flags.add_sampling(parser)
    _flags.add_device(parser)


def run(args: argparse.Namespace) -> int:
    from spectac_fast.correct import correct_files
    from spectac_fast.data import demo
    from spectac_fast.errors import SpectacError
    from spectac_fast.evaluate.figures.pictures import phase_panel
    from spectac_fast.evaluate.files import output_folder
    from spectac_fast.evaluate.report.terminal import segments_table
    from spectac_fast.evaluate.report.write import write_report
    from spectac_fast.evaluate.study_scores import against_ac, match
    from spectac_fast.evaluate.table.render import terminal
    from spectac_fast.formats.dicom import read_series
    from spectac_fast.models.registry import load

    translator = load(args.model, device=args.device)
    out = output_folder(args.out)
    sources = [read_series(path) for path in demo.unpack(out / "input")]
    nc = [series for series in sources if not series.attenuation_corrected]
    ac = [series for series in sources if series.attenuation_corrected]
    report = correct_files(
        [out / "input"],
        out / "corrected",
        translator,
        steps=args.steps,
        samples=args.samples,
        seed=args.seed,
        overwrite=True,
    )
    if report.failed:
        raise SpectacError(report.failed[0])
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
    print(f"{out / 'corrected'}{'':4}{len(report.written)} DICOM series")
    for path in [*pictures, *written]:
        print(path)
    return 0
