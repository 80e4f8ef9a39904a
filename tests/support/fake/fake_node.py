"""A node in a process of its own that ends, or finds its disk full, at chosen steps of what it does on the disk."""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import signal
from pathlib import Path

import cuts
import torch
from fake_study import Times

from spectac_fast.node import Destination, Limits, Node, Receiver, Spool

PRELOAD = ("scipy.ndimage", "scipy.optimize", "scipy.signal", "scipy.stats")
_ACTS = {"kill": cuts.kill, "full": cuts.full}


def run(folder, archive, answer, act, at):
    """Serve from folder/spool, forwarding to the port `archive`; the port is sent by `answer`.

    act: "kill" or "full", at the steps numbered in `at`; what the steps were goes to folder/steps.json where the node
    ends by SIGTERM.
    """
    torch.set_num_threads(1)
    logging.basicConfig(filename=folder / "log", format="%(message)s")
    steps = cuts.Steps(folder / "spool", at.__contains__, _ACTS[act], needing_room=act == "full")
    steps.install()
    spool = Spool(folder / "spool")
    receiver = Receiver(spool, "SPECTAC", port=0, limits=Limits(reserve_bytes=0))
    options = {"stable_s": 0.1, "first_wait_s": 0.02, "destination": Destination("ARCHIVE", "127.0.0.1", archive, "N")}
    node = Node(receiver, Times(2.0), **options)
    node.start()
    signal.signal(signal.SIGTERM, lambda *_: node.end())
    answer.send(receiver.port)
    node.wait()
    node.stop()
    (folder / "steps.json").write_text(json.dumps(steps.names))


class CutNodes:
    """Starts such nodes, quickly: they are forked off a process that has imported everything."""

    def __init__(self, folder, archive):
        self._folder, self._archive = folder, archive
        self._context = multiprocessing.get_context("forkserver")
        # What a first correction imports, too.
        self._context.set_forkserver_preload(["fake_node", *PRELOAD])

    def start(self, act="kill", at=()):
        """(process, port); the port is None where the process ended before it had one."""
        here, there = self._context.Pipe()
        words = (self._folder, self._archive, there, act, frozenset(at))
        process = self._context.Process(target=run, args=words, daemon=True)
        process.start()
        there.close()
        port = None
        with contextlib.suppress(EOFError):
            port = here.recv()
        return process, port

    @staticmethod
    def end(process):
        """Its exit status after it was asked to end: 0, or -9 where it was cut off."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        process.join()
        return process.exitcode

    def steps(self):
        """What the last node that ended by itself did on the disk."""
        return json.loads((Path(self._folder) / "steps.json").read_text())
