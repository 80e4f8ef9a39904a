"""The model in the middle of the pipeline: batches of one size, whatever happens to fill them."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from spectac_fast.correct.engines.memory import FreedMemory, choose_batch_size, is_out_of_memory
from spectac_fast.errors import InputError, SetupError, UsageError
from spectac_fast.models.engine.batches import SIZES
from spectac_fast.models.engine.fit import NO_COUNTS
from spectac_fast.models.rows import Row
from spectac_fast.models.translator import Translator, check_corrects
from spectac_fast.models.uncertainty import drawing_options, translate_with_std

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

_log = logging.getLogger(__name__)
# Rows and columns of the customary field; a trial says whether options and memory suffice.
_USUAL = (64, 64)


class Network:
    """A translator that always sees `batch_size` slices: short batches are filled up with empty ones.

    A library may choose another kernel, which rounds otherwise, for another batch size. With one size the bytes of a
    study depend neither on the studies beside it nor on where a killed run was taken up again.

    translator, options: as for `Translator.translate`. precision: "fp32", "bf16" or "fp16", the latter two under
    autocast. batch_size: one of `models.engine.batches.SIZES`, or None to choose it from the memory there is.
    std_samples: where given, the standard deviation (`translate_with_std`) is a second channel of the outputs.

    `channels`: of the outputs. `size`: the batch size, None until it is chosen. `halvings`: the sizes that memory did
    not suffice for. `seconds`: spent in the model.
    Raises UsageError for options that the model refuses and for another batch size.
    """

    def __init__(
        self,
        translator: Translator,
        options: Mapping[str, Any],
        *,
        precision: str,
        batch_size: int | None,
        std_samples: int | None = None,
    ) -> None:
        check_corrects(translator)
        if isinstance(translator, Row):
            _log.warning(
                "the model %s multiplies counts and corrects no attenuation: what is written is NC in other units, for "
                "comparisons alone.",
                translator.name,
            )
        if precision not in PRECISIONS:
            raise UsageError(f"precision: expected one of {', '.join(PRECISIONS)}, found {precision!r}.")
        if batch_size is not None and batch_size not in SIZES:
            raise UsageError(f"batch size: expected auto or one of {', '.join(map(str, SIZES))}, found {batch_size}.")
        self.translator, self.precision = translator, precision
        self.options, self.size = dict(options), batch_size
        self._std_samples, self.channels = std_samples, 1 if std_samples is None else 2
        self.halvings: list[int] = []
        self.seconds = 0.0
        self._freed = FreedMemory()

    @property
    def batch_size(self) -> int:
        """How many slices go into a run."""
        if self.size is None:
            started = time.perf_counter()
            self.size = choose_batch_size(self._trial, self.translator.device)
            self.seconds += time.perf_counter() - started
        return self.size

    @property
    def usual_samples(self) -> int:
        """How many samples the deviations come from; 0 without any, or where options change how they are drawn."""
        return 0 if drawing_options(self.options) else self._std_samples or 0

    def start_at(self, size: int) -> None:
        """Take the batch size of an earlier run instead of choosing one."""
        self.size = size if self.size is None else self.size

    def run(
        self,
        slices: NDArray[np.float32],
        beside: NDArray[np.float32],
        facts: NDArray[np.float32],
        seeds: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """The model's outputs, float32 [n, channels, rows, columns], for slices [n, rows, columns] and what is theirs.

        Where memory does not suffice the batch size is halved, for good, and the slices go again. Raises InputError
        where the model cannot take these slices, SetupError where two slices are too many, UsageError for its options.
        """
        outputs, start = self.room_for(slices), 0
        while start < len(slices):
            size = self.batch_size
            part = slice(start, start + size)
            try:
                outputs[part] = self._once(slices[part], beside[part], facts[part], seeds[part], size)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise self._refused(error, slices.shape[1:]) from error
                self._halve()
            else:
                start += size
        self._freed.check()
        return outputs

    def room_for(self, slices: NDArray[np.float32]) -> NDArray[np.float32]:
        """Where the outputs for slices [n, rows, columns] go, [n, channels, rows, columns]."""
        return np.empty((len(slices), self.channels, *slices.shape[1:]), np.float32)

    def _once(
        self,
        slices: NDArray[np.float32],
        beside: NDArray[np.float32],
        facts: NDArray[np.float32],
        seeds: NDArray[np.int64],
        size: int,
    ) -> NDArray[np.float32]:
        missing = size - len(slices)
        given = {
            "nc": F.pad(torch.from_numpy(slices[:, None]), (0, 0, 0, 0, 0, 0, 0, missing), value=NO_COUNTS),
            "seeds": F.pad(torch.from_numpy(seeds), (0, missing)),
            "neighbours": F.pad(torch.from_numpy(beside), (0, 0, 0, 0, 0, 0, 0, missing), value=NO_COUNTS),
        }
        if facts.shape[1]:
            given["facts"] = F.pad(torch.from_numpy(facts), (0, 0, 0, missing))
        started = time.perf_counter()
        try:
            result = self._translate(given).float().cpu().numpy()
        finally:
            self.seconds += time.perf_counter() - started
        return result[: len(slices)]

    def _translate(self, given: Mapping[str, torch.Tensor]) -> torch.Tensor:
        kind, dtype = self.translator.device.type, PRECISIONS[self.precision]
        with torch.autocast(kind, dtype=dtype, enabled=dtype is not None):
            if self._std_samples is None:
                return self.translator.translate(**given, **self.options)
            both = translate_with_std(self.translator, **given, std_samples=self._std_samples, **self.options)
            return torch.cat(both, dim=1)

    def _trial(self, size: int) -> None:
        empty = {
            "nc": torch.full((size, 1, *_USUAL), NO_COUNTS),
            "seeds": torch.zeros(size, dtype=torch.int64),
            "neighbours": torch.full((size, len(self.translator.context_mm), *_USUAL), NO_COUNTS),
        }
        try:
            self._translate(empty)
        except Exception as error:
            if is_out_of_memory(error):
                raise self._too_small() from error
            raise self._cannot_run(error) from error

    def _halve(self) -> None:
        size = self.batch_size
        if size == SIZES[0]:
            raise self._too_small()
        self.halvings.append(size)
        self.size = size // 2
        if self.translator.device.type == "cuda":
            torch.cuda.empty_cache()
        _log.warning("batches of %d slices do not fit into memory, going on with %d.", size, self.size)

    def _refused(self, error: Exception, shape: tuple[int, ...]) -> Exception:
        """Whether it is these slices or the options that the model cannot run with: a usual slice tells."""
        name = self.translator.name
        if isinstance(error, ValueError):
            self._trial(SIZES[0])
            return InputError(f"the model {name} cannot take slices of {shape[0]} x {shape[1]} pixels: {error}")
        return InputError(f"the model {name} failed on slices of {shape[0]} x {shape[1]} ({type(error).__name__}).")

    def _cannot_run(self, error: Exception) -> UsageError:
        return UsageError(f"the model {self.translator.name} cannot run with {self.options}: {error}")

    def _too_small(self) -> SetupError:
        return SetupError(f"the model {self.translator.name} needs more memory for two slices than there is.")
