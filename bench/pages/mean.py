"""The mean of the weights of two trainings of one network, the second of which began from the first.

It is often nearer to what both were to learn than either is (Izmailov et al., "Averaging weights leads to wider
optima", UAI 2018, on points of one training).
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

from bench.outputs import appearing, write
from spectac_fast.checkpoints.weights import load_weights, save_weights
from spectac_fast.train.run import fitted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("later", type=Path, help="weight file, whose configuration and card are taken")
    parser.add_argument("earlier", type=Path, help="weight file of the same network, or of one that was told less")
    parser.add_argument("-o", "--out", type=Path, required=True, help="weight file to write; card.json beside it")


def run(args: argparse.Namespace) -> int:
    tensors, header = load_weights(args.later)
    earlier = fitted(args.earlier, tensors, header["config"].get("network", {}).get("facts", []))
    mean = {name: ((later.float() + earlier[name]) / 2).to(later.dtype) for name, later in tensors.items()}
    # What the later training was validated at is not what the mean would be.
    card = {key: value for key, value in header["card"].items() if key != "validation"}
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (args.later, args.earlier)]
    card["mean_of_weights_sha256"] = digests
    with appearing(args.out) as part:
        save_weights(part, mean, header["model"], header["config"], card)
    write(args.out.with_name("card.json"), json.dumps(card, indent=2) + "\n")
    return 0
