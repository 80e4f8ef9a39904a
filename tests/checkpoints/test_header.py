"""What a weight file says of its model: a model, or one sentence before anything large is made of it."""

from __future__ import annotations

import copy
import json
import resource

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_bbdm import CONFIG, random_tensors

from spectac_fast.checkpoints.weights import load_header
from spectac_fast.errors import InputError
from spectac_fast.models.registry import load

HEADER = {"format": 1, "model": "bbdm", "config": CONFIG, "card": {"data": {"cases": 3}}}
_NESTED = "[" * 100_000 + "]" * 100_000
# What stands at a place of the header, in JSON.
ABSURD = (
    "NaN", "Infinity", "-Infinity", "1e308", "-1", "1000000000", "1e9", "0", "true", "null", "[]", "{}", '"x"', '""',
    "[[1]]", '{"a": [1, {}]}', "[1000000000, 1000000000]", "9" * 400, _NESTED, '{"a":' * 5000 + "1" + "}" * 5000,
)  # fmt: skip


@pytest.fixture(scope="module")
def tensors():
    torch.manual_seed(0)
    return random_tensors()


def places(value, way=()):
    """Every place in a header, the header itself left out."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*way, key)
        yield from places(each, (*way, key))


def with_text(way, text):
    """The header as JSON, with `text` at a place."""
    header = copy.deepcopy(HEADER)
    home = header
    for key in way[:-1]:
        home = home[key]
    home[way[-1]] = "HERE"
    return json.dumps(header).replace('"HERE"', text)


def outcome(path, tensors, header):
    """ "loaded", or "refused" in one sentence."""
    save_file(tensors, path, metadata={"spectac_fast": header})
    try:
        model = load(path, device="cpu")
        # What is loaded is a model: nothing of its description is first met when a study is corrected.
        model.translate(torch.zeros(1, 1, 16, 16))
    except InputError as reason:
        sentence = str(reason)
    else:
        return "loaded"
    assert str(path) in sentence
    assert sentence.isprintable()
    assert len(sentence) < len(str(path)) + 400
    return "refused"


@pytest.mark.parametrize(
    ("way", "text"),
    [
        (("config", "gain"), "NaN"),
        (("config", "gain"), "1e308"),
        (("config", "gain"), "0"),
        (("config", "gain"), '"3"'),
        (("config", "pixel_mm"), "Infinity"),
        (("config", "slice_mm"), "-6.8"),
        (("model",), "[]"),
        (("model",), "{}"),
        (("model",), "5"),
        (("config",), "[]"),
        (("config",), _NESTED),
        (("config",), '{"a":' * 100_000 + "1" + "}" * 100_000),
        (("card",), _NESTED),
        (("card",), '{"a":' * 400 + "1" + "}" * 400),
        (("card",), '"x"'),
        (("config", "network", "num_res_blocks"), "1000000000"),
        (("config", "network", "num_res_blocks"), "200"),
        (("config", "network", "model_channels"), "1000000000"),
        (("config", "network", "model_channels"), "60000"),
        (("config", "network", "channel_mult"), "[1, 9000, 9000]"),
        (("config", "network", "channel_mult"), str([1] * 100_000)),
        (("config", "network", "kind"), "[]"),
        (("config", "bridge", "num_timesteps"), "1000000000"),
        (("config", "bridge", "max_var"), "NaN"),
        (("config", "defaults", "steps"), "1e9"),
        (("config", "defaults", "steps"), "[1, 1]"),
        (("config", "defaults", "steps"), "{}"),
        (("config", "defaults", "samples"), "[1]"),
        (("config", "defaults", "samples"), "null"),
        (("config", "defaults", "order"), "[]"),
        (("config", "defaults", "eta"), "null"),
        (("config", "defaults", "eta"), "[[[]]]"),
        (("config", "defaults", "solver"), "[]"),
        (("config", "defaults", "solver"), "{}"),
        (("config", "defaults", "solver"), "true"),
        (("config", "defaults"), "null"),
        (("config", "network", "num_head_channels"), "0.5"),
        (("config", "bridge", "objective"), str([1] * 1000)),
        (("config", "size"), "[16]"),
        (("config", "size"), "[0, 16]"),
        (("config", "size"), "16"),
        (("config", "fit"), "7"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path, tensors, way, text):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert outcome(tmp_path / "x.safetensors", tensors, with_text(way, text)) == "refused"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20


@pytest.mark.parametrize("header", ["null", "[]", "5", '"x"', "{", _NESTED, '{"format": 1}', '{"format": "1"}', "\0"])
def test_what_is_no_header_is_one_sentence(tmp_path, tensors, header):
    path = tmp_path / "x.safetensors"
    assert outcome(path, tensors, header) == "refused"
    with pytest.raises(InputError):
        load_header(path)


def test_mutated_headers_are_loaded_or_refused(tmp_path, tensors):
    everywhere, ends = list(places(HEADER)), {"loaded": 0, "refused": 0}
    for seed in range(60):
        dice = np.random.default_rng([11, seed])
        way, text = everywhere[dice.integers(len(everywhere))], ABSURD[dice.integers(len(ABSURD))]
        try:
            ends[outcome(tmp_path / "x.safetensors", tensors, with_text(way, text))] += 1
        except Exception as error:
            raise AssertionError(f"{seed}: {text[:40]} at {way}: {error!r}"[:500]) from None
    assert ends["refused"] > 30, ends


@pytest.mark.parametrize(
    "content",
    [
        '{"gain": NaN}', '{"gain": 1e308}', '{"slope": "1"}', '{"model": []}', '{"card": 5}', '{"pixel_mm": 0}',
        '{"offset": true}',
    ],
)  # fmt: skip
def test_rows_are_looked_at_too(tmp_path, content):
    row = {"format": 1, "model": "same", "slope": 1, "offset": 0, "gain": 1, "pixel_mm": 6.8}
    path = tmp_path / "row.json"
    path.write_text(json.dumps(row | json.loads(content)))
    with pytest.raises(InputError, match=r"row\.json"):
        load(path)
    path.write_text(_NESTED)
    with pytest.raises(InputError, match=r"row\.json"):
        load(path)
