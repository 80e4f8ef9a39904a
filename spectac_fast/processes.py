"""Processes that share a piece of work."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait


def process_pool(jobs: int | None = None) -> ProcessPoolExecutor:
    """A pool of `jobs` processes, None for one per core, that ends with this process, however that ends."""
    # Forked children would inherit torch's thread pools and any CUDA context in an unusable state.
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    """A process that was killed has no time to tell its workers; one that waits for work would wait for ever."""
    parent = parent_process()
    assert parent is not None
    threading.Thread(target=_leave_after, args=(parent.sentinel,), daemon=True).start()


def _leave_after(parent: int) -> None:
    wait([parent])
    os._exit(1)
