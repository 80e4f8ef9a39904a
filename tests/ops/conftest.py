"""The back ends of the operator that a file of tests is about."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import pytest
import torch
from emulation import emulated, why_not

from spectac_fast._op import BACKENDS, Op

# The CUDA kernels on a CPU stand for the compiled code.
EMULATED = "emulated"


@pytest.fixture(params=[*BACKENDS, EMULATED])
def backend(request: pytest.FixtureRequest, device: torch.device) -> Iterator[str]:
    """The name for `backend=`; while the CUDA kernels are emulated, it is that of compiled code."""
    if request.param != EMULATED:
        reason = Op._all[request.module.__name__.rpartition("test_")[2]].why_not(request.param, device.type)
        if reason:
            pytest.skip(reason)
        yield request.param
        return
    reason = "CUDA runs itself" if device.type == "cuda" else why_not()
    if reason:
        pytest.skip(reason)
    # An order of threads for every test, the same in every run.
    with emulated().in_place(zlib.crc32(request.node.name.encode())):
        yield "native"


@pytest.fixture
def in_cuda(request: pytest.FixtureRequest, device: torch.device) -> bool:
    """Whether compiled code is that of the CUDA kernels, which compute in float32."""
    return device.type == "cuda" or request.node.callspec.params.get("backend") == EMULATED
