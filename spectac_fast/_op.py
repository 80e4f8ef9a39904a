"""One operator: its schema, its reference, and the choice among its implementations.

The plain-torch reference is registered for every device, so the operator works wherever torch does, and shapes can be
propagated without data. The C++ extension registers itself for CPU and CUDA and then takes precedence; where there is
no CUDA build, Triton takes CUDA. So a call without `backend=` is one call into torch's dispatcher.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch._C import _functorch
from torch.autograd import forward_ad

from spectac_fast import _native

BACKENDS = ("reference", "native", "triton")
# Devices whose tensors go to compiled code.
_COMPILED = frozenset(kind for kind in ("cpu", "cuda") if _native.why_not(kind) is None)

_ON_CPU = "cpu" in _COMPILED

_library = torch.library.Library("spectac_fast", "DEF")


def define_part(schema: str, reference: Callable[..., Any]) -> Callable[..., Any]:
    """A part of an algorithm as an operator that no user calls: what torch runs for it, on the CPU compiled code.

    schema: as of `Op`; reference: in plain torch, for every other device and where nothing is compiled.
    """
    name = schema.partition("(")[0]
    _library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    _library.impl(name, reference, "CompositeExplicitAutograd")
    return getattr(torch.ops.spectac_fast, name).default


class Op:
    """An operator `spectac_fast::<name>`.

    schema:     torch schema; mutated arguments are marked as usual.
    reference:  plain-torch implementation, which is the definition.
    triton:     "module:function" of a launcher with the same arguments, imported when it is first needed; or None.
    samples:    samples(device) yields keyword arguments of the public function, for tests and benchmarks.
    """

    _all: ClassVar[dict[str, Op]] = {}

    def __init__(
        self,
        schema: str,
        *,
        reference: Callable[..., Any],
        triton: str | None,
        samples: Callable[[torch.device], Iterator[dict[str, Any]]],
    ) -> None:
        self.name = schema.partition("(")[0]
        self.reference = reference
        self.samples = samples
        self._triton = triton
        _library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
        _library.impl(self.name, reference, "CompositeExplicitAutograd")
        if torch.version.cuda and _native.why_not("cuda") and self.why_not("triton", "cuda") is None:
            _library.impl(self.name, self._run_triton, "CUDA")
        self.default = getattr(torch.ops.spectac_fast, self.name).default
        Op._all[self.name] = self

    @classmethod
    def all(cls) -> list[Op]:
        """Every operator of the modules imported so far, sorted by name; `spectac_fast.ops` imports them all."""
        return [cls._all[name] for name in sorted(cls._all)]

    def why_not(self, backend: str, device_type: str) -> str | None:
        """Why this back end cannot run this operator on such a device, as part of a sentence; None if it can."""
        if backend not in BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(BACKENDS)} or None, found {backend!r}.")
        if backend == "native":
            return _native.why_not(device_type)
        if backend == "triton":
            return self._why_not_triton(device_type)
        return None

    def _why_not_triton(self, device_type: str) -> str | None:
        if self._triton is None:
            return "there is no Triton kernel for it"
        if importlib.util.find_spec("triton") is None:
            return "Triton is not installed"
        if device_type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
            return f"Triton does not run on {device_type} tensors (TRITON_INTERPRET=1 interprets it, slowly)"
        return None

    def _run_triton(self, *args: Any) -> Any:
        assert self._triton is not None
        module, _, function = self._triton.partition(":")
        return getattr(importlib.import_module(module), function)(*args)

    @staticmethod
    def reaches_compiled(first: torch.Tensor, *rest: torch.Tensor | None) -> bool:
        """Whether compiled code would get these tensors as they are, and nothing of torch in between needs to know."""
        if not _is_plain(first):
            return False
        for t in rest:  # noqa: SIM110 (a generator would take as long as all the rest)
            # One tensor without data sends the whole call to the reference.
            if t is not None and t.is_meta:
                return False
        return True

    @staticmethod
    def may_try(first: torch.Tensor, *rest: torch.Tensor | None) -> bool:
        """Whether `default` may be called with tensors that nobody has checked: compiled code checks them itself.

        It raises RuntimeError before it writes anything; what is wrong is then for the caller to say. What it does not
        see, a derivative that is taken above all, is looked at here.
        """
        if not torch.is_grad_enabled():
            return Op.reaches_compiled(first, *rest)
        if first.requires_grad or not _is_plain(first):
            return False
        for t in rest:  # noqa: SIM110 (as above)
            if t is not None and (t.requires_grad or t.is_meta):
                return False
        return True

    def __call__(self, *args: Any, backend: str | None = None) -> Any:
        """Run it; the first argument is a tensor on the device that counts. backend=None lets the dispatcher choose."""
        if backend is None:
            return self.default(*args)
        reason = self.why_not(backend, args[0].device.type)
        if reason:
            raise RuntimeError(f"{self.name}: back end {backend!r} is not available because {reason}.")
        if backend == "native":
            return self.default(*args)
        return self._run_triton(*args) if backend == "triton" else self.reference(*args)


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether it lies where compiled code runs, and no transform, subclass or trace stands before it."""
    if type(tensor) is not torch.Tensor or not ((tensor.is_cpu and _ON_CPU) or tensor.device.type in _COMPILED):
        return False
    if _functorch.maybe_current_level() is not None or forward_ad._current_level >= 0:
        return False
    return not torch.compiler.is_compiling()
