"""Published files in every configuration that matters, against a second writing of their code.

The cases are those of `python -m bench checkpoints`; the writing shares no line with the package.
"""

from __future__ import annotations

import pytest

from bench.matrix.cases import Case, cases
from bench.matrix.checkpoints import RESULTS, outcome

# Every refusal, and one in six of what runs; all of it at night, and whenever the table is made.
_RUNNING = [case for case in cases() if not case.refused]
_BY_DAY = [case for case in cases() if case.refused] + _RUNNING[::6]


def check(case: Case, folder) -> None:
    found = outcome(case, folder)
    if case.refused:
        assert found.difference is None, case.name
        assert case.refused in found.said
        assert found.said.startswith("spectac: ")
        assert found.said.count("\n") == 1
    else:
        assert found.difference is not None, found.said
        assert found.difference < case.tolerance


@pytest.mark.parametrize("case", _BY_DAY, ids=lambda case: case.name)
def test_a_configuration_comes_out_right_or_is_refused(case, tmp_path):
    check(case, tmp_path)


@pytest.mark.night
@pytest.mark.parametrize("case", [case for case in _RUNNING if case not in _BY_DAY], ids=lambda case: case.name)
def test_every_configuration_comes_out_right(case, tmp_path):
    check(case, tmp_path)


def test_the_table_is_of_these_cases():
    """The committed page has a row for each, in this order, and each has a name of its own."""
    rows = [line for line in (RESULTS / "checkpoints.md").read_text().splitlines() if line.startswith("| ")][1:]
    names = [case.name for case in cases()]
    assert len(set(names)) == len(names) >= 60
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == names
    assert [" | refused | " in row for row in rows] == [bool(case.refused) for case in cases()]
