"""csrc/ as a host compiler takes it: launches, PTX and shared memory rewritten, everything else as it stands.

Lines keep their numbers, so that what the machine and the sanitizers say names lines of csrc/.
"""

from __future__ import annotations

import re
from pathlib import Path

# A vector store's element, and what each other instruction is called in machine/cuda_runtime.h.
STORED = {"f32": "float", "u32": "uint32_t"}
INSTRUCTIONS = {
    "cvt.f32.f16": "::emulated::from_half",
    "cvt.rn.bf16.f32": "::emulated::to_brain",
    "cvt.rn.bf16x2.f32": "::emulated::to_brains",
    "cvt.rn.f16.f32": "::emulated::to_half",
    "cvt.rn.f16x2.f32": "::emulated::to_halves",
    "ex2.approx.ftz.f32": "::emulated::exp2_approximately",
}


def closing(text: str, start: int) -> int:
    """Where the bracket that opens at `start` closes."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] in "([{") - (text[at] in ")]}")
        if depth == 0:
            return at
    raise ValueError(f"a bracket never closes: {text[start : start + 60]!r}")


def split(text: str) -> list[str]:
    """Parts between the commas that stand in no bracket."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def replaced(text: str, start: int, end: int, new: str) -> str:
    """With text[start:end] replaced, and as many lines as before."""
    return text[:start] + new + "\n" * (text.count("\n", start, end) - new.count("\n")) + text[end:]


def operands(assembly: str) -> list[str]:
    """The C++ expressions of an asm statement's operands, outputs first."""
    found = []
    for match in re.finditer(r'"[=+]?[a-z]"\s*\(', assembly):
        end = closing(assembly, match.end() - 1)
        found.append(assembly[match.end() : end])
    return found


def without_ptx(text: str) -> str:
    while match := re.search(r"\basm(?: volatile)?\(", text):
        end = closing(text, match.end() - 1)
        assembly = text[match.end() : end]
        said, values = re.match(r'\s*"([\w.]+) ', assembly), operands(assembly)
        if said and (store := re.fullmatch(r"st\.global\.v[24]\.(\w+)", said[1])):
            new = f"::emulated::store<{STORED[store[1]]}>({', '.join(values)})"
        elif said and said[1] in INSTRUCTIONS:
            new = f"{values[0]} = {INSTRUCTIONS[said[1]]}({', '.join(values[1:])})"
        else:
            raise ValueError(f"PTX that the emulation does not know: {assembly}")
        text = replaced(text, match.start(), end + 1, new)
    return text


def without_launches(text: str) -> str:
    while match := re.search(r"(\w+(?:<[^<>;{}]*>)?)<<<(.*?)>>>\(", text, re.DOTALL):
        end = closing(text, match.end() - 1)
        given = filter(None, [match[1], match[2], text[match.end() : end]])
        text = replaced(text, match.start(), end + 1, f"::emulated::launch({', '.join(given)})")
    return text


def without_shared(text: str) -> str:
    text = re.sub(
        r"extern __shared__ (\w+) (\w+)\[\];", r"\1* const \2 = static_cast<\1*>(::emulated::dynamic_shared());", text
    )
    while match := re.search(r"__shared__ (\w+) ([^;]*);", text):
        # Two on a line are told apart by where they stand on it.
        new = []
        for variable in split(match[2]):
            declared = re.fullmatch(r"(\w+)((?:\[.*\])?)", variable, re.DOTALL)
            if declared is None:
                raise ValueError(f"CUDA that the emulation does not know: {match[0]!r}")
            name, sides = declared.groups()
            new.append(f"auto& {name} = ::emulated::shared<{match[1]}{sides}>();")
        text = replaced(text, match.start(), match.end(), " ".join(new))
    return text


def translated(text: str) -> str:
    text = without_shared(without_launches(without_ptx(text)))
    if left := re.search(r"<<<|__shared__|\basm\b", text):
        raise ValueError(f"CUDA that the emulation does not know: {text[left.start() : left.start() + 60]!r}")
    return text


def translate(sources: Path, folder: Path) -> list[Path]:
    """Write the kernels of `sources`, such as csrc/, and what they need into a folder; returns the files to compile."""
    compiled = []
    for path in sorted(sources.rglob("*")):
        place = path.relative_to(sources)
        if path.suffix not in (".h", ".cuh", ".cu") or place.parts[0] == "cpu":
            continue
        to = folder / place.with_suffix(".cpp" if path.suffix == ".cu" else path.suffix)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(f'#line 1 "{sources.name}/{place}"\n{translated(path.read_text())}')
        if path.suffix == ".cu":
            compiled.append(to)
    return compiled
