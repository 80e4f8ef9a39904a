"""`python -m bench ship WORKDIR`: weights of bench/table1.sh to where `sf.load(name)` finds them, with cards.

The card's figures are those of the committed table, never typed. Files above the limits of the repository stay away,
and so do models that are no better than a fitted line: whoever asks for one by name would be worse off than without it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.outputs import write
from spectac_fast.models.names import BUILDERS, FOLDER

ROOT = Path(__file__).parents[2]
LARGEST = 4_000_000
ALL_TOGETHER = 25_000_000
# In the order in which they get what room there is: the published comparison, its honest challenger, the rest.
ORDER = ("cpdm", "pix2pix", "reggan", "unit", "regression", "vqgan", "cyclegan", "palette", "medgan")
LAST = tuple(sorted(set(BUILDERS) - set(ORDER) - {"bbdm"}))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("work", type=Path, metavar="WORKDIR", help="of bench/table1.sh")
    parser.add_argument("--table", type=Path, default=ROOT / "bench/results/table1/table.json", metavar="FILE")


def run(args: argparse.Namespace) -> int:
    table = json.loads(args.table.read_text())
    rows = {name: [r for r in table["rows"] if r["name"] == name] for name in {r["name"] for r in table["rows"]}}
    room = ALL_TOGETHER - (FOLDER / "bbdm64.safetensors").stat().st_size
    for name in (*ORDER, *LAST):
        run = args.work / "table1" / name
        source = run / f"{name}64.safetensors"
        if not (run / "card.json").is_file() or name not in rows:
            print(f"{name}: not finished, or not in {args.table}")
            continue
        if not any(_over_linear(row, region) < 1 for row in rows[name] for region in ("whole", "heart")):
            print(f"{name}: stays away, no better than the linear row")
            continue
        size = source.stat().st_size
        if size > min(LARGEST, room):
            print(f"{name}: stays away, {size / 1e6:.2f} MB where {min(LARGEST, room) / 1e6:.2f} MB are left")
            continue
        room -= size
        write(FOLDER / source.name, source.read_bytes())
        write(FOLDER / f"{name}64.json", (run / "card.json").read_bytes())
        card = json.loads((run / "card.json").read_text())
        page = args.table.resolve().parent.name
        write(FOLDER / f"{name}64.md", model_card(name, card, rows[name], table["head"], page))
        print(f"{name}: {size / 1e6:.2f} MB")
    return 0


def _over_linear(row: Mapping[str, Any], region: str) -> float:
    """RMSE as a share of the linear row's; infinite where the table has no such row."""
    return (row[region].get("rmse_over_linear") or {}).get("value", float("inf"))


def model_card(
    name: str, card: Mapping[str, Any], rows: list[Mapping[str, Any]], head: Mapping[str, Any], page: str = "table1"
) -> str:
    """The Markdown card of one model: its training's card and its rows of the table, which the folder `page` holds."""
    data, recipe = card["data"], card["recipe"]
    given = "AC, encoded and decoded" if rows[0]["label"].endswith("round trip of AC") else "NC"
    facts = {
        "what it does": f"{name} of the comparison in `bench/results/{page}/table.md`; given {given}",
        "size": f"{card['parameters'] / 1e6:.2f} M parameters trained; far smaller than the published networks",
        "training data": f"{data['cases']} patients: {_trained_on(data)}; {data['slices']} slices",
        "recipe": f"`{recipe['name']}`, seed {card['seed']}, {card['steps']} steps in {card['minutes']:.0f} minutes on "
        f"{card['threads']} thread(s), {card.get('device', 'cpu')}; commit {card['commit']}; `bench/table1.sh`",
        "measured on": f"{_measured_on(name, data, head)}; commit {head['commit']}",
    }
    for row in rows:
        parts = [
            f"{key.upper()} {row[region][key]['value']:.4f} {where}"
            for key in ("ssim", "rmse")
            for region, where in (("whole", "whole field"), ("heart", "heart region"))
        ]
        facts[row["label"]] = ", ".join(parts + _segments(row))
    lines = "\n".join(f"| {key} | {value} |" for key, value in facts.items())
    return (
        f"# Model card: {name}64\n\n| | |\n|---|---|\n{lines}\n\n"
        "**Use.** A row to compare with, trained for minutes; the model to correct with is `bbdm`.\n\n"
        f"**Limits.** Not a medical device, not for diagnosis. {_limits(data)}\n"
    )


def _segments(row: Mapping[str, Any]) -> list[str]:
    """What the 17 segments of a row are off by, beside NC's; nothing where the table has none."""
    found = row.get("segments") or {}
    if not found.get("error") or not found.get("error_over_nc"):
        return []
    return [f"segments {found['error']['value']:.1f} % from AC, {found['error_over_nc']['value']:.2f} of NC's"]


def _trained_on(data: Mapping[str, Any]) -> str:
    """Synthetic patients are named by their seeds, others by the digest of their NC counts, both where both were."""
    seeds = ", ".join(f"{low}–{high}" for low, high in data.get("training_seeds", ()))
    digest = data.get("training_pairs_sha256")
    said = [f"synthetic ones (seeds {seeds})"] if seeds else []
    return " and ".join(said + ([f"pairs of one's own (SHA-256 of their NC counts {digest[:16]})"] if digest else []))


def _measured_on(name: str, data: Mapping[str, Any], head: Mapping[str, Any]) -> str:
    """The patients of the table, and whether the model was trained on them, as far as digests tell."""
    count, seeds, digest = head["patients"], head["case_seeds"], head.get("pairs_sha256")
    if seeds is None:
        patients = f"{count} patients, pairs of one's own (SHA-256 of their NC counts {digest[:16]})"
    else:
        patients = f"{count} synthetic patients (seeds {min(seeds)}–{max(seeds)})"
    if trained := head.get("seen_in_training", {}).get(name):
        return f"{patients}, {trained} of them trained on"
    both_own = seeds is None and "training_pairs_sha256" in data
    return f"{patients}, {'not the set that was' if both_own else 'never'} trained on"


def _limits(data: Mapping[str, Any]) -> str:
    if "training_pairs_sha256" in data:
        return (
            "It knows the camera, the reconstruction and the\npatients of its training; nothing else has been measured."
        )
    return (
        "One camera model, one reconstruction, one tracer and\nbodies drawn from one population; nothing else has been "
        "measured."
    )
