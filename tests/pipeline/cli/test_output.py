"""Tables on a terminal: what is left out where it is narrow."""

from __future__ import annotations

import io
import re

import pytest

from pipeline.cli.output import write_rows

COLUMNS = (
    *("rank", "activation", "key", "label", "image_id", "y", "x"),
    *("box_left", "box_top", "box_right", "box_bottom", "width", "height"),
)
BOX = (3, 4, 10.25, 20.5, 110.75, 120.0)
ROWS = [
    (rank, 12.3456 / rank, f"checks/{rank:05}.jpg", "checkerboard", 16777216 + rank, *BOX, 640, 480)
    for rank in range(1, 4)
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, width: int) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    write_rows(stream, COLUMNS, ROWS, "table")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    return [line for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("width", "hidden"),
    [
        (60, ["patch", "y", "x", "width", "height", "image_id"]),
        (80, ["patch", "y", "x", "width", "height"]),
        (90, ["patch"]),
        (120, []),
    ],
)
def test_a_narrow_terminal_drops_coordinates_and_keeps_keys(
    monkeypatch: pytest.MonkeyPatch, width: int, hidden: list[str]
) -> None:
    head, *lines = shown(monkeypatch, width)
    assert max(map(len, [head, *lines[: len(ROWS) + 1]])) <= width
    names = head.split()
    assert names[:4] == ["rank", "activation", "key", "label"]
    assert not {*names} & {*hidden}
    for line, row in zip(lines[1:], ROWS, strict=False):
        assert [str(row[0]), f"{row[1]:.4g}", *map(str, row[2:4])] == line.split()[:4]
    if hidden:
        assert lines[-1] == f"not shown at a width of {width}: {', '.join(hidden)} (--csv has all)"
    else:
        assert names[-3:] == ["patch", "width", "height"]
        assert "10,20-111,120" in lines[1], "all pixels that the patch touches"


def test_a_file_gets_every_column() -> None:
    stream = io.StringIO()
    write_rows(stream, COLUMNS, ROWS, "table")
    assert stream.getvalue().split()[-2:] == ["640", "480"]


def test_other_tables_lose_no_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    stream = Terminal()
    write_rows(stream, ("layer", "kind", "units"), [("blocks.0.0.a.long.name", "map", 96)], "table")
    assert "not shown" not in stream.getvalue()
