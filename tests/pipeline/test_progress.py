"""What is said while a run is under way: rates, a time left, a total that is right at the end."""

from __future__ import annotations

import io
import re
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline import progress
from pipeline.data.dataset import Dataset, open_dataset
from pipeline.progress import ConsoleReporter, Silent, Task, readable_count, readable_duration
from pipeline.runs.run import run_index
from tests.fixtures.runs import config
from tests.fixtures.tiny import picture, tiny_network, write_tars

pytestmark = pytest.mark.slow


class Recorder(Silent):
    """Keeps what a task was told."""

    def __init__(self) -> None:
        self.totals: dict[str, list[int | None]] = {}
        self.done: dict[str, int] = {}

    @contextmanager
    def task(self, title: str, total: int | None, unit: str) -> Iterator[Task]:
        recorder = self
        recorder.totals[title], recorder.done[title] = [total], 0

        class Recorded:
            def advance(self, count: int = 1) -> None:
                recorder.done[title] += count

            def describe(self, text: str) -> None: ...

            def expect(self, total: int | None) -> None:
                recorder.totals[title].append(total)

            def tell(self, **numbers: int) -> None: ...

        yield Recorded()


def test_the_total_of_a_run_is_known_and_right_at_the_end(tmp_path: Path) -> None:
    tars = write_tars(tmp_path, [9, 14, 1, 20])
    recorder = Recorder()
    run_index(config(tars, tmp_path / "out"), network=tiny_network(), reporter=recorder)
    assert recorder.totals["indexing"][0] == 44
    assert recorder.totals["indexing"][-1] == recorder.done["indexing"] == 44


@pytest.mark.parametrize("estimate", [3, 44, 4000, None])
def test_a_wrong_estimate_is_mended_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, estimate: int | None
) -> None:
    tars = write_tars(tmp_path, [90, 140, 10, 200])
    dataset = open_dataset([str(tar) for tar in tars])
    monkeypatch.setattr(Dataset, "estimated_images", estimate)
    recorder = Recorder()
    run_index(config(tars, tmp_path / "out"), network=tiny_network(), dataset=dataset, reporter=recorder)
    totals = recorder.totals["indexing"]
    assert totals[0] == estimate
    assert all(total == pytest.approx(440, rel=0.2) for total in totals[1:])
    assert totals[-1] == recorder.done["indexing"] == 440


def test_a_resumed_run_counts_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tars = write_tars(tmp_path, [30, 30, 30])
    out = tmp_path / "out"
    run_index(config(tars, out), network=tiny_network())
    commits = sorted((out / "parts").glob("*.json"))
    commits[0].unlink()
    recorder = Recorder()
    run_index(config(tars, out), network=tiny_network(), reporter=recorder)
    assert recorder.totals["indexing"][0] == pytest.approx(30, abs=1)
    assert recorder.totals["indexing"][-1] == recorder.done["indexing"] == 30


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which the test moves."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_a_log_has_a_line_every_few_seconds_with_the_time_left(clock: list[float]) -> None:
    stream = io.StringIO()
    with ConsoleReporter(stream).task("indexing", 1000, "images") as task:
        for _ in range(10):
            clock[0] += 1
            task.advance(50)
        task.describe("a.tar")
        task.expect(2000)
        clock[0] += 5
        task.advance(250)
        task.expect(750)
    assert lines(stream) == [
        "indexing: 250 of 1,000 images, 50.0 images/s, 0:15 left",
        "indexing: 500 of 1,000 images, 50.0 images/s, 0:10 left",
        "indexing: 750 of 2,000 images, 50.0 images/s, 0:25 left (a.tar)",
        "indexing: 750 of 750 images, 50.0 images/s, 0:15 (a.tar)",
    ]


def test_without_a_total_the_time_so_far_is_told(clock: list[float]) -> None:
    stream = io.StringIO()
    with ConsoleReporter(stream).task("indexing", None, "images") as task:
        clock[0] += 6
        task.advance(60)
    assert lines(stream) == ["indexing: 60 images, 10.0 images/s, 0:06"] * 2


def test_the_first_step_is_left_out_of_the_estimate(clock: list[float]) -> None:
    """A first batch of 45 s (loading, compiling), then 1 s each, for 1,000 images in batches of 10."""
    stream = io.StringIO()
    with ConsoleReporter(stream).task("indexing", 1000, "images") as task:
        for seconds in (45, 1, 1, 1, 1, 1):
            clock[0] += seconds
            task.advance(10)
        task.expect(60)
    assert lines(stream) == [
        "indexing: 10 of 1,000 images",
        "indexing: 60 of 1,000 images, 10.0 images/s, 1:34 left",
        "indexing: 60 of 60 images, 1.2 images/s, 0:50",
    ]


def test_bad_images_are_no_step_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "cat"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}.png").write_bytes(picture(number)[: 50 if number in (0, 1, 39) else None])
    steps: list[int] = []

    class Steps(Recorder):
        @contextmanager
        def task(self, title: str, total: int | None, unit: str) -> Iterator[Task]:
            with super().task(title, total, unit) as recorded:
                if title == "indexing":
                    recorded.advance = steps.append  # type: ignore[method-assign]
                yield recorded

    asked = config([tmp_path], tmp_path.parent / f"{tmp_path.name}-out", batch_size=16, max_bad_fraction=1.0)
    run_index(asked, network=tiny_network(), reporter=Steps())
    assert steps == [18, 16, 6]


def fail_in_a_task(stream: io.StringIO) -> None:
    with ConsoleReporter(stream).task("indexing", 10, "images") as task:
        task.advance(3)
        raise KeyError


def test_a_task_that_fails_has_no_last_line(clock: list[float]) -> None:
    stream = io.StringIO()
    with pytest.raises(KeyError):
        fail_in_a_task(stream)
    assert lines(stream) == []


def test_a_terminal_gets_a_bar() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with ConsoleReporter(stream).task("indexing", 10, "images") as task:
        task.advance(4)
        task.describe("a.tar")
        task.expect(8)
        task.advance(4)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "8/8" in text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 layers"), (1, "1 layer"), (2, "2 layers"), (1024, "1,024 layers")]
)
def test_counts_have_a_singular(number: int, text: str) -> None:
    assert readable_count(number, "layer") == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (75, "1:15"), (3675, "1:01:15"), (359_999.4, "99:59:59")]
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert readable_duration(seconds) == text


class _Shell:
    kernel = object()


class _Handle:
    """What IPython's display returns: keeps what was shown."""

    def __init__(self) -> None:
        self.shown: list[object] = []

    def update(self, shown: object) -> None:
        self.shown.append(shown)


def test_a_notebook_gets_one_line_that_replaces_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handle = _Handle()
    fake = types.ModuleType("IPython")
    fake.get_ipython = _Shell
    fake.display = types.ModuleType("IPython.display")
    fake.display.display = lambda shown, display_id: handle
    for name, module in (
        ("IPython", fake),
        ("IPython.display", fake.display),
        ("ipykernel", types.ModuleType("ipykernel")),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    with ConsoleReporter().task("<work>", 4, "steps") as task:
        for _ in range(4):
            task.advance()
    last = handle.shown[-1]
    assert str(last).startswith("<work>: 4 of 4 steps")
    assert '<progress value="1.0000" max="1"></progress>' in last._repr_html_()
    assert "&lt;work&gt;" in last._repr_html_()
    assert len(handle.shown) < 4  # most versions came too soon after another
    assert capsys.readouterr().err == ""


def test_a_given_stream_is_written_to_in_a_notebook_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    stream = io.StringIO()
    with ConsoleReporter(stream).task("work", 1, "steps") as task:
        task.advance()
    assert "work: 1 of 1 steps" in stream.getvalue()
