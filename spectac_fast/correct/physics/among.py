"""The attenuation maps among the inputs of a run, and the projections that each belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spectac_fast.correct.physics.maps import FileMap
from spectac_fast.data.inputs import Source
from spectac_fast.errors import InputError, SpectacError
from spectac_fast.formats.dicom.tomo.belonging import Belonging, belonging_of, best
from spectac_fast.formats.dicom.tomo.maps import read_map_files
from spectac_fast.formats.series import Told, volume_ending


@dataclass(frozen=True)
class Among:
    """The maps of a run. of: the files of each file's map by its path, () where it has none or several do as well.

    rest: what are no maps. unused: a sentence for each map of no projections.
    """

    of: Mapping[Path, tuple[Source, ...]] = field(default_factory=dict)
    several: Mapping[Path, int] = field(default_factory=dict)
    rest: tuple[Source, ...] = ()
    unused: tuple[str, ...] = ()

    def map(self, source: Source) -> FileMap:
        """The map of a file of projections.

        Raises InputError where there is none, or several that may be, and as `read_map_files`.
        """
        files = self.of.get(source.path, ())
        if not files:
            found = self.several.get(source.path) or "none"
            raise InputError(
                f"{source.path}: expected one attenuation map of its study or frame of reference among the inputs, "
                f"found {found}; --ac FILE names one."
            )
        digests = b"".join(bytes.fromhex(each.sha256) for each in files)
        contents = [(each.path, each.contents()[0]) for each in files]
        return FileMap(read_map_files(contents), hashlib.sha256(digests).hexdigest())


def maps_among(sources: Iterable[Source], told: Told) -> Among:
    """Tell maps from everything else, and find the map of each file by `belonging.best`."""
    maps: dict[str, tuple[Belonging, list[Source]]] = {}
    others: dict[Path, tuple[Source, Belonging | None]] = {}
    for source in sources:
        known = _known(source, told)
        if known is None or not known.kind:
            others[source.path] = (source, known)
        else:
            # The slices of a CT are a map together; an NM object of several frames is one by itself.
            whole = str(source.path) if known.kind == "NM" and source.frames > 1 else known.kind + known.series
            maps.setdefault(whole, (known, []))[1].extend(source.slices or (source,))
    all_files = [tuple(sorted(files, key=lambda each: each.path)) for _, files in maps.values()]
    of: dict[Path, tuple[Source, ...]] = {}
    several: dict[Path, int] = {}
    meant: set[int] = set()
    for path, (_, known) in others.items():
        found = best([each for each, _ in maps.values()], known) if known is not None else []
        several[path] = len(found)
        if len(found) == 1:
            of[path] = all_files[found[0]]
        meant |= set(found)
    unused = [
        f"{files[0].path}: expected projections of its study or frame of reference beside this attenuation map, found "
        "none that it is used for."
        for k, files in enumerate(all_files)
        if k not in meant
    ]
    return Among(of, several, tuple(source for source, _ in others.values()), tuple(unused))


def _known(source: Source, told: Told) -> Belonging | None:
    if volume_ending(source.path):
        return None
    first: Sequence[Source] = source.slices or (source,)
    try:
        return belonging_of(source.path, first[0].content(), told)
    except SpectacError:
        return None
