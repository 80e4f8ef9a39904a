"""Recorded runs of the published implementations: where they are, how they are read and compared."""

from __future__ import annotations

import json

import pytest
import torch
from places import GOLDEN
from safetensors.torch import load_file

from spectac_fast.checkpoints import layouts
from spectac_fast.checkpoints.weights import fill
from spectac_fast.diffusion.sampler import sample_bridge
from spectac_fast.diffusion.solvers import solver_table
from spectac_fast.models.methods import bbdm, cpdm, lbbdm

needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no golden data: set SPECTAC_GOLDEN to its folder")


def relative(found, expected):
    """Largest difference as a share of the largest expected value; NaN compares as infinitely wrong."""
    difference = (found - expected).abs().max() / expected.abs().max()
    return float(difference) if torch.isfinite(difference) else float("inf")


class GoldenBridge:
    """A variant of a bridge: its configuration, numbers, and our model filled with its weights by the importer."""

    def __init__(self, variant):
        self.folder = GOLDEN / variant
        self.config = json.loads((self.folder / "config.json").read_text())
        self.io = load_file(self.folder / "io.safetensors")
        state = load_file(self.folder / self.config["state_dict"] / "state_dict.safetensors")
        # One variant stores only the schedule it changes; its weights are another variant's.
        self.schedule = load_file(self.folder / "schedule.safetensors")
        state.update({k: v for k, v in self.schedule.items() if k in state})
        self.model = self.build(layouts.layout("cpdm" if variant == "cpdm" else "bbdm").read(state, variant))
        self.bridge = self.model.bridge

    def build(self, imported):
        """The model of an import, told what no shape tells."""
        published = self.config["model"]["BB"]["params"]
        imported.config["network"]["num_head_channels"] = published["UNetParams"]["num_head_channels"]
        imported.config["bridge"]["objective"] = published["objective"]
        model = {"bbdm": bbdm, "lbbdm": lbbdm, "cpdm": cpdm}[imported.model].model_of(imported.config)
        fill(model, {**model.bridge.buffers(), **imported.tensors}, str(self.folder))
        return model.eval()

    def shared(self, name):
        """The numbers of `unet` or `train`, which may lie in another variant's folder."""
        return load_file(self.folder / self.config[name] / f"{name}.safetensors")

    def table(self):
        return solver_table(
            self.bridge,
            self.config["sample_step"],
            solver="ancestral",
            eta=self.config["eta"],
            eta_mode="bbdm",
            spacing="reference",
            boot=False,
        )

    def check_schedule(self):
        """The six buffers and the step list."""
        for name, buffer in self.bridge.buffers().items():
            assert float((buffer - self.schedule[name]).abs().max()) <= 1e-6, name
        assert list(self.table().t) == self.schedule["steps"].tolist()

    def check_unet(self):
        """Outputs at every recorded t, and every block's activations at t = 0."""
        stored = self.shared("unet")
        x, context, net = stored["x"], stored.get("context"), self.model.denoise_fn
        seen = {}
        blocks = {f"input_blocks.{i}": b for i, b in enumerate(net.input_blocks)}
        blocks |= {f"output_blocks.{i}": b for i, b in enumerate(net.output_blocks)}
        blocks |= {"middle_block": net.middle_block}
        for name in [k for k in stored if k.startswith("out.")]:
            with torch.no_grad():
                found = self.model(x, torch.full((len(x),), int(name.removeprefix("out."))), context)
            assert relative(found, stored[name]) < 1e-5, name
        hooks = [
            block.register_forward_hook(lambda _m, _i, out, name=name: seen.__setitem__(name, out))
            for name, block in blocks.items()
        ]
        with torch.no_grad():
            self.model(x, torch.zeros(len(x), dtype=torch.long), context)
        for hook in hooks:
            hook.remove()
        expected = {k.removeprefix("block_acts_t0."): v for k, v in stored.items() if k.startswith("block_acts_t0.")}
        assert expected.keys() == seen.keys()
        for name, value in expected.items():
            assert relative(seen[name], value) < 1e-5, name

    def check_sampling(self, context, tolerance):
        """The whole trajectory with the recorded noise: every state, every prediction, the end."""
        states, predictions = [], []

        def keep(info):
            states.append(info["x"].clone())
            predictions.append(info["denoised"].clone())

        table, io = self.table(), self.io
        noise = io["noises"][list(table.noise_rows)]

        def denoiser(x, t, _):
            return self.model(x, t, context)

        final = sample_bridge(denoiser, io["y_latent"], table, noise=noise if len(noise) else None, callback=keep)
        for found, expected in (
            (torch.stack(states), io["x_path"][:-1]),
            (torch.stack(predictions), io["x0_path"]),
            (final, io["final"]),
        ):
            assert float((found - expected).abs().max()) < tolerance

    def check_decoder(self):
        """Codes and image of the recorded last state."""
        io, model = self.io, self.model
        with torch.no_grad():
            _, indices = model.vqgan.quantize(model.before_codebook(io["final"]))
        assert torch.equal(indices, io["vq_indices"])
        assert float((model.decode(io["final"]) - io["final_image"]).abs().max()) < 1e-4

    def check_training(self, context):
        """Noising, target, loss, estimate of x0 and gradients of one recorded training step."""
        stored, bridge, y = self.shared("train"), self.bridge, self.io["y_latent"]
        t, noise = stored["t"], stored["noise"]
        x_t, target = bridge.noised(stored["x0"], y, t, noise=noise)
        assert relative(x_t, stored["x_t"]) < 1e-5
        assert relative(target, stored["objective"]) < 1e-5
        self.model.zero_grad()
        output = self.model(x_t, t, context)
        loss = (target - output).abs().mean()
        loss.backward()
        assert relative(loss.detach(), stored["loss"]) < 1e-5
        assert relative(bridge.x0_from(output, x_t, y, t).detach(), stored["x0_recon"]) < 1e-5
        parameters = dict(self.model.named_parameters())
        for name in self.config["train_grads"]:
            key = next(k for k in stored if k.startswith("grads") and k.endswith(name.removeprefix("denoise_fn.")))
            assert relative(parameters[name].grad, stored[key]) < 1e-5, name
