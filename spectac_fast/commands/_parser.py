"""What the command line understands: all commands in one grammar."""

from __future__ import annotations

import argparse
import importlib
import keyword
from typing import NoReturn

from spectac_fast._version import __version__
from spectac_fast.commands._messages import add_messages
from spectac_fast.terminal import visible

# Name -> (folder of commands/, what it does).
COMMANDS = {
    "demo": ("studies", "correct the bundled study, print its figures and draw a picture"),
    "correct": ("studies", "correct NC studies: DICOM in, DICOM out"),
    "reconstruct": ("studies", "reconstruct projections: NC and AC slices along the heart"),
    "report": ("studies", "write a page for a physician: slices, polar maps, segments"),
    "explain": ("studies", "show which counts a corrected region was made from, and where the network's attention lay"),
    "serve": ("studies", "be a DICOM node that corrects what it is sent"),
    "phantom": ("research", "make a synthetic cohort by physics"),
    "train": ("research", "train a model on a cohort"),
    "fit": ("research", "fit a bridge's solver to the bridge"),
    "evaluate": ("research", "compare models on a cohort, with confidence intervals"),
    "import": ("research", "turn a published checkpoint into a weight file"),
    "export": ("research", "turn a weight file into a published checkpoint"),
    "profile": ("studies", "show where the time of a correction goes"),
    "models": ("studies", "list the models, and which of them are installed"),
    "info": ("studies", "show versions, devices, models, or what a file holds"),
    "completion": ("studies", "print what makes a shell complete commands, options and files"),
}

_EPILOG = """exit status: 0 all done, 1 some failed, 2 usage, 3 no input found, 4 environment, 130 interrupted
Research software, not a medical device: not for diagnosis."""


class _Parser(argparse.ArgumentParser):
    """What is wrong with arguments, in characters that show themselves."""

    def error(self, message: str) -> NoReturn:
        super().error(visible(message))


class _Subparser(_Parser):
    """Positional arguments may stand before, between and after the flags: `STUDY -o OUT OTHER`."""

    _within = False

    def parse_known_args(self, args=None, namespace=None):
        # What argparse calls for intermixed arguments calls this in turn.
        if self._within:
            return super().parse_known_args(args, namespace)
        self._within = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._within = False


def build_parser(chosen: str | None) -> argparse.ArgumentParser:
    """The whole parser, with the arguments of the `chosen` subcommand only (the others show their one-line help)."""
    parser = _Parser(
        prog="spectac",
        description="Attenuation correction of cardiac SPECT without CT.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"spectac_fast {__version__} (research software, not a medical device)"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Subparser)
    for name, (folder, line) in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=line,
            description=line[0].upper() + line[1:] + ".",
            epilog=_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == chosen:
            # A module cannot be called like a word of the language.
            file = f"{name}_" if keyword.iskeyword(name) else name
            module = importlib.import_module(f"spectac_fast.commands.{folder}.{file}")
            module.add_arguments(sub)
            add_messages(sub)
            sub.set_defaults(run=module.run, parser=sub)
    return parser
