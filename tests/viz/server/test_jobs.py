"""Renderings on request: one at a time, in their order, cancelled, failed, kept in the index, and told of."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from starlette.testclient import TestClient

from pipeline.errors import RenderError, UsageError
from pipeline.progress import Silent
from pipeline.query.index import open_index
from tests.fixtures.tiny import tiny_network
from tests.viz.server.conftest import client_of, with_token
from viz.recipes.catalog import get_recipe
from viz.render.render_index import render_index
from viz.render.table import load_renders
from viz.server import jobs as jobs_module
from viz.server.guard import Access
from viz.server.job import Asked, Job
from viz.server.jobs import MOST_WAITING, Jobs, TooManyJobs
from viz.server.live_atlas import LiveOptions
from viz.server.rendering import offered_recipes, read_request
from viz.server.run import open_served
from viz.server.served import ServedIndexes

ASKED = Asked(0, 0, "first", 1, get_recipe("fourier"), "point", 0)


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


class Steps:
    """Stands for a renderer: climbs until it is told to end, and notes who climbed with whom."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.order: list[int] = []
        self.active = self.most = 0

    def __call__(self, job: Job) -> str:
        self.order.append(job.number)
        self.active += 1
        self.most = max(self.most, self.active)
        try:
            step = 0
            while not self.go.is_set():
                job.see(step, 1000, torch.tensor([float(step)]), torch.zeros(1, 3, 8, 8))
                step += 1
                time.sleep(0.002)
        finally:
            self.active -= 1
        return "kept"


@contextmanager
def queue(render: Callable[[Job], str]) -> Iterator[Jobs]:
    jobs = Jobs(render)
    try:
        yield jobs
    finally:
        jobs.close(5)


def test_one_runs_and_the_others_wait_in_their_order() -> None:
    steps = Steps()
    with queue(steps) as jobs:
        added = [jobs.add(ASKED) for _ in range(4)]
        wait_for(lambda: added[0].state == "running")
        assert [jobs.ahead(job) for job in added] == [0, 1, 2, 3]
        assert jobs.of_unit(0, 0, 1) == added
        assert jobs.of_unit(0, 0, 2) == []
        steps.go.set()
        wait_for(lambda: all(job.ended for job in added))
        assert [job.state for job in added] == ["done"] * 4
        assert steps.order == [job.number for job in added]
        assert steps.most == 1
        assert jobs.of_unit(0, 0, 1) == []
        assert jobs.find(0, added[2].number) is added[2]
        assert jobs.find(1, added[2].number) is None


def test_waiting_and_running_jobs_are_cancelled() -> None:
    steps = Steps()
    with queue(steps) as jobs:
        first, second, third = (jobs.add(ASKED) for _ in range(3))
        wait_for(lambda: first.step > 2)
        jobs.cancel(second)
        assert second.state == "cancelled"
        jobs.cancel(first)
        wait_for(lambda: third.state == "running")
        assert (first.state, first.message) == ("cancelled", "cancelled; nothing was kept")
        assert steps.order == [first.number, third.number]


def test_a_failure_does_not_end_the_queue() -> None:
    outcomes: list[Exception | None] = [RenderError("no such unit"), RuntimeError("of the network"), None]

    def render(_: Job) -> str:
        outcome = outcomes.pop(0)
        if outcome:
            raise outcome
        return "kept"

    with queue(render) as jobs:
        added = [jobs.add(ASKED) for _ in range(3)]
        wait_for(lambda: added[-1].ended)
        assert [(job.state, job.message) for job in added] == [
            ("failed", "no such unit"),
            ("failed", "RuntimeError: of the network"),
            ("done", "kept"),
        ]


def test_the_queue_has_an_end() -> None:
    with queue(Steps()) as jobs:
        first = jobs.add(ASKED)
        wait_for(lambda: first.state == "running")
        for _ in range(MOST_WAITING):
            jobs.add(ASKED)
        with pytest.raises(TooManyJobs):
            jobs.add(ASKED)


def test_closing_ends_everything() -> None:
    jobs = Jobs(Steps())
    first, second = jobs.add(ASKED), jobs.add(ASKED)
    wait_for(lambda: first.state == "running")
    jobs.close(5)
    assert (first.state, second.state) == ("cancelled", "cancelled")
    with pytest.raises(TooManyJobs):
        jobs.add(ASKED)


def test_a_snapshot_tells_what_is_new() -> None:
    job = Job(1, ASKED)
    for step in range(3):
        job.see(step, 5, torch.tensor([float(step), step + 2.0]), torch.full((2, 3, 8, 16), 50.0))
    first = job.snapshot(-1, 1, 0, 0)
    assert (first.step, first.steps, first.scores, first.told) == (3, 5, (1.0, 2.0, 3.0), 0)
    assert first.picture.startswith("data:image/webp;base64,")
    assert job.snapshot(first.version, 1, 3, 0).picture == ""
    job.see(3, 5, torch.tensor([9.0]), torch.zeros(1, 1, 8, 8))
    second = job.snapshot(first.version, 1, 3, 0)
    assert (second.scores, second.told) == ((9.0,), 3)
    job.see(0, 5, torch.tensor([4.0]), torch.zeros(1, 3, 8, 8))  # a second attempt
    third = job.snapshot(second.version, 1, 4, 0)
    assert (third.attempt, third.scores, third.told) == (2, (4.0,), 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"recipe": "no such"}, "no recipe"),
        ({"recipe": "../../evil.toml"}, "no recipe"),
        ({"recipe": "dream"}, "no recipe"),
        ({"recipe": "prior"}, "no recipe"),
        ({"options": "steps"}, "KEY=VALUE"),
        ({"options": "nothing=1"}, "no option 'nothing'"),
        ({"options": "steps=fast"}, "got 'fast'"),
        ({"steps": "5", "options": "steps=6"}, "given twice"),
        ({"steps": "-1"}, "steps"),
        ({"seed": "-1"}, "a seed is"),
        ({"seed": "9" * 30}, "a seed is"),
        ({"seed": "²"}, "a seed is"),
        ({"objective": "no such thing"}, "objective"),
        ({"objective": "layer"}, "is of no unit"),
        ({"objective": "point" * 1000}, "at most"),
    ],
)
def test_a_form_that_cannot_be_rendered_is_refused(
    served: ServedIndexes, fields: dict[str, str], message: str
) -> None:
    layer = served.atlases[0].contents.layers[0]
    with pytest.raises((UsageError, RenderError), match=message):
        read_request(0, layer, 1, fields)


def test_a_form_is_what_the_command_line_makes_of_the_same_words(served: ServedIndexes) -> None:
    layer = served.atlases[0].contents.layers[0]
    fields = {"recipe": "fourier", "steps": "5", "options": " rate=0.5 jitter=4:2 ", "seed": " 7 "}
    asked = read_request(0, layer, 1, fields)
    assert asked.recipe == get_recipe("fourier", {"steps": "5", "rate": "0.5", "jitter": "4:2"})
    assert (asked.seed, asked.objective, asked.layer, asked.unit) == (7, "point", layer.name, 1)
    assert read_request(0, layer, 1, {}).recipe == get_recipe("typical")
    assert "typical" in offered_recipes()


@pytest.fixture
def rendering(tiny_out: Path, tmp_path: Path) -> Iterator[tuple[TestClient, ServedIndexes, Path]]:
    """A server of an index that may be written to, with the dataset beside it."""
    shutil.copytree(tiny_out.parent, tmp_path / "place")
    out = tmp_path / "place" / "index"
    access = Access.of("127.0.0.1", 8765)
    options = LiveOptions(network=tiny_network())
    with (
        open_served([out], access, options, data=[], reporter=Silent()) as served,
        client_of(served) as client,
    ):
        yield with_token(client, served), served, out


def events(client: TestClient, number: int) -> list[dict[str, object]]:
    """All events of a job, until its last."""
    with client.stream("GET", f"/0/jobs/{number}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


JSON = {"Accept": "application/json"}


@pytest.mark.slow
def test_a_rendering_is_followed_and_kept_like_any_other(
    rendering: tuple[TestClient, ServedIndexes, Path], tmp_path: Path
) -> None:
    client, served, out = rendering
    page = client.get("/0/unit/0/3.html").text
    assert "Not rendered yet" in page
    form = {"recipe": "fourier", "steps": "6", "seed": "5", "objective": "channel"}
    answer = client.post("/0/unit/0/3/render", data=form, headers=JSON)
    assert answer.status_code == 202
    told = events(client, answer.json()["job"])
    last = told[-1]
    assert (last["state"], last["message"]) == ("done", "1 rendering kept in the index")
    scores: list[float] = []
    for event in told:
        if event["told"] == 0:
            scores = []
        scores += event["scores"]  # type: ignore[operator]
    assert any(event["picture"] for event in told)
    (row,) = (row for row in load_renders(out) if row.unit == 3)
    assert (row.recipe, row.seed, row.objective, row.steps) == ("fourier", 5, "channel", 6)
    assert scores == pytest.approx(row.trace, abs=1e-3) or row.status == "retried"
    # It is what the command line would have rendered.
    with open_index(out) as index:
        (expected,) = render_index(
            index,
            get_recipe("fourier", {"steps": "6"}),
            layers="first",
            units="3",
            seed=5,
            objective="channel",
            network=tiny_network(),
        )
    assert expected == row
    page = client.get("/0/unit/0/3.html").text
    assert "Not rendered yet" not in page
    assert "fourier, channel" in page
    assert client.get("/0/pictures/0/3.webp").content != client.get("/0/pictures/0/4.webp").content
    # The same again finds it finished.
    again = client.post("/0/unit/0/3/render", data=form, headers=JSON).json()["job"]
    assert events(client, again)[-1]["message"] == "1 rendering found finished in the index"
    served.jobs.close(5)


@pytest.mark.slow
def test_a_rendering_is_cancelled(rendering: tuple[TestClient, ServedIndexes, Path]) -> None:
    client, served, out = rendering
    form = {"recipe": "fourier", "steps": "1000000"}
    number = client.post("/0/unit/0/3/render", data=form, headers=JSON).json()["job"]
    job = served.jobs.find(0, number)
    assert job is not None
    wait_for(lambda: job.step > 3)
    page = client.get("/0/unit/0/3.html").text
    assert f'data-job="{number}"' in page
    assert re.search(rf'action="\.\./\.\./jobs/{number}/cancel"', page)
    answer = client.post(f"/0/jobs/{number}/cancel", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "../../unit/0/3.html#render")
    assert events(client, number)[-1]["state"] == "cancelled"
    assert not [row for row in load_renders(out) if row.unit == 3]
    assert not [*out.rglob("*.checkpoint"), *out.rglob("*.tmp")]
    assert f'data-job="{number}"' not in client.get("/0/unit/0/3.html").text


@pytest.mark.slow
def test_without_scripts_a_form_leads_back_to_the_unit(
    rendering: tuple[TestClient, ServedIndexes, Path],
) -> None:
    client, served, _ = rendering
    answer = client.post(
        "/0/unit/1/0/render", data={"recipe": "fourier", "steps": "2"}, follow_redirects=False
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "../0.html#render")
    wait_for(lambda: not served.jobs.of_unit(0, 1, 0))


def test_what_cannot_be_rendered_is_said(owner: TestClient) -> None:
    answer = owner.post("/0/unit/0/1/render", data={"recipe": "no such"}, headers=JSON)
    assert answer.status_code == 400
    assert "no recipe 'no such' is offered" in answer.text
    assert owner.post("/0/unit/0/99/render", data={}).status_code == 404
    assert owner.post("/0/unit/0/1/render", content=b"x").status_code == 415
    assert owner.post("/1/unit/0/1/render", data={"recipe": "fourier"}).status_code == 403  # --no-render
    assert 'id="render"' not in owner.get("/1/unit/0/1.html").text
    for path in ("/0/jobs/12345/events", "/0/jobs/x/events"):
        assert owner.get(path).status_code == 404
    assert owner.post("/0/jobs/12345/cancel").status_code == 404


def test_the_recipes_that_are_offered_are_described(visitor: TestClient) -> None:
    text = visitor.get("/0/recipes.html").text
    for name, recipe in offered_recipes().items():
        assert f'id="{name}"' in text
        assert recipe.source in (None, "index")
    assert 'id="dream"' not in text


def test_the_oldest_that_have_ended_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "MOST_KEPT", 2)
    with queue(lambda job: "kept") as jobs:
        added = []
        for _ in range(4):
            added.append(jobs.add(ASKED))
            wait_for(lambda: added[-1].ended)
        assert list(jobs._known) == [job.number for job in added[-2:]]


def test_a_full_queue_is_an_answer_of_its_own(owner: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(jobs: Jobs, asked: Asked) -> Job:
        raise TooManyJobs("16 renderings wait already; try again later")

    monkeypatch.setattr(Jobs, "add", full)
    answer = owner.post(
        "/0/unit/0/1/render", data={"recipe": "fourier"}, headers={"Accept": "application/json"}
    )
    assert answer.status_code == 429
    assert "16 renderings wait already" in answer.text
