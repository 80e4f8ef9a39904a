"""Configuration files as plain mappings: YAML, JSON with comments, and the options that a CycleGAN prints."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from spectac_fast.errors import InputError

ENDINGS = (".yaml", ".yml", ".json", ".txt")
# Templates are a few kilobytes; what repeats itself by references may claim anything.
_MAX_BYTES = 2**20
_PYTHON = "tag:yaml.org,2002:python/"
_OPTION = re.compile(r"\s*(\w+): (.*?)\s*(?:\[default: .*\])?\s*")
_WORDS = {"True": True, "False": False, "None": None}


def read_configuration(path: Path) -> dict[str, Any]:
    """The entries of a configuration file in plain dicts and lists; nothing that it names is imported or called.

    .yaml, .yml: as runners read and dump them (tuples become lists, namespaces mappings). .json: also with comments
    from // to the end of a line, which must then not occur in a value. .txt: `train_opt.txt`, `test_opt.txt` or
    `opt.txt` of pytorch-CycleGAN-and-pix2pix, "name: value" lines.

    Raises InputError for a file that is missing, damaged or of another kind.
    """
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"the configuration {path}: expected a file that ends in {', '.join(ENDINGS)}")
    try:
        raw = path.read_bytes()
        if len(raw) > _MAX_BYTES:
            raise InputError(f"the configuration {path}: expected at most {_MAX_BYTES} bytes, found {len(raw)}")
        text = raw.decode()
    except FileNotFoundError as error:
        raise InputError(f"the configuration {path} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the configuration {path} cannot be read as text") from error
    reader = {".json": _json, ".txt": _options}.get(path.suffix.lower(), _yaml)
    entries = reader(text, path)
    if not isinstance(entries, dict) or not entries:
        raise InputError(f"the configuration {path}: expected named options, found none")
    return entries


def _json(text: str, path: Path) -> Any:
    # With addresses in its values the file is plain JSON; with comments it is what Palette's reader takes.
    for candidate in (text, "\n".join(line.split("//")[0] for line in text.splitlines())):
        try:
            return json.loads(candidate)
        except ValueError as error:
            reason = error
    raise InputError(f"the configuration {path} cannot be read as JSON: {reason}") from reason


def _options(text: str, path: Path) -> dict[str, Any]:
    found = (_OPTION.fullmatch(line) for line in text.splitlines())
    return {match[1]: _value(match[2]) for match in found if match}


def _value(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _yaml(text: str, path: Path) -> Any:
    import yaml

    class Plain(yaml.SafeLoader):
        """Objects that a runner dumped are read as the mappings, lists and words they are written as."""

    def plain(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    Plain.add_multi_constructor(_PYTHON, plain)
    try:
        return yaml.load(text, Loader=Plain)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        where = f" at line {place.line + 1}" if place is not None else ""
        raise InputError(f"the configuration {path} cannot be read as YAML{where}") from error
