"""The one way to a data set's values: pydicom turns them from bytes when they are asked for, and in silence here.

Its warnings and its log quote what they are about, which may be a name. Whoever asks, in whatever room and thread, for
an element of a file that was read here therefore asks a `Header`, and its items are asked the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence

from spectac_fast.formats.dicom.elements import quiet_pydicom


class _Quiet(Dataset):
    def __getitem__(self, key: Any) -> Any:
        # What was asked for before needs no silence, which all threads have to agree on. A tag is found by its number.
        known: Mapping[Any, Any] = self._dict
        element = known.get(key) if isinstance(key, int) else None
        if isinstance(element, DataElement) and element.VR != "SQ":
            return element
        with quiet_pydicom():
            element = super().__getitem__(key)
        if isinstance(element, DataElement) and isinstance(element.value, Sequence):
            for item in element.value:
                quieten(item)
        return element

    def __iter__(self) -> Any:
        # Not the iterator of the base: a generator may be left standing within the silence.
        return iter([self[tag] for tag in sorted(self._dict)])


class Item(_Quiet):
    """An item of a sequence in a `Header`."""


class Header(_Quiet, FileDataset):
    """The data set of a file."""

    def __deepcopy__(self, memo: dict[int, Any]) -> FileDataset:
        with quiet_pydicom():
            return super().__deepcopy__(memo)


def quieten(ds: Dataset) -> Dataset:
    """The same data set, which from now on is asked in silence."""
    if type(ds) is Dataset:
        ds.__class__ = Item
    elif type(ds) is FileDataset:
        ds.__class__ = Header
    return ds
