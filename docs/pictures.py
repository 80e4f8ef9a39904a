"""Draws the pictures of the concept pages from the package itself: python docs/pictures.py FOLDER."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from textwrap import fill

import matplotlib as mpl
import torch
from matplotlib import pyplot as plt

import spectac_fast as sf
from spectac_fast.data import demo
from spectac_fast.data.scale import count_scale
from spectac_fast.diffusion.sampler import run_table
from spectac_fast.diffusion.solvers import COLUMNS
from spectac_fast.ops import SAMPLING, counter_normal

ROOMS = Path(__file__).with_name("rooms.json")
INK, WARM = "#1f2a37", "#c2571a"
mpl.rcParams |= {
    "svg.hashsalt": "spectac_fast", "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif",
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.edgecolor": "#9aa5b1", "figure.facecolor": "white",
}  # fmt: skip


def demo_slices() -> torch.Tensor:
    """A short-axis slice of the bundled study and its neighbours, [1, 5, 64, 64] in model units."""
    with tempfile.TemporaryDirectory() as folder:
        demo.unpack(Path(folder))
        series = next(s for s in sf.read_study(folder).series if s.plane == "SA" and s.phase == "stress")
    counts = torch.as_tensor(series.counts)
    middle = len(counts) // 2
    order = [middle, middle - 2, middle - 1, middle + 1, middle + 2]
    return counts[order][None] / count_scale(series.counts, series.spacing_mm) * 2 - 1


def draw_bridge(path: Path) -> None:
    """From NC to AC: what the network sees, and what it says, at each of six evaluations."""
    model, states = sf.load("bbdm", "cpu"), []
    end, context = model.model.start(demo_slices())
    table = sf.solver_table(model.model.bridge, 6)
    run_table(
        model.engine, end, table, context=context, seeds=torch.tensor([7]),
        callback=lambda info: states.append((info["t"], info["x"][0, 0].clone(), info["denoised"][0, 0].clone())),
    )  # fmt: skip
    figure, axes = plt.subplots(2, len(states), figsize=(8.4, 3.2), layout="compressed")
    for column, (t, x, denoised) in zip(axes.T, states):
        for axis, image in zip(column, (x, denoised)):
            axis.imshow(image[12:52, 12:52], vmin=-1, vmax=1, cmap="inferno")
            axis.set(xticks=[], yticks=[])
        column[0].set_title(f"t = {t}")
    axes[0, 0].set_ylabel("state $x_t$")
    axes[1, 0].set_ylabel("prediction of AC")
    _save(figure, path)


def draw_table(path: Path) -> None:
    """The numbers of a six-step table."""
    table = sf.solver_table(sf.BrownianBridge(max_var=0.05), 6)
    rows, last = table.rows, len(table) - 1
    figure, axis = plt.subplots(figsize=(8.4, 2.5), layout="compressed")
    axis.imshow(rows, cmap="PuOr", vmin=-2, vmax=2, aspect="auto")
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            unused = j > 2 if i == last else False
            text = "" if unused else f"{value:.3g}" if value else "·"
            axis.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if abs(value) > 1.3 else INK)
    axis.set_xticks(range(len(COLUMNS)), COLUMNS)
    axis.set_yticks(range(len(table)), [f"t = {t}" for t in table.t])
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    _save(figure, path)


def draw_noise(path: Path) -> None:
    """One slice's noise alone, in a batch of others, and at another step."""
    alone = counter_normal(torch.tensor([7]), (1, 24, 24), step=3, purpose=SAMPLING)[0, 0]
    among = counter_normal(torch.tensor([5, 1, 7, 9]), (1, 24, 24), step=3, purpose=SAMPLING)[2, 0]
    later = counter_normal(torch.tensor([7]), (1, 24, 24), step=4, purpose=SAMPLING)[0, 0]
    assert torch.equal(alone, among)
    panels = {
        "seed 7, step 3": alone, "seed 7, step 3, third of four": among, "their difference": alone - among,
        "seed 7, step 4": later,
    }  # fmt: skip
    figure, axes = plt.subplots(1, len(panels), figsize=(8.4, 2.4), layout="compressed")
    for axis, (title, image) in zip(axes, panels.items()):
        axis.imshow(image, cmap="gray", vmin=-3, vmax=3)
        axis.set(title=title, xticks=[], yticks=[])
    _save(figure, path)


def draw_levels(path: Path) -> None:
    """Mean and spread of the bridge, and where six evaluations fall."""
    bridge = sf.BrownianBridge(max_var=0.05)
    figure, axis = plt.subplots(figsize=(8.4, 2.6), layout="compressed")
    t = range(len(bridge.m))
    spread = bridge.variance**0.5
    axis.plot(t, bridge.m, color=INK)
    axis.fill_between(t, bridge.m - spread, bridge.m + spread, color=WARM, alpha=0.3, lw=0)
    for node in sf.solver_table(bridge, 6).t:
        axis.axvline(node, color=WARM, lw=1, ls=":")
    axis.set(xlabel="timestep t", ylabel="share of NC, ± spread", xlim=(0, 999), yticks=[0, 0.5, 1])
    axis.text(8, 0.9, "AC", weight="bold")
    axis.text(985, 0.05, "NC", weight="bold", ha="right")
    _save(figure, path)


def draw_house(path: Path) -> None:
    """The rooms and who imports whom; what follows from other arrows is left out."""
    rooms = {name: room for name, room in json.loads(ROOMS.read_text())["rooms"].items() if not name.startswith("_")}
    needs = {name: {other for other in room["imports"] if other in rooms} for name, room in rooms.items()}
    floors: dict[str, int] = {}
    while len(floors) < len(rooms):
        ready = [name for name in rooms if name not in floors and needs[name] <= floors.keys()]
        floors |= {name: 1 + max((floors[other] for other in needs[name]), default=-1) for name in ready}
    arrows = {name: needed - _reached(needs, needed) for name, needed in needs.items()}
    figure, axis = plt.subplots(figsize=(8.4, 6.4), layout="compressed")
    axis.set(xlim=(0, 1), ylim=(-0.5, max(floors.values()) + 0.5))
    across: dict[str, float] = {}
    boxes = {}
    for floor in range(max(floors.values()), -1, -1):
        # Below what imports them, so that few arrows cross.
        above = {name: [across[user] for user in across if name in arrows[user]] for name in rooms}
        on_it = sorted((n for n in rooms if floors[n] == floor), key=lambda n: sum(above[n]) / max(len(above[n]), 1))
        across |= {name: (k + 0.5) / len(on_it) for k, name in enumerate(on_it)}
    for name, x in across.items():
        box = {"boxstyle": "round,pad=0.4", "facecolor": "#f4f6f8", "edgecolor": INK, "linewidth": 0.8}
        text = f"{name}\n{fill(rooms[name]['holds'], 20)}"
        boxes[name] = axis.text(x, floors[name], text, ha="center", va="center", fontsize=7, bbox=box, zorder=2)
    figure.canvas.draw()
    for name, needed in arrows.items():
        for other in sorted(needed):
            ends = {"patchA": boxes[name].get_bbox_patch(), "patchB": boxes[other].get_bbox_patch()}
            axis.annotate(
                "", (across[other], floors[other]), (across[name], floors[name]), zorder=1,
                arrowprops={"arrowstyle": "->", "color": "#9aa5b1", "shrinkB": 3, **ends},
            )  # fmt: skip
    axis.axis("off")
    _save(figure, path)


def _reached(needs: dict[str, set[str]], names: set[str]) -> set[str]:
    """What the rooms `names` import, and what these do, and so on."""
    found: set[str] = set()
    for name in names:
        found |= needs[name] | _reached(needs, needs[name])
    return found


def _save(figure: plt.Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    draw_bridge(folder / "bridge.svg")
    draw_levels(folder / "levels.svg")
    draw_table(folder / "table.svg")
    draw_noise(folder / "noise.svg")
    draw_house(folder / "house.svg")
