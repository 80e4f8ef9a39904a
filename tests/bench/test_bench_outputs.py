"""Where measurements put their results: a file of others is never replaced, and nothing measured is lost."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bench import outputs
from bench.__main__ import main
from bench.evidence import acceptance
from spectac_fast.errors import UsageError


def arrays(**of):
    held = io.BytesIO()
    np.savez_compressed(held, **of)
    return held.getvalue()


def picture(grey, made_by):
    held, said = io.BytesIO(), PngInfo()
    if made_by:
        said.add_text("Software", made_by)
    Image.fromarray(np.full((2, 2), grey, np.uint8)).save(held, "PNG", pnginfo=said)
    return held.getvalue()


# Name -> (a result, one of an earlier time, those of others).
FORMS = {
    "a.md": (b"# Axis\n\n2\n", b"# Axis\n\n1\n", [b"# Mine\n\n2\n", b"", b"\0" * 40]),
    "a.csv": (b"op,ms\na,2\n", b"op,ms\na,1\n", [b"op,s\na,2\n", b"\n"]),
    "a.json": (
        b'{"commit": 2, "x": []}',
        b'{"commit": 1, "x": [1]}',
        [b"{}x", b"[]", b'{"a": 1, "b": 2, "x": 3}'],
    ),
    "b.json": (b'[{"x": 2}]', b'[{"x": 1}, {"x": 2}]', [b"[1]", b'[{"y": 1}]', b"[" * 99_999]),
    "a.npz": (arrays(x=np.ones(2)), arrays(x=np.zeros(3)), [arrays(y=np.ones(2)), b"PK\3\4", b"what"]),
    "a.png": (picture(1, "spectac_fast"), picture(2, "spectac_fast"), [picture(1, ""), picture(1, "GIMP"), b"x"]),
}


@pytest.mark.parametrize("name", FORMS)
def test_results_replace_earlier_ones_and_nothing_else(tmp_path, name):
    new, old, others = FORMS[name]
    path = tmp_path / "results" / name
    outputs.write(path, new)
    for earlier in (old, new):
        path.write_bytes(earlier)
        outputs.write(path, new)
        assert path.read_bytes() == new
    beside = path.with_name(f"{path.stem}-1{path.suffix}")
    for other in others:
        path.write_bytes(other)
        with pytest.raises(UsageError, match=re.escape(f"What was measured is in {beside}.")):
            outputs.write(path, new)
        assert (path.read_bytes(), beside.read_bytes()) == (other, new)
        beside.unlink()
    assert [each.name for each in path.parent.iterdir()] == [name]


def test_links_and_folders_stay_whatever_is_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "_permit", outputs.ContextVar("permit", default=outputs.Permit((), True)))
    (tmp_path / "theirs").write_bytes(b"x")
    (tmp_path / "link.md").symlink_to(tmp_path / "theirs")
    (tmp_path / "folder.md").mkdir()
    for name in ("link.md", "folder.md"):
        with pytest.raises(UsageError, match="which is never replaced"):
            outputs.write(tmp_path / name, "# Axis\n")
    assert (tmp_path / "theirs").read_bytes() == b"x"
    outputs.write(tmp_path / "theirs", "# Axis\n")
    assert (tmp_path / "theirs").read_bytes() == b"# Axis\n"


def test_the_command_says_it_in_a_sentence(tmp_path, monkeypatch, capsys):
    case = acceptance.Case("a", "passed", "", 1.0, ())
    monkeypatch.setattr(acceptance, "run_part", lambda part: [case])
    taken = tmp_path / "a.md"
    taken.write_text("# Mine")
    monkeypatch.setattr("sys.argv", ["bench", "acceptance", "crash", "-o", str(taken)])
    assert main() == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bench acceptance:")]
    assert f"{taken}: expected" in line
    assert taken.read_text() == "# Mine"
    (tmp_path / "a.json").write_text('{"mine": 1}')
    assert main() == 2
    assert "expected results of earlier parts" in capsys.readouterr().err
    assert (tmp_path / "a.json").read_text() == '{"mine": 1}'


def test_every_writer_comes_here(repository):
    """What writes to a path of its own, without asking, is one that makes test data."""
    writes = re.compile(r"\.write_(?:text|bytes)\(|\.savefig\(|savez|shutil\.copy|os\.(?:replace|rename)\(")
    asks = re.compile(r"\bpart\.write_|savefig\(part,|with appearing\(|savez_compressed\((?:file|content),")
    opens = re.compile(r"open\([^)]*[\"'][wax]b?[\"']")
    found = []
    for path in (repository / "bench").rglob("*.py"):
        if path.parent.name != "matrix" and path != repository / "bench/outputs.py":
            lines = path.read_text().splitlines()
            wrong = [line for line in lines if writes.search(line) or opens.search(line)]
            wrong = [line for line in wrong if not asks.search(line)]
            wrong += [line for line in lines if "spectac_fast.outputs import appearing" in line]
            found += [f"{path.name}: {line.strip()}" for line in wrong]
    assert found == []
