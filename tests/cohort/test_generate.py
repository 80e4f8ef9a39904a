"""Cohorts whose processes are ended from outside."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

import pytest

from spectac_fast.cohort.generate import Wanted, generate
from spectac_fast.errors import SetupError


def kill_workers(stop: threading.Event) -> None:
    """What the system does where memory runs out."""
    while not stop.wait(0.02):
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)
            return


def test_a_process_that_the_system_ends_is_a_sentence(tmp_path):
    stop = threading.Event()
    killer = threading.Thread(target=kill_workers, args=(stop,))
    killer.start()
    started = time.monotonic()
    try:
        with pytest.raises(SetupError, match="a process that made patients was ended by the system") as said:
            list(generate(tmp_path / "cohort", range(800_001, 800_003), Wanted("npy"), jobs=1))
    finally:
        stop.set()
        killer.join()
    assert "--jobs" in str(said.value)
    assert time.monotonic() - started < 300
