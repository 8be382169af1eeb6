"""A server's indexes for all tests: one with a network, and one whose names are hostile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pipeline.progress import Silent
from tests.fixtures.complete_index import build_complete_index
from tests.fixtures.small_index import build_index
from tests.fixtures.tiny import tiny_network
from tests.viz.atlas.conftest import make_hostile
from viz.server.app import make_app
from viz.server.guard import Access
from viz.server.live_atlas import LiveOptions
from viz.server.run import open_served
from viz.server.served import ServedIndexes

HOST = "127.0.0.1:8765"

Open = Callable[..., TestClient]


@pytest.fixture(scope="session")
def tiny_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the tiny network, with two renderings; not to be changed."""
    return build_complete_index(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session")
def hostile_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with hostile names, without a network."""
    out = build_index(tmp_path_factory.mktemp("served-hostile"))
    make_hostile(out)
    return out


def client_of(served: ServedIndexes) -> TestClient:
    """A browser on the machine itself, without the token."""
    return TestClient(make_app(served), base_url=f"http://{HOST}", raise_server_exceptions=True)


def with_token(client: TestClient, served: ServedIndexes) -> TestClient:
    """The same with the token, as a program sends it."""
    client.headers["Authorization"] = f"Bearer {served.access.token}"
    return client


@pytest.fixture(scope="module")
def served(tiny_out: Path, hostile_out: Path) -> Iterator[ServedIndexes]:
    """Both indexes, open; the first with its network."""
    with ExitStack() as stack:
        access = Access.of("127.0.0.1", 8765)
        options = LiveOptions(network=tiny_network(), seconds=20)
        first = stack.enter_context(open_served([tiny_out], access, options, reporter=Silent()))
        plain = LiveOptions(maps=False, render=False, seconds=20)
        both = stack.enter_context(open_served([hostile_out, hostile_out], access, plain, reporter=Silent()))
        yield ServedIndexes([first.atlases[0], both.atlases[1]], first.jobs, access)


@pytest.fixture
def visitor(served: ServedIndexes) -> Iterator[TestClient]:
    """Somebody without the token."""
    with client_of(served) as client:
        yield client


@pytest.fixture
def owner(served: ServedIndexes) -> Iterator[TestClient]:
    """Somebody with the token."""
    with client_of(served) as client:
        yield with_token(client, served)
