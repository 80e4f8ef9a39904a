"""Checkpoints of others are read without running anything in them."""

from __future__ import annotations

import collections
import os
import pickle
import sys
import types

import pytest
import torch
from safetensors.torch import save_file

from spectac_fast.checkpoints.layouts import flat_state
from spectac_fast.checkpoints.pickles import read_checkpoint
from spectac_fast.errors import InputError

STATE = {
    "a.weight": torch.randn(3, 4),
    "a.half": torch.randn(5).half(),
    "a.brain": torch.randn(5).bfloat16(),
    "a.count": torch.tensor(7),
    "a.flag": torch.tensor([True, False]),
    "a.view": torch.arange(24.0).view(4, 6)[1:3, ::2],
}


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert torch.equal(found[name], value), name


class Trap:
    """Creates a file when it is unpickled by anything but a careful reader."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


@pytest.fixture
def lightning(monkeypatch):
    """Classes as Lightning and OmegaConf files name them, gone again before the file is read."""
    module = types.ModuleType("pytorch_lightning.callbacks")

    class ModelCheckpoint:
        def __init__(self):
            self.best = torch.tensor(1.0)

    class Settings(dict):
        pass

    for made in (ModelCheckpoint, Settings):
        made.__module__, made.__qualname__ = module.__name__, made.__name__
        setattr(module, made.__name__, made)
    monkeypatch.setitem(sys.modules, "pytorch_lightning", types.ModuleType("pytorch_lightning"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_plain_and_nested_state_dicts(tmp_path):
    torch.save(STATE, tmp_path / "plain.pth")
    same(read_checkpoint(tmp_path / "plain.pth"), STATE)
    torch.save({"a": STATE, "b": {"c": STATE}, "epoch": 3, "name": "x"}, tmp_path / "nested.pt")
    found = read_checkpoint(tmp_path / "nested.pt")
    assert found.keys() == {"a", "b"}
    same(found["b"]["c"], STATE)
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    same(read_checkpoint(tmp_path / "old.pth"), STATE)
    save_file({k: v.contiguous() for k, v in STATE.items()}, tmp_path / "s.safetensors")
    same(read_checkpoint(tmp_path / "s.safetensors"), STATE)


def test_lightning_files_are_read_without_lightning(tmp_path, lightning, monkeypatch):
    parameters = {name: torch.nn.Parameter(value) for name, value in STATE.items() if value.is_floating_point()}
    content = {
        "state_dict": collections.OrderedDict(parameters),
        "callbacks": {lightning.ModelCheckpoint: {"best": lightning.ModelCheckpoint()}},
        "hyper_parameters": lightning.Settings(lr=1e-4, sizes=[1, 2]),
        "counts": collections.defaultdict(list, {"a": [1]}),
        "epoch": 5,
    }
    path = tmp_path / "last.ckpt"
    torch.save(content, path)
    monkeypatch.delitem(sys.modules, lightning.__name__)
    monkeypatch.delitem(sys.modules, "pytorch_lightning")
    found = read_checkpoint(path)
    assert lightning.__name__ not in sys.modules
    same(found["state_dict"], {name: value.detach() for name, value in parameters.items()})


@pytest.mark.parametrize("inside", ["alone", "state", "beside Lightning"])
def test_code_is_refused_and_never_run(tmp_path, lightning, inside):
    trap, path = Trap(tmp_path / "sprung"), tmp_path / "trap.ckpt"
    content = {
        "alone": trap,
        "state": {"a": torch.zeros(1), "b": trap},
        "beside Lightning": {"state_dict": STATE, "callbacks": lightning.ModelCheckpoint(), "more": [trap]},
    }[inside]
    torch.save(content, path)
    with pytest.raises(InputError, match=r"trap\.ckpt is refused: it names builtins\.exec") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("named", [os.system, getattr, torch.hub.load, pickle.loads, torch.load])
def test_functions_are_refused_by_name(tmp_path, named):
    torch.save({"a": torch.zeros(1), "b": named}, tmp_path / "f.pth")
    with pytest.raises(InputError, match=r"f\.pth is refused: it names"):
        read_checkpoint(tmp_path / "f.pth")


def test_plain_pickles_text_and_halves_are_refused(tmp_path):
    torch.save(STATE, tmp_path / "whole.pth")
    data = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "half.pth").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.pth").write_text("not a checkpoint\n" * 40)
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "trap.pth").write_bytes(pickle.dumps({"a": Trap(tmp_path / "sprung")}))
    (tmp_path / "half.safetensors").write_bytes(data[:64])
    for name in ("half.pth", "text.pth", "empty.pth", "trap.pth", "half.safetensors", "missing.pth"):
        with pytest.raises(InputError, match=name) as caught:
            read_checkpoint(tmp_path / name)
        assert "\n" not in str(caught.value)
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(InputError, match="must hold named tensors, found list"):
        read_checkpoint(tmp_path / "list.pth")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.filterwarnings("ignore:TypedStorage")
def test_views_beyond_their_storage_are_refused(tmp_path, lightning):
    """A forged size must not read other memory."""

    class Forged:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (torch.zeros(4).storage(), 2, (64,), (1,), False, {})

    torch.save({"a": Forged(), "b": lightning.ModelCheckpoint()}, tmp_path / "forged.ckpt")
    with pytest.raises(InputError, match=r"forged\.ckpt cannot be read"):
        read_checkpoint(tmp_path / "forged.ckpt")


def test_averages_wrappers_and_nesting():
    raw, mean = torch.zeros(2), torch.ones(2)
    runner = {"model": {"net.w": raw, "net.buffer": raw}, "ema": {"net.w": mean}}
    for average, expected, used in ((None, mean, True), (True, mean, True), (False, raw, False)):
        state, averaged = flat_state(runner, average, "f")
        assert averaged is used
        same(state, {"net.w": expected, "net.buffer": raw})
    state, averaged = flat_state({"state_dict": {"model.d.w": raw, "model_ema.dw": mean, "x.v": raw}}, None, "f")
    assert averaged
    same(state, {"model.d.w": mean, "x.v": raw})
    state, averaged = flat_state({"a": {"module.w": raw}, "_orig_mod": {"b.module.w": mean}}, None, "f")
    assert not averaged
    same(state, {"a.w": raw, "b.w": mean})
    with pytest.raises(InputError, match="f holds no averaged weights"):
        flat_state({"w": raw}, True, "f")
    with pytest.raises(InputError, match="two tensors named w"):
        flat_state({"w": raw, "module": {"w": raw}}, None, "f")
    with pytest.raises(InputError, match="f holds no tensors"):
        flat_state({}, None, "f")
