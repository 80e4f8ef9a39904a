"""Ours against the published code itself: LBBDM-f8 from image to image, imported from its checkpoint, in turns.

`bench/published.sh CHECKOUT` runs it on a checkout of the published code. Both sides have the same random weights,
steps, threads and dtype; before anything is timed, their images without noise must agree. Where there is not the time
for all, it is run in pieces: `--part` and `--batches` measure some rows, the others stay, and every row has its commit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench import limited

RESULTS = Path(__file__).parents[1] / "results" / "published"
SIDE = 256
# Of the largest value: sums of other order over 237 M parameters, and no code of the first stage that differs.
AGREE = 1e-3
GOALS = {1: 2.2, 8: 2.4}
NETWORK = "bridge between latents"
PARTS = (NETWORK, f"bf16 {NETWORK}", "image to image", "VQGAN encodes", "VQGAN decodes")


Calls = Mapping[str, Callable[[], object]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkout", type=Path, required=True, metavar="DIR", help="of github.com/xuekt98/BBDM")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], metavar="N", help="slices (default: 1 8)")
    parser.add_argument(
        "--part",
        default="",
        metavar="WORDS",
        help="only parts that begin so: bridge, bf16, image, VQGAN (default: all)",
    )
    parser.add_argument("--steps", type=int, default=4, metavar="N", help="of the sampler, at least 3 (default: 4)")
    parser.add_argument(
        "--isa", choices=limited.ISAS, help="both sides without wider vectors than these, where the machine has them"
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="of each, in turns (default: 5)")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    if args.isa and not limited.inside():
        return limited.again(sys.argv[1:])

    from bench.outputs import appearing
    from bench.published.checkout import published_model, template
    from spectac_fast.evaluate.provenance import commit, machine
    from spectac_fast.outputs import output_folder

    out = output_folder(args.out)
    configuration = template(args.checkout, args.steps)
    where = {"machine": machine(torch.device("cpu")) + held(), "steps": args.steps}
    known = rows_of(out / "published.json", where)
    theirs = published_model(args.checkout, configuration, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        ours = imported(theirs, configuration, Path(folder))
    # Of the tree as it was when the measurement began.
    made = commit()
    facts = where | {"difference": difference(theirs, ours, args.steps)}
    if not facts["difference"] < AGREE:
        raise SystemExit(f"the images differ by {facts['difference']:.1e} of the largest value, expected {AGREE:.0e}.")
    facts["calls"] = {name: calls_of(call) for name, call in samplers(theirs, ours, 1, args.steps).items()}
    measured = []
    for batch in args.batches:
        for part, make in parts(theirs, ours, batch, args.steps).items():
            if part.startswith(args.part):
                measured.append({"batch": batch, "part": part, "commit": made} | timed(make(), args.rounds))
    facts["rows"] = joined(known, measured)
    for name, content in (("json", json.dumps(facts, indent=1) + "\n"), ("md", page(facts))):
        with appearing(out / f"published.{name}") as part:
            part.write_text(content, encoding="utf-8")
    print(page(facts))
    return 0


def held() -> str:
    """What the measurement is held to, of what the machine has: all of it by `--isa`, or torch by variables."""
    if known := limited.fact():
        return f"; {limited.FACT} {known[limited.FACT]}"
    names = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
    found = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    return f"; {' '.join(found)}" if found else ""


def rows_of(path: Path, where: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of earlier pieces; none where there is no such file.

    Raises UsageError where they are of another machine or of other steps, beside which no new row may stand.
    """
    from spectac_fast.errors import UsageError

    if not path.is_file():
        return []
    earlier = json.loads(path.read_text(encoding="utf-8"))
    for name, value in where.items():
        if earlier.get(name) != value:
            raise UsageError(
                f"{path}: expected results of {name} {value}, found {earlier.get(name)} (--out takes another folder)."
            )
    return [{"commit": earlier["commit"]} | row if "commit" in earlier else row for row in earlier["rows"]]


def joined(known: Sequence[Mapping[str, Any]], measured: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Earlier rows and new ones, which take the place of their own; by batches, and as `PARTS` has them."""
    rows = {(row["batch"], row["part"]): dict(row) for row in (*known, *measured)}
    order = [next(i for i, name in enumerate(PARTS) if part.startswith(name)) for _, part in rows]
    return [row for _, row in sorted(zip(order, rows.values()), key=lambda pair: (pair[1]["batch"], pair[0]))]


def imported(theirs: nn.Module, configuration: Mapping[str, Any], folder: Path) -> Any:
    """Our translator of the published model's checkpoint, by `spectac import --config`."""
    import yaml

    from bench.outputs import write
    from spectac_fast.cli import main
    from spectac_fast.models.registry import load

    checkpoint, template, weights = (folder / name for name in ("a.pth", "a.yaml", "a.safetensors"))
    torch.save({"model": theirs.state_dict()}, checkpoint)
    write(template, yaml.dump(dict(configuration)))
    asked = ["--layout", "bbdm", "--config", str(template), "--size", str(SIDE), str(SIDE), "--fit", "resize", "-q"]
    if status := main(["import", str(checkpoint), *asked, "-o", str(weights)]):
        raise SystemExit(f"spectac import ended with status {status}.")
    return load(weights, device="cpu")


def images(batch: int) -> tuple[Tensor, Tensor]:
    """Slices [B, 1, 256, 256] in model units and their seeds."""
    return torch.rand(batch, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 2 - 1, torch.arange(batch)


def difference(theirs: nn.Module, ours: Any, steps: int) -> float:
    """The largest of the images without noise, over the largest value of the published."""
    slices, seeds = images(1)
    eta, theirs.eta = theirs.eta, 0.0
    published = theirs.sample(slices.expand(-1, 3, -1, -1)).mean(1, keepdim=True)
    theirs.eta = eta
    found = ours.translate(slices, seeds, steps=steps, eta=0.0)
    return float((found - published).abs().max() / published.abs().max())


def samplers(theirs: nn.Module, ours: Any, batch: int, steps: int) -> Calls:
    """From image to image by each."""
    slices, seeds = images(batch)
    three = slices.repeat(1, 3, 1, 1)
    return {"published": lambda: theirs.sample(three), "ours": lambda: ours.translate(slices, seeds, steps=steps)}


def parts(theirs: nn.Module, ours: Any, batch: int, steps: int) -> dict[str, Callable[[], Calls]]:
    """What is timed, made when it is: the bridge between latents, all, and the first stage by itself."""
    import spectac_fast
    from spectac_fast.device import has_bf16_units

    slices, _ = images(batch)
    three = slices.repeat(1, 3, 1, 1)
    latent = cache(lambda: theirs.encode(three))

    def stage(name: str, of: Callable[[], Tensor]) -> Calls:
        given, own = of(), getattr(ours.model, name)

        def run() -> Tensor:
            with torch.inference_mode():
                return own(given)

        return {"published": lambda: getattr(theirs, name)(given), "ours": run}

    def bridge(dtype: torch.dtype) -> Calls:
        given = latent()
        sampler = spectac_fast.BridgeSampler(spectac_fast.engine(ours.model, dtype), ours.model.bridge, steps)

        def published() -> Tensor:
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                return theirs.p_sample_loop(y=given, context=None, clip_denoised=False, sample_mid_step=False)

        return {"published": published, "ours": lambda: sampler(given, torch.arange(batch))}

    made: dict[str, Callable[[], Calls]] = {
        f"{NETWORK}, {steps} steps": lambda: bridge(torch.float32),
        f"bf16 {NETWORK}, {steps} steps": lambda: bridge(torch.bfloat16),
        f"image to image, {steps} steps": lambda: samplers(theirs, ours, batch, steps),
        "VQGAN encodes": lambda: stage("encode", lambda: three),
        "VQGAN decodes": lambda: stage("decode", latent),
    }
    # Elsewhere it is emulated, which nobody would choose.
    return made if has_bf16_units(torch.device("cpu")) else {k: v for k, v in made.items() if not k.startswith("bf16")}


def timed(calls: Calls, rounds: int) -> dict[str, Any]:
    """Seconds of each, round by round in turns after one call of each, medians, and the median of the ratios."""
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    ratios = [slow / fast for slow, fast in zip(seconds["published"], seconds["ours"])]
    found = {name: statistics.median(of) for name, of in seconds.items()}
    return found | {"ratio": statistics.median(ratios), "ratios": ratios}


class _Counting(TorchDispatchMode):
    """Counts the operators that are dispatched."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def calls_of(call: Callable[[], object]) -> int:
    """How many operators of torch a call runs."""
    with _Counting() as counting:
        call()
    return counting.count


def page(facts: Mapping[str, Any]) -> str:
    """Everything as Markdown."""
    lines = [
        "# Ours against the published code",
        "",
        "LBBDM-f8 by the template of github.com/xuekt98/BBDM, random weights, 256 x 256, from its own checkpoint",
        "through `spectac import --config`; float32, and where a row says bf16 (on CPUs with units for it) the",
        "published code under autocast and our network's body in bfloat16. Times of a call in seconds, in turns in",
        "one process, medians; ratio: the median of the rounds' ratios. Made by `bench/published.sh CHECKOUT`.",
        "",
        f"- {facts['machine']}",
        f"- images without noise differ by {facts['difference']:.1e} of the largest value",
        f"- torch operators of a slice of {facts['steps']} steps: published {facts['calls']['published']}, "
        f"ours {facts['calls']['ours']}",
        "",
        "| slices | part | published, s | ours, s | ratio | rounds | goal | commit |",
        "| ---: | --- | ---: | ---: | ---: | --- | ---: | --- |",
    ]
    for row in facts["rows"]:
        goal = f"{GOALS[row['batch']]:.1f}" if row["part"].startswith(NETWORK) and row["batch"] in GOALS else ""
        span = f"{min(row['ratios']):.2f} - {max(row['ratios']):.2f}"
        lines.append(
            f"| {row['batch']} | {row['part']} | {row['published']:.3f} | {row['ours']:.3f} | {row['ratio']:.2f} | "
            f"{span} | {goal} | {row['commit']} |"
        )
    return "\n".join(lines) + "\n"
