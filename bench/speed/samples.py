"""`python -m bench.speed.samples`: every operator's samples and the engine's convolutions, for a sanitizer to watch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

import spectac_fast


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.speed.samples", description=__doc__)
    parser.add_argument("-d", "--device", default="cpu", help="cpu or cuda")
    parser.add_argument("-e", "--extension", type=Path, metavar="DIR", help="folder that holds another build of _C")
    args = parser.parse_args()
    if args.extension:
        spectac_fast.__path__.insert(0, str(args.extension))

    from spectac_fast import _native, ops
    from spectac_fast._op import Op

    reason = _native.why_not(args.device)
    if reason:
        sys.exit(f"There is nothing to watch: {reason}.")
    device = torch.device(args.device)
    for op in Op.all():
        calls = 0
        for call in op.samples(device):
            getattr(ops, op.name)(**call, backend="native")
            calls += 1
        if device.type == "cuda":
            torch.cuda.synchronize()
        print(f"{op.name}: {calls} calls by {_native.extension.__file__}", flush=True)
    if device.type == "cpu":
        print(f"winograd: {_convolutions()} convolutions by {_native.extension.__file__}", flush=True)
    return 0


def _convolutions() -> int:
    """3x3 convolutions of maps of every kind of border, by their compiled parts; how many."""
    from spectac_fast.models.engine.convolution import Convolution

    shapes = [(1, 128, 2, 2), (3, 144, 8, 4), (1, 128, 64, 64), (5, 128, 20, 36)]
    for batch, channels, height, width in shapes:
        convolve = Convolution(torch.randn(256, channels, 3, 3), torch.randn(256), torch.float32, torch.device("cpu"))
        convolve(torch.randn(batch, channels, height, width).contiguous(memory_format=torch.channels_last))
    return len(shapes)


if __name__ == "__main__":
    sys.exit(main())
