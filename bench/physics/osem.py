"""How long reconstruction takes: OSEM against the same in plain torch, and projections to AC slices by a predicted map.

All in one process and with the same threads, in turns. CPU seconds are of all threads together: on a machine that does
other work they say more than the clock does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

RESULTS = Path(__file__).parents[1] / "results" / "osem"
SIDE, VIEWS, VOXEL_MM, ITERATIONS, SUBSETS = 64, 64, 6.8, 4, 8
# Seconds of the clock: 32 updates of a study, and files in, files out.
GOALS = {"OSEM, attenuation and collimator": 0.15, "OSEM, neither": 0.06, "TOMO file to NC and AC files": 0.8}
Call = Callable[[], object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="in turns (default: 7)")
    parser.add_argument("--threads", type=int, metavar="N", help="of the CPU (default: all)")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    from bench.outputs import appearing
    from spectac_fast.evaluate.provenance import commit, machine
    from spectac_fast.outputs import output_folder

    out = output_folder(args.out)
    if args.threads:
        torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory(prefix="osem-") as folder:
        rows = [timed(name, calls, args.rounds) for name, calls in work(Path(folder)).items()]
    facts = {"machine": machine(torch.device("cpu")), "commit": commit(), "rounds": args.rounds, "rows": rows}
    for name, content in (("json", json.dumps(facts, indent=1) + "\n"), ("md", page(facts))):
        with appearing(out / f"osem.{name}") as part:
            part.write_text(content, encoding="utf-8")
    print(page(facts))
    return 0


def work(folder: Path) -> dict[str, dict[str, Call]]:
    """What is timed: {row: {"ours": call, "plain torch": the same by the operators' references, if they can}}."""
    names = list(GOALS)
    return {
        names[0]: osem_calls(torch.Generator().manual_seed(0), blurred=True),
        names[1]: osem_calls(torch.Generator().manual_seed(0), blurred=False),
        names[2]: {"ours": file_to_files(stress_projections(folder), folder / "out", "predicted")},
    }


def osem_calls(generator: torch.Generator, *, blurred: bool, side: int = SIDE, views: int = VIEWS) -> dict[str, Call]:
    """A reconstruction of a warm cylinder, with an attenuation map and a collimator or with neither."""
    from spectac_fast.reconstruct.camera import Collimator
    from spectac_fast.reconstruct.osem import osem
    from spectac_fast.reconstruct.projector import Projector

    angles = [-45 + 180 * k / views for k in range(views)]
    place = torch.arange(side) - side / 2 + 0.5
    body = (
        ((place[:, None] / 0.8) ** 2 + place**2 < (0.4 * side) ** 2).float()[None, :, :, None].expand(-1, -1, -1, side)
    )
    mu = 0.15 * body if blurred else None
    with torch.inference_mode():
        cameras = {
            name: Projector(side, VOXEL_MM, angles, collimator=Collimator() if blurred else None, backend=backend)
            for name, backend in (("ours", None), ("plain torch", "reference"))
        }
        counts = torch.poisson(cameras["ours"].project(body.contiguous(), mu=mu), generator=generator)

    def call(camera: Projector) -> Call:
        def reconstruct() -> Tensor:
            with torch.inference_mode():
                return osem(camera, counts, mu=mu, iterations=ITERATIONS, subsets=SUBSETS)

        return reconstruct

    return {name: call(camera) for name, camera in cameras.items()}


def stress_projections(folder: Path) -> Path:
    """The projections of a synthetic patient at stress."""
    from spectac_fast.cli import main

    asked = ["--cases", "1", "--seed", "600000", "--projections", "-o", str(folder / "in"), "-q"]
    if status := main(["phantom", *asked]):
        raise SystemExit(f"spectac phantom ended with status {status}.")
    return next(path for path in (folder / "in").rglob("*.dcm") if path.name.upper().startswith("STRESS_TOMO"))


def file_to_files(file: Path, out: Path, ac: str) -> Call:
    """Projections read, reconstructed without and with attenuation correction, cut along the heart and written."""
    from spectac_fast.correct.physics.reconstructor import Reconstructor

    by = Reconstructor(ac=ac)

    def call() -> object:
        (result,) = by.run(by.plan([file], out, overwrite=True))
        if result.failed:
            raise SystemExit(result.failed[0])
        return result

    return call


def timed(name: str, calls: Mapping[str, Call], rounds: int) -> dict[str, Any]:
    """Seconds of the clock and of the CPU of each call, medians over rounds in turns after one call of each, and how
    many times longer than ours the other takes: the median of the rounds' ratios.
    """
    found: dict[str, list[tuple[float, float]]] = {each: [] for each in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for each, call in calls.items():
            started = time.perf_counter(), time.process_time()
            call()
            found[each].append((time.perf_counter() - started[0], time.process_time() - started[1]))
    row: dict[str, Any] = {"name": name}
    for each, samples in found.items():
        row[each] = {"clock": _median(samples, 0), "cpu": _median(samples, 1)}
    if plain := found.get("plain torch"):
        row["ratio"] = statistics.median(slow[0] / fast[0] for slow, fast in zip(plain, found["ours"]))
    return row


def _median(samples: Sequence[tuple[float, float]], of: int) -> float:
    return statistics.median(each[of] for each in samples)


def page(facts: Mapping[str, Any]) -> str:
    """Everything as Markdown."""
    lines = [
        "# How long does reconstruction take?",
        "",
        f"Made by `python -m bench osem`: medians of {facts['rounds']} rounds in turns. OSEM: {ITERATIONS} x "
        f"{SUBSETS}, {VIEWS} views, {SIDE}^3 voxels; plain torch: the operators' references in float32, same threads.",
        "Files: the stress projections of one synthetic patient (64 views), read, reconstructed to NC and by a",
        "predicted map to AC, cut into SA, VLA, HLA and transaxial stacks, and written; weights are loaded before.",
        "",
        f"- {facts['machine']}; commit {facts['commit']}",
        "",
        "| what | ours, s | CPU seconds | plain torch, s | ratio | goal, s | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in facts["rows"]:
        other = row.get("plain torch")
        beside = f"{other['clock']:.2f} | {row['ratio']:.1f}" if other else "– | –"
        goal = GOALS[row["name"]]
        verdict = "reached" if row["ours"]["clock"] <= goal else "missed"
        ours = f"{row['ours']['clock']:.3f} | {row['ours']['cpu']:.3f}"
        lines.append(f"| {row['name']} | {ours} | {beside} | {goal:g} | {verdict} |")
    return "\n".join(lines) + "\n"
