"""vq_nearest on every back end against float64 distances, ties and values that are not numbers included."""

from __future__ import annotations

import json

import pytest
import torch
from places import GOLDEN
from safetensors.torch import load_file
from torch._subclasses import FakeTensorMode
from torch.library import opcheck

from spectac_fast._op import Op
from spectac_fast.ops import vq_nearest

FOLDER = GOLDEN / "taming_vq_f4"
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
NAN, INF = float("nan"), float("inf")


def draw(device, shape=(2, 4, 5, 7), codes=200, *, dtype=torch.float32, book_dtype=torch.float32, last=False):
    """Fresh random arguments; outputs hold what no search would leave there."""
    z = torch.randn(shape, device=device).to(dtype)
    z = z.to(memory_format=torch.channels_last) if last else z
    codebook = torch.randn(codes, shape[1], device=device).to(book_dtype)
    index = torch.full((*shape[:1], *shape[2:]), -1, device=device)
    code = torch.full_like(z, 777.0, dtype=book_dtype)
    return {"z": z, "codebook": codebook, "index": index, "code": code}


def distances(call):
    """float64 [tokens, N]."""
    tokens = call["z"].double().cpu().movedim(1, -1).reshape(-1, call["z"].shape[1])
    return (tokens[:, None] - call["codebook"].double().cpu()[None]).square().sum(-1)


def assert_nearest(call, index, code):
    """No code is nearer by more than the rounding of two distances, and almost every index is the exact one."""
    exact = distances(call)
    at = index.flatten().cpu()
    least = exact.amin(1)
    allowed = 2 * (call["z"].shape[1] + 3) * 2.0**-23
    assert (exact.gather(1, at[:, None])[:, 0] <= least * (1 + allowed)).all()
    assert (at != exact.argmin(1)).double().mean() < 1e-2
    assert torch.equal(code.movedim(1, -1), call["codebook"][index])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("book_dtype", DTYPES, ids=str)
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
def test_finds_the_nearest(backend, device, dtype, book_dtype, last):
    call = draw(device, dtype=dtype, book_dtype=book_dtype, last=last)
    index, code = vq_nearest(**call, backend=backend)
    assert index is call["index"]
    assert code is call["code"]
    assert_nearest(call, index, code)


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5, 8, 64, 256])
@pytest.mark.parametrize("codes", [1, 63, 129])
def test_any_dimension_and_number_of_codes(backend, device, dim, codes):
    call = draw(device, (1, dim, 3, 3), codes)
    assert_nearest(call, *vq_nearest(**call, backend=backend))


@pytest.mark.parametrize("shape", [(7, 4), (2, 4, 9), (1, 4, 2, 3, 2), (1, 4, 1, 1)], ids=str)
def test_any_number_of_positions(backend, device, shape):
    call = draw(device, shape)
    assert_nearest(call, *vq_nearest(**call, backend=backend))


def test_far_from_the_origin_the_nearest_is_still_found(backend, device):
    """Here |z|^2 + |e|^2 - 2 z.e is rounding only."""
    call = draw(device, codes=500)
    call["z"] = call["z"] + 4096
    call["codebook"] = call["codebook"] + 4096
    assert_nearest(call, *vq_nearest(**call, backend=backend))


@pytest.mark.parametrize("dim", [4, 16])
def test_the_lowest_index_wins_a_tie(backend, device, dim):
    """Small integers: every distance is exact, and many are equal."""
    codebook = torch.randint(-2, 3, (400, dim), device=device).float()
    codebook[300:] = codebook[:100]
    z = torch.randint(-2, 3, (64, dim), device=device).float()
    index, _ = vq_nearest(z, codebook, backend=backend)
    exact = distances({"z": z, "codebook": codebook})
    lowest = (exact == exact.amin(1, keepdim=True)).int().argmax(1)
    first = torch.where(exact == exact.amin(1, keepdim=True), torch.arange(400), 400).amin(1)
    assert torch.equal(lowest, first)
    assert torch.equal(index.cpu(), first)


@pytest.mark.parametrize("value", [NAN, INF, -INF, 1e30])
def test_a_token_near_to_nothing_has_index_0_and_code_nan(backend, device, value):
    call = draw(device)
    call["z"][1, 2, 3, 4] = value
    index, code = vq_nearest(**call, backend=backend)
    assert index[1, 3, 4] == 0
    assert code[1, :, 3, 4].isnan().all()
    assert code.isnan().sum() == 4
    call["z"][1, 2, 3, 4] = 0.0
    again = draw(device) | {name: call[name] for name in ("z", "codebook")}
    same, _ = vq_nearest(**again, backend=backend)
    assert (same != index).sum() <= 1


@pytest.mark.parametrize("book_dtype", DTYPES, ids=str)
def test_a_code_with_nan_is_near_to_nothing(backend, device, book_dtype):
    call = draw(device, codes=70, book_dtype=book_dtype)
    call["codebook"][::2, 1] = NAN
    index, code = vq_nearest(**call, backend=backend)
    assert (index % 2 == 1).all()
    assert code.isfinite().all()
    call["codebook"][:] = NAN
    index, code = vq_nearest(**call, backend=backend)
    assert (index == 0).all()
    assert code.isnan().all()


@pytest.mark.parametrize("shape", [(0, 4, 3, 3), (2, 4, 0, 3)], ids=str)
def test_empty(backend, device, shape):
    index, code = vq_nearest(torch.zeros(shape, device=device), torch.zeros(5, 4, device=device), backend=backend)
    assert index.shape == (shape[0], *shape[2:])
    assert code.shape == shape


def test_any_other_layout_is_served(backend, device):
    call = draw(device)
    index, code = vq_nearest(**call, backend=backend)
    strided = {"z": call["z"].mT.contiguous().mT, "codebook": call["codebook"].T.contiguous().T}
    found = vq_nearest(**strided, backend=backend)
    assert torch.equal(found[0], index)
    assert torch.equal(found[1], code)


def test_a_token_depends_neither_on_its_batch_nor_on_the_threads():
    call = draw(torch.device("cpu"), (6, 4, 16, 16), 1000)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(vq_nearest(call["z"], call["codebook"])[0])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    assert torch.equal(vq_nearest(call["z"][2:3, :, 3:5, 1:2], call["codebook"])[0], results[0][2:3, 3:5, 1:2])


@pytest.mark.skipif(not FOLDER.is_dir(), reason="no golden data: set SPECTAC_GOLDEN to its folder")
def test_the_published_quantiser_chose_the_same(backend, device):
    io = load_file(FOLDER / "io.safetensors")
    state = load_file(FOLDER / "state_dict.safetensors")
    assert json.loads((FOLDER / "config.json").read_text())["variant"] == "taming_vq_f4"
    z = io["h"].to(device)
    index, code = vq_nearest(z, state["quantize.embedding.weight"].to(device), backend=backend)
    assert torch.equal(index.flatten().cpu(), io["indices"].flatten())
    assert torch.equal((z + (code - z)).cpu(), io["quant"])


def test_opcheck_on_every_sample(device):
    op = Op._all["vq_nearest"]
    for call in op.samples(device):
        captured = []
        run_through = op.default
        op.default = lambda *args, captured=captured: captured.append(args)
        try:
            vq_nearest(**call)
        finally:
            op.default = run_through
        opcheck(op.default, captured[0])


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
def test_compiles_without_a_graph_break(device, last):
    call = draw(device, last=last)
    z, codebook = call["z"], call["codebook"]
    compiled = torch.compile(vq_nearest, fullgraph=True, backend="aot_eager")(z, codebook)
    eager = vq_nearest(z, codebook)
    assert torch.equal(eager[0], compiled[0])
    assert torch.equal(eager[1], compiled[1])
    assert eager[1].stride() == compiled[1].stride() == z.stride()


@pytest.mark.parametrize("where", ["meta", "cpu"])
def test_shapes_propagate_without_data(where):
    with FakeTensorMode(allow_non_fake_inputs=True):
        call = draw(torch.device(where), last=True, book_dtype=torch.float16)
        index, code = vq_nearest(call["z"], call["codebook"])
    assert index.shape == (2, 5, 7)
    assert code.is_contiguous(memory_format=torch.channels_last)
    assert (code.dtype, code.device.type) == (torch.float16, where)


@pytest.mark.parametrize("name", ["z", "codebook"])
def test_it_refuses_to_lose_a_gradient(device, name):
    call = draw(device)
    call[name].requires_grad_()
    with pytest.raises(RuntimeError, match="has no gradient"):
        vq_nearest(**call)
    with torch.no_grad():
        vq_nearest(**call)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"z": torch.zeros(4)}, ValueError, r"z must be \[B, D, ...\], found shape \[4\]"),
        ({"z": torch.zeros(2, 4, 5, 7, dtype=torch.float64)}, TypeError, "z must be float32 or .*, found float64"),
        ({"codebook": torch.zeros(9, 3)}, ValueError, r"codebook must have shape \[9, 4\], found \[9, 3\]"),
        ({"codebook": torch.zeros(0, 4)}, ValueError, r"codebook must be \[N, D\] with .*, found shape \[0, 4\]"),
        ({"codebook": torch.zeros(4)}, ValueError, r"codebook must be \[N, D\] with .*, found shape \[4\]"),
        ({"codebook": torch.zeros(9, 4, dtype=torch.int64)}, TypeError, "codebook must be .*, found int64"),
        ({"codebook": torch.zeros(9, 4, device="meta")}, ValueError, "codebook must be on cpu like z, found meta"),
        ({"index": torch.zeros(2, 5, 7)}, TypeError, "index must be int64, found float32"),
        ({"index": torch.zeros(2, 7, 5, dtype=torch.int64).mT}, ValueError, "index must be contiguous"),
        ({"code": torch.zeros(2, 4, 5, 6)}, ValueError, r"code must have shape \[2, 4, 5, 7\]"),
        ({"code": torch.zeros(2, 4, 5, 7, dtype=torch.float16)}, TypeError, "code must be float32, found float16"),
        ({"code": torch.zeros(2, 4, 7, 5).mT}, ValueError, "code must be laid out like z"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_what_is_wrong_is_said(change, error, message):
    with pytest.raises(error, match=message):
        vq_nearest(**(draw(torch.device("cpu")) | change))


def test_shared_memory_is_refused():
    call = draw(torch.device("cpu"))
    with pytest.raises(ValueError, match="code must not share memory with z"):
        vq_nearest(**call | {"code": call["z"]})
