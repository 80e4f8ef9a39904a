"""The configuration beside a checkpoint says what no tensor tells, and what nobody says is never kept quiet."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from golden_bridge import needs_golden
from places import GOLDEN
from safetensors.torch import load_file

from spectac_fast.checkpoints.weights import load_weights
from spectac_fast.cli import main
from spectac_fast.models.registry import load

HEADS = GOLDEN / "bbdm_heads"
VARIANTS = (
    "w32_template", "head_channels_16", "num_heads_4", "new_attention_order", "T100", "max_var_third",
    "template_l1_train",
)  # fmt: skip
# Without the template, what the heads of these are cannot be known, and the guess is another.
UNKNOWABLE = ("head_channels_16", "num_heads_4", "new_attention_order", "T100", "max_var_third", "template_l1_train")


def imported(variant: str, out: Path, *more: str) -> Path:
    path = out / f"{variant}.safetensors"
    common = ["--layout", "bbdm", "--size", "16", "16", "--fit", "pad", "-o", str(path)]
    assert main(["import", str(HEADS / variant / "checkpoint.pth"), *common, *more]) == 0
    return path


@needs_golden
@pytest.mark.parametrize("variant", VARIANTS)
def test_with_its_template_a_checkpoint_comes_out_right(variant, tmp_path, capsys):
    """The network at a timestep, and every slice after the published number of steps, by the shipped command."""
    translator = load(imported(variant, tmp_path, "--config", str(HEADS / variant / "template.yaml")), device="cpu")
    said = capsys.readouterr()
    assert "network.num_head_channels" in said.out.split("from the configuration: ")[1].split("\n")[0]
    assert "num_head_channels" not in said.err
    io = load_file(HEADS / variant / "io.safetensors")
    with torch.no_grad():
        unet = translator.engine(io["x"], io["t"], io["y"])
    assert float((unet - io["unet"]).abs().max()) < 1e-5 * float(io["unet"].abs().max())
    final = translator.translate(io["y"], io["seeds"])
    assert float((final - io["final"]).abs().max()) < 1e-4 * float(io["final"].abs().max())
    sampler = translator.sampler(translator.evaluations(None, None), None, None, None)
    assert list(sampler.table.t) == io["steps"].tolist()


@needs_golden
@pytest.mark.parametrize("variant", VARIANTS)
def test_without_its_template_the_heads_are_said_to_be_a_guess(variant, tmp_path, capsys):
    path = imported(variant, tmp_path)
    assert "assumed network.num_head_channels=64" in capsys.readouterr().err
    assert "network.num_head_channels" in load_weights(path)[1]["card"]["origin"]["assumed"]
    translator, io = load(path, device="cpu"), load_file(HEADS / variant / "io.safetensors")
    with torch.no_grad():
        unet = translator.engine(io["x"], io["t"], io["y"])
    right = float((unet - io["unet"]).abs().max()) < 1e-5 * float(io["unet"].abs().max())
    assert right == (variant not in UNKNOWABLE)
    assert main(["info", str(path)]) == 0
    assert "num_head_channels 64 (assumed)" in capsys.readouterr().out
