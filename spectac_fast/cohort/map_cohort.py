"""Cohorts of attenuation maps on disk, as `spectac phantom --format maps` writes them: what a network that makes a map
of an NC reconstruction is trained on.

`cohort.npy`: float16 [case, kind, 48, 64, 64] (z from feet to head, y to the back, x to the left) in cubes of 6.8 mm
about the axis of rotation, memory-mapped; `index.json` beside it. Kinds: NC at stress and at rest as `spectac
reconstruct` makes them unless told otherwise, counts over all views, 0 beyond the camera's field; MU, the true map that
the emission sees, and MU_CT, a CT's, in 1/cm.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectac_fast.errors import InputError

FORMAT_MAPS = 3
MAP_KINDS = ("NC_STRESS", "NC_REST", "MU", "MU_CT")
MAP_SHAPE = (48, 64, 64)
MAP_MM = 6.8
# Share of the height that lies below the place about which patients are simulated.
MAP_BELOW = 0.48


class MapCohort:
    """Read access to a cohort of maps.

    `cases`: dicts (seed, sex, bmi, findings, protocol, ...) with "rows" [first, behind the last] that the camera saw
    whole, "field_mm", the side of its square field, and "heart_mm", the middle of the left ventricle's axis from the
    array's centre (x, y, z). `spacing_mm`, `shape`, `kinds` as of `Cohort`. Raises InputError for a folder that holds
    none.
    """

    kinds = MAP_KINDS
    spacing_mm = (MAP_MM, MAP_MM, MAP_MM)
    shape = MAP_SHAPE[1:]

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path, array = self.folder / "index.json", self.folder / "cohort.npy"
        try:
            index = json.loads(path.read_text())
            number, self.cases = index["format"], index["cases"]
            self._rows = [slice(*map(int, case["rows"])) for case in self.cases] if number == FORMAT_MAPS else []
            self._volumes: NDArray[np.float16] = np.load(array, mmap_mode="r")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.folder}: expected a cohort of maps, but it cannot be read ({error!r})") from None
        if number != FORMAT_MAPS:
            raise InputError(f"{path}: expected cohort format {FORMAT_MAPS}, found {number!r}")
        found, wanted = self._volumes, (len(MAP_KINDS), *MAP_SHAPE)
        if found.dtype != np.float16 or found.shape[1:] != wanted or len(found) < len(self.cases):
            raise InputError(
                f"{array}: expected float16 [{len(self.cases)}, {wanted}], found {found.dtype} {found.shape}"
            )

    def __len__(self) -> int:
        return len(self.cases)

    def volume(self, case: int, kind: str) -> NDArray[np.float16]:
        """[rows, 64, 64]: one kind of a case, as far up and down as the camera saw it; it stays on disk."""
        return self._volumes[case, MAP_KINDS.index(kind)][self._rows[case]]

    def heart(self, case: int) -> NDArray[np.float64]:
        """(z, y, x) of the middle of the left ventricle in voxels of `volume`."""
        x, y, z = self.cases[case]["heart_mm"]
        first = self._rows[case].start
        return np.array([z, y, x]) / MAP_MM + (np.array(MAP_SHAPE) - 1) / 2 - (first, 0, 0)


def is_map_cohort(folder: Path) -> bool:
    """Whether a folder says that it holds maps."""
    try:
        return json.loads((folder / "index.json").read_text()).get("format") == FORMAT_MAPS
    except (OSError, ValueError, AttributeError):
        return False
