"""Models as folders of the Hugging Face kind and as MONAI bundles, read back by those libraries' own tools."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys

import monai.bundle
import pydicom
import pytest
import torch
from huggingface_hub import ModelCard
from monai.bundle import ConfigWorkflow

import spectac_fast as sf
from spectac_fast.checkpoints.weights import load_weights, save_weights
from spectac_fast.correct import correct_files
from spectac_fast.data import demo
from spectac_fast.errors import InputError, SpectacError, UsageError
from spectac_fast.integrations.bundle import export_bundle
from spectac_fast.integrations.huggingface import PretrainedTranslator
from spectac_fast.models.names import find
from spectac_fast.outputs import NOTICE

NC = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(scope="module")
def expected():
    return sf.load("bbdm", "cpu").translate(NC)


def test_a_model_comes_back_from_its_folder(tmp_path, expected):
    PretrainedTranslator("bbdm", "cpu").save_pretrained(tmp_path / "one")
    again = PretrainedTranslator.from_pretrained(tmp_path / "one", device="cpu")
    again.save_pretrained(tmp_path / "two")
    for name in ("model.safetensors", "config.json", "README.md"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    plain = sf.load(tmp_path / "one", "cpu")
    assert isinstance(again, sf.Translator)
    assert again.weights_sha256 == plain.weights_sha256 == sf.load("bbdm", "cpu").weights_sha256
    assert torch.equal(again.translate(NC), expected)
    assert torch.equal(plain.translate(NC), expected)


def test_the_folder_says_what_it_holds(tmp_path):
    PretrainedTranslator("bbdm", "cpu").save_pretrained(tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.library_name == "spectac_fast"
    assert "not a medical device" in card.text
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model"] == "bbdm"
    assert config["config"]["gain"] == sf.load("bbdm", "cpu").gain


def test_a_model_without_a_card_gets_one(tmp_path):
    tensors, header = load_weights(find("bbdm"))
    save_weights(tmp_path / "mine.safetensors", tensors, "bbdm", header["config"], {"data": "fog"})
    PretrainedTranslator(tmp_path / "mine.safetensors", "cpu").save_pretrained(tmp_path / "folder")
    text = ModelCard.load(tmp_path / "folder" / "README.md").text
    assert "# Model card: mine" in text
    assert '"data": "fog"' in text
    assert "Limits" in text


def test_folders_that_are_not_whole_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no tensors to save, expected a \.safetensors file"):
        PretrainedTranslator("linear")
    PretrainedTranslator("bbdm", "cpu").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["config"]["gain"] = 1.0
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config\.json says something else than the header"):
        PretrainedTranslator.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="Expecting"):
        PretrainedTranslator.from_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match=r"lacks config\.json"):
        PretrainedTranslator.from_pretrained(tmp_path)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return export_bundle("bbdm", tmp_path_factory.mktemp("bundles") / "bbdm64")


def workflow(bundle, **override):
    files = {"config_file": str(bundle / "configs/inference.json"), "meta_file": str(bundle / "configs/metadata.json")}
    return ConfigWorkflow(**files, workflow_type="infer", bundle_root=str(bundle), **override)


def test_monai_finds_every_property_of_a_bundle(bundle):
    flow = workflow(bundle)
    flow.initialize()
    assert not flow.check_properties()
    assert (bundle / "LICENSE").read_text().strip().startswith("Apache License")
    assert "Model card" in (bundle / "docs/README.md").read_text()


def test_monai_verifies_and_loads_the_network(bundle, expected):
    slices = torch.zeros(1, 5, 64, 64)
    monai.bundle.verify_net_in_out(
        "network_def",
        meta_file=str(bundle / "configs/metadata.json"),
        config_file=str(bundle / "configs/inference.json"),
        device="cpu",
        extra_forward_args={"t": torch.tensor([999]), "context": slices},
    )
    network = monai.bundle.load(bundle.name, bundle_dir=bundle.parent, workflow_type="inference", device="cpu").eval()
    state = torch.load(bundle / "models/model.pt", weights_only=True)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    # The bundle's inferer with MONAI's copy of the network is the model; slices alone stand in for their neighbours.
    flow = workflow(bundle)
    flow.initialize()
    end, context = network.start(NC.expand(-1, 5, -1, -1))
    assert torch.equal(flow.inferer(end, network, condition=context), expected)


def test_a_bundle_corrects_studies(bundle, tmp_path):
    paths = demo.unpack(tmp_path / "input")
    nc = [path for path in paths if path.name == "stress_SA_NC.dcm"]
    arguments = {"dataset": [str(path) for path in nc], "output_dir": str(tmp_path / "out"), "device": "cpu"}
    flow = workflow(bundle, **arguments)
    flow.initialize()
    flow.run()
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 1
    (tmp_path / "broken.dcm").write_bytes(nc[0].read_bytes()[:3000])
    flow = workflow(bundle, **{**arguments, "dataset": [str(tmp_path / "broken.dcm")]})
    flow.initialize()
    with pytest.raises(RuntimeError) as caught:
        flow.run()
    assert isinstance(caught.value.__cause__, SpectacError)
    assert re.search(r"1 failed, first: .*broken\.dcm", str(caught.value.__cause__))


def test_the_documented_command_corrects_a_folder(repository, bundle, tmp_path):
    """Word for word, in the bundle's folder."""
    if importlib.util.find_spec("fire") is None:
        pytest.skip(
            "fire is not installed, without which MONAI has no command line (pip install 'spectac_fast[monai]')"
        )
    page = (repository / "docs/pages/guides/adapters.md").read_text()
    command = re.search(r"^python (-m monai\.bundle run .*)$", page, re.MULTILINE)[1]
    assert command in (repository / "spectac_fast/integrations/bundle.py").read_text()
    (source := tmp_path / "in").mkdir()
    (path,) = (path for path in demo.unpack(tmp_path / "all") if path.name == "rest_VLA_NC.dcm")
    path.rename(source / path.name)
    words = command.replace(" IN ", f" {source} ").replace(" OUT", f" {tmp_path / 'out'}").split()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(repository), *sys.path])}
    run = subprocess.run([sys.executable, *words], cwd=bundle, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (corrected,) = (tmp_path / "out").rglob("*.dcm")
    directly = tmp_path / "directly"
    correct_files([source], directly, sf.load("bbdm"))
    (expected,) = directly.rglob("*.dcm")
    assert pydicom.dcmread(corrected).PixelData == pydicom.dcmread(expected).PixelData


@pytest.mark.parametrize(
    "name",
    ["LICENSE", "configs/metadata.json", "configs/inference.json", "models/model.pt", "models/model.safetensors"],
)
def test_a_bundle_takes_no_place_of_other_things(tmp_path, name):
    taken = tmp_path / name
    taken.parent.mkdir(exist_ok=True)
    taken.write_bytes(b"what took somebody a year")
    with pytest.raises(UsageError, match="found one of another origin"):
        export_bundle("bbdm", tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [taken]
    assert taken.read_bytes() == b"what took somebody a year"


def test_a_bundle_is_made_again_in_its_folder(bundle, tmp_path):
    export_bundle("bbdm", tmp_path)
    for name in ("configs/inference.json", "configs/metadata.json"):
        (tmp_path / name).write_text(json.dumps({"notice": NOTICE}))
    export_bundle("bbdm", tmp_path)
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert made == {path.relative_to(bundle) for path in bundle.rglob("*") if path.is_file()}
    for path in made:
        assert path.suffix == ".pt" or (tmp_path / path).read_bytes() == (bundle / path).read_bytes()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "README.md"])
def test_a_saved_model_takes_no_place_of_other_things(tmp_path, name):
    (tmp_path / name).write_bytes(b'{"of": "others"}')
    model = PretrainedTranslator("bbdm", "cpu")
    if name == "README.md":
        # The hub's own tools leave it.
        model.save_pretrained(tmp_path)
    else:
        with pytest.raises(UsageError, match="found one of another origin"):
            model.save_pretrained(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b'{"of": "others"}'
    (tmp_path / name).unlink()
    for _ in range(2):
        model.save_pretrained(tmp_path)


def test_other_methods_make_no_bundle(tmp_path):
    with pytest.raises(InputError, match="a bundle is written of a 'bbdm'"):
        export_bundle("linear", tmp_path)
