"""The head of every page that is written: whose it is, that it asks nobody for anything, its title and its style."""

from __future__ import annotations

from importlib.resources import files

from spectac_fast._version import __version__
from spectac_fast.outputs import PROGRAM


def html_head(title: str, package: str, sheet: str) -> list[str]:
    """The lines up to the beginning of the body. title: escaped already; sheet: a style sheet within a package."""
    style = files(package).joinpath(sheet).read_text(encoding="utf-8")
    return [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f'<meta name="generator" content="{PROGRAM} {__version__}">',
        f"<title>{title}</title>",
        f"<style>{style}</style></head><body>",
    ]
