"""`python -m bench <name> ...` runs one measurement; each is a module of this folder with add_arguments and run."""

from __future__ import annotations

import argparse
import importlib
import sys

BENCHES = {
    "kernels": "time of every fused operator against plain torch and against a copy of the same bytes",
    "latency": "time per slice of whole models, and where it goes",
    "quality": "quality of samples against network evaluations, for every solver",
    "curve": "error along the bridge of two trainings side by side",
    "throughput": "studies per hour of whole runs, what the network waits for; memory over a thousand studies",
    "acceptance": "the long tests of a night's work, and what each measured",
    "readme": "the committed results copied into README",
    "calibration": "whether standard deviations say how large errors are; fits what makes them do so",
    "explain": "whether attributions point at what matters: deletion and insertion curves",
    "foreign": "whether input unlike the training population is noticed; makes the population's statistics",
    "clinical": "segments, perfusion deficit and detection of defects, and how robust they are",
    "ship": "weights of the comparison to where they are found by name, each with a card",
    "cohort": "the synthetic cohort against published figures",
    "repeat": "segments of the same patients imaged twice: what repeats of AC and of corrected images",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    chosen = next((word for word in sys.argv[1:] if word in BENCHES), None)
    for name, text in BENCHES.items():
        command = commands.add_parser(name, help=text, description=text)
        if name == chosen:
            module = importlib.import_module(f"bench.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    args = parser.parse_args()
    return args.run(args)


if __name__ == "__main__":
    sys.exit(main())
