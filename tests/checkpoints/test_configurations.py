"""The configuration beside a checkpoint says what no tensor tells, and what nobody says is never kept quiet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from golden_bridge import needs_golden
from PIL import Image
from places import GOLDEN
from safetensors.torch import load_file

from bench.matrix.checkpoints import MAKERS
from spectac_fast.checkpoints import layouts
from spectac_fast.checkpoints.configurations.reading import read_configuration
from spectac_fast.checkpoints.settings import Settings
from spectac_fast.checkpoints.weights import load_weights
from spectac_fast.cli import main
from spectac_fast.diffusion.vp import VPProcess
from spectac_fast.diffusion.vp_solvers import vp_table
from spectac_fast.errors import InputError, UsageError
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


# Of every layout one, and of bridges and diffusions one whose timesteps are fewer than the published steps; with short
# schedules, so that a correction by what nobody said takes a moment.
VARIANTS_TO_RUN = {
    "bbdm": {"num_timesteps": 12, "sample_step": 5, "model_channels": 32, "num_res_blocks": 1},
    "lbbdm": {"latent": True, "num_timesteps": 8, "sample_step": 4, "num_res_blocks": 1},
    "palette": {"n_timestep": 5, "res_blocks": 1},
    "ldm": {"rescaled": 2},
    "pix2pix": {"netG": "unet_128"},
    "cyclegan": {"netG": "resnet_6blocks"},
    "reggan": {},
    "unit": {},
}


@pytest.mark.parametrize("beside", [True, False], ids=["with its configuration", "without"])
@pytest.mark.parametrize("variant", VARIANTS_TO_RUN)
def test_a_correction_runs_after_every_import(tmp_path, capsys, variant, beside):
    """By its own defaults, without a flag: a list of steps that is longer than the schedule would end it."""
    layout = {"lbbdm": "bbdm"}.get(variant, variant)
    side = {"pix2pix": "128"}.get(variant, "16")
    checkpoint, configuration, _ = MAKERS[layout](VARIANTS_TO_RUN[variant], tmp_path)
    out, more = tmp_path / "model.safetensors", ["--config", str(configuration)] if beside else []
    if variant == "palette" and not beside:
        # The schedule of testing, of a thousand steps, is in no file.
        more = ["--set", "sampling.num_timesteps=7"]
    if variant == "ldm":
        more += ["--set", "defaults.steps=4"]
    common = ["--layout", layout, "--size", side, side, "-o", str(out)]
    assert main(["import", str(checkpoint), *common, *more]) == 0, capsys.readouterr().err
    expected = {"palette": 5 if beside else 7, "bbdm": 5 if beside else 12, "lbbdm": 4 if beside else 8}
    if variant in expected:
        assert load(out, device="cpu").defaults["steps"] == expected[variant]
    values = np.random.default_rng(0).integers(0, 255, (16, 16)).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    command = ["correct", "-i", str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), "-m", str(out), "--images"]
    assert main(command) == 0, capsys.readouterr().err
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert image.size == (16, 16)


def test_an_import_that_could_not_draw_its_samples_is_refused(tmp_path, capsys):
    checkpoint, _, _ = MAKERS["bbdm"]({"num_timesteps": 12, "sample_step": 5, "num_res_blocks": 1}, tmp_path)
    common = ["--layout", "bbdm", "-o", str(tmp_path / "out.safetensors")]
    for more in ("defaults.steps=200", "defaults.solver=unheard"):
        assert main(["import", str(checkpoint), *common, "--set", more]) == 2
        error = capsys.readouterr().err
        assert "its samples cannot be drawn as its settings say" in error
        assert error.count("\n") == 1
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("total", [2, 3, 10, 50, 51, 75, 100, 1000])
def test_steps_of_latent_diffusion_follow_its_timesteps(total):
    steps = layouts.layout("ldm").following({"process": {"num_timesteps": total}})["defaults.steps"]
    table = vp_table(VPProcess(total, "scaled_linear", 1.5e-3, 2e-2), steps, spacing="ldm")
    assert steps <= 50
    assert len(table) >= steps


def test_a_configuration_of_another_checkpoint_is_refused(tmp_path, capsys):
    (tmp_path / "other").mkdir()
    checkpoint, _, _ = MAKERS["bbdm"]({"num_res_blocks": 1}, tmp_path)
    _, other, _ = MAKERS["bbdm"]({"num_res_blocks": 2}, tmp_path / "other")
    command = ["import", str(checkpoint), "--layout", "bbdm", "-o", str(tmp_path / "out.safetensors"), "--config"]
    assert main([*command, str(other)]) == 2
    error = capsys.readouterr().err
    assert "says network.num_res_blocks 2, but the checkpoint's tensors 1" in error
    _, palette, _ = MAKERS["palette"]({}, tmp_path)
    assert main([*command, str(palette)]) == 2
    assert "expected the section model.BB.params" in capsys.readouterr().err


def test_files_of_latent_diffusion_without_a_conditioning_stage_want_to_be_told(tmp_path, capsys):
    checkpoint, _, _ = MAKERS["ldm"]({"identity": True}, tmp_path)
    common = ["--layout", "ldm", "--size", "16", "16", "-o", str(tmp_path / "out.safetensors")]
    assert main(["import", str(checkpoint), *common]) == 2
    assert "set rescaler, null for the first stage" in capsys.readouterr().err
    assert main(["import", str(checkpoint), *common, "--set", "rescaler=null"]) == 0


YAML = """
model: !!python/object:argparse.Namespace
  levels: !!python/tuple [1, 4, 8]
  device: !!python/object/apply:torch.device [cpu]
  name: !!python/name:builtins.print ''
"""
OPTIONS = """----------------- Options ---------------
               batch_size: 1
                    beta1: 0.5                           \t[default: 0.9]
               no_dropout: True                          \t[default: False]
                     netG: resnet_9blocks
                   suffix:
----------------- End -------------------
"""


def test_configurations_are_read_and_never_run(tmp_path):
    for name, text, expected in (
        ("a.yaml", YAML, {"model": {"levels": [1, 4, 8], "device": ["cpu"], "name": ""}}),
        ("a.json", '{"a": 1, // one\n "b": [2]}', {"a": 1, "b": [2]}),
        ("b.json", '{"address": "https://somewhere"}', {"address": "https://somewhere"}),
        (
            "train_opt.txt",
            OPTIONS,
            {"batch_size": 1, "beta1": 0.5, "no_dropout": True, "netG": "resnet_9blocks"},
        ),
    ):
        (tmp_path / name).write_text(text)
        found = read_configuration(tmp_path / name)
        assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(("name", "content", "said"), [
    ("a.yaml", b"a: [1", "cannot be read as YAML at line"),
    ("a.yaml", b"a: &a [*a]", ""),
    ("a.json", b"{1", "cannot be read as JSON"),
    ("a.json", b"[]", "expected named options, found none"),
    ("a.txt", b"nothing here", "expected named options, found none"),
    ("a.toml", b"a = 1", "expected a file that ends in"),
    ("a.yaml", b"\xff\xfe", "cannot be read as text"),
    ("a.yaml", b"a: " + b"x" * 2**20, "expected at most"),
])  # fmt: skip
def test_damaged_configurations_end_in_a_sentence(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    if not said:
        assert read_configuration(tmp_path / name)["a"]
        return
    with pytest.raises(InputError, match=said) as caught:
        read_configuration(tmp_path / name)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="does not exist"):
        read_configuration(tmp_path / "gone.yaml")


def test_what_is_said_later_wins_and_what_follows_does_not():
    settings = Settings({"size": [64, 64], "a": {"heads": 8, "width": 32}}, {"a.heads": "nobody knows", "size": "why"})
    settings.configure({"a.heads": 4, "a.width": 32, "b.more": {"c": 1}}, "the configuration x")
    settings.follow({"size": [16, 16], "a.heads": 1})
    assert settings.config == {"size": [16, 16], "a": {"heads": 4, "width": 32}, "b": {"more": {"c": 1}}}
    assert list(settings.assumptions()) == ["assumed size=[16, 16]: why"]
    settings.command("a", None)
    assert settings.by_origin() == {"assumed": ["size"], "command": ["a"], "configuration": ["b.more.c"]}
    with pytest.raises(UsageError, match=r"NAME among size, a, b\.more\.c"):
        settings.command("a.heads", 2)
    contradicted = Settings({"width": 32}, {})
    with pytest.raises(InputError, match="x says width 64, but the checkpoint's tensors 32"):
        contradicted.configure({"width": 64}, "x")


@pytest.mark.parametrize(("layout", "names", "said"), [
    ("reggan", ["offset_map.down.0.weight"], "is a registration network"),
    ("cyclegan", ["model.4.filt", "model.10.conv_block.1.weight"], "is antialiased"),
    ("vqgan", ["encoder.conv_in.weight", "quant_conv.weight"], "is a KL autoencoder"),
    ("bbdm", ["denoise_fn.middle_block.1.transformer_blocks.0.norm1.weight"], "use_spatial_transformer"),
])  # fmt: skip
def test_kinds_that_there_are_not_are_named(layout, names, said):
    with pytest.raises(InputError, match=said) as caught:
        layouts.layout(layout).read({name: torch.zeros(4, 4, 1, 1) for name in names}, "file")
    assert str(caught.value).startswith("file ")
