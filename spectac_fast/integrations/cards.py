"""Model cards by the Model Facts pattern, and files of exported folders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spectac_fast.outputs import OWN, Kind, appearing

_PLAIN = """# Model card: {name}

| | |
|---|---|
| what it does | estimates attenuation-corrected (AC) cardiac SPECT slices from non-corrected (NC) ones, without CT |
| method | `{method}` of spectac_fast |
| input | slices of pixels of {pixel_mm} mm (others are resampled) |

**Use.** Research on CT-free attenuation correction. Compare with the NC series.

**Limits.** Not a medical device, not for diagnosis. Where it comes from, as its weight file says:

```json
{card}
```
"""


def model_card(weights: Path, header: dict[str, Any]) -> str:
    """Markdown: the card beside the weight file if there is one, else what the file's header says of its making."""
    beside = weights.with_name("README.md") if weights.name == "model.safetensors" else weights.with_suffix(".md")
    if beside.is_file():
        return _without_front_matter(beside.read_text())
    card = json.dumps(header["card"], indent=2, sort_keys=True)
    return _PLAIN.format(
        name=weights.stem, method=header["model"], pixel_mm=header["config"].get("pixel_mm"), card=card
    )


def write_files(root: Path, files: Mapping[str, tuple[bytes, Kind | None]]) -> None:
    """Write {name below root: (content, kind as `outputs` tells it)}, each by atomic rename, with its folders.

    Raises UsageError, and writes nothing, where a file of another origin is in a place.
    """
    new = {name: content for name, (content, _) in files.items() if not _is_there(root / name, content)}
    for name in new:
        OWN.check(root / name, files[name][1])
    for name, content in new.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        with appearing(root / name) as part:
            part.write_bytes(content)


def _is_there(path: Path, content: bytes) -> bool:
    return path.is_file() and not path.is_symlink() and path.read_bytes() == content


def _without_front_matter(text: str) -> str:
    """Markdown without the YAML that the hub puts between two lines of dashes at its top."""
    _, dashes, rest = text.partition("\n---\n")
    return rest.lstrip() if text.startswith("---\n") and dashes else text
