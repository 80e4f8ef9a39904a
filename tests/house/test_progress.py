"""Progress lines: a redrawn bar on a terminal, rare plain lines elsewhere."""

import io
import json

import pytest

from spectac_fast import progress
from spectac_fast.progress import Progress, duration


class Clock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_plain_lines_come_every_few_seconds_with_the_time_left(monkeypatch):
    clock, stream = Clock(monkeypatch), io.StringIO()
    with Progress(100, "correcting", "slices", stream) as bar:
        for _ in range(24):
            clock.now += 0.5
            bar.step(2)
    assert stream.getvalue() == ("correcting: 20/100 slices, 20 s left\ncorrecting: 40/100 slices, 15 s left\n")


def test_terminal_redraws_one_line_and_ends_it(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    clock, stream = Clock(monkeypatch), Terminal()
    with Progress(4, "phantom", "cases", stream) as bar:
        for _ in range(4):
            clock.now += 60
            bar.step(note="seed 7")
    *_, last = stream.getvalue().split("\r")
    assert stream.getvalue().count("\n") == 1
    assert last == "[########################] phantom: 4/4 cases in 4 min 00 s  seed 7\n"


def test_dumb_terminals_get_plain_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    clock, stream = Clock(monkeypatch), Terminal()
    with Progress(2, "x", "y", stream) as bar:
        clock.now += 6
        bar.step()
    assert stream.getvalue() == "x: 1/2 y, 6 s left\n"


def test_programs_get_one_object_a_line(monkeypatch):
    clock, stream = Clock(monkeypatch), Terminal()
    with Progress(4, "x", "y", stream, style="json") as bar:
        for _ in range(4):
            clock.now += 0.6
            bar.step()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines[0] == {"label": "x", "done": 2, "total": 4, "unit": "y", "seconds_left": 1.2, "note": ""}
    assert (len(lines), lines[-1]["done"], lines[-1]["seconds_left"]) == (3, 4, 0.0)


def test_styles_that_silence_or_flatten(monkeypatch):
    for style, expected in (("off", ""), ("plain", "x: 1/2 y, 6 s left\n")):
        clock, stream = Clock(monkeypatch), Terminal()
        with Progress(2, "x", "y", stream, style=style) as bar:
            clock.now += 6
            bar.step()
        assert stream.getvalue() == expected
    with pytest.raises(ValueError, match="style"):
        Progress(1, "x", "y", style="loud")


@pytest.mark.parametrize("terminal", [False, True])
def test_nothing_to_do_shows_nothing(terminal):
    stream = Terminal() if terminal else io.StringIO()
    with Progress(0, "x", "y", stream) as bar:
        bar.step()
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_durations_for_people(seconds, text):
    assert duration(seconds) == text


def test_a_bar_is_there_at_once_and_anything_else_when_it_is_asked(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    Clock(monkeypatch)
    terminal, log = Terminal(), io.StringIO()
    with Progress(2, "phantom", "cases", terminal), Progress(2, "phantom", "cases", log) as lines:
        assert terminal.getvalue() == f"\r[{'.' * 24}] phantom: 0/2 cases"
        assert log.getvalue() == ""
        lines.show()
        assert log.getvalue() == "phantom: 0/2 cases\n"


def test_what_has_no_known_end_is_counted(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    for style, expected in (("plain", "searching: 1 files\nsearching: 2 files\n"), ("auto", "\rsearching: 2 files\n")):
        clock, stream = Clock(monkeypatch), Terminal()
        with Progress(None, "searching", "files", stream, style=style) as bar:
            for _ in range(2):
                clock.now += 6
                bar.step()
        assert stream.getvalue().endswith(expected)
    stream = io.StringIO()
    with Progress(None, "searching", "files", stream, style="json") as bar:
        bar.step()
    told = json.loads(stream.getvalue())
    assert (told["done"], told["total"], told["seconds_left"]) == (1, None, None)
