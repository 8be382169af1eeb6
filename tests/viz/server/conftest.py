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
from viz.server.book import BookOptions
from viz.server.guard import Access
from viz.server.library import Library
from viz.server.run import open_library

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


def client_of(library: Library) -> TestClient:
    """A browser on the machine itself, without the token."""
    return TestClient(make_app(library), base_url=f"http://{HOST}", raise_server_exceptions=True)


def with_token(client: TestClient, library: Library) -> TestClient:
    """The same with the token, as a program sends it."""
    client.headers["Authorization"] = f"Bearer {library.access.token}"
    return client


@pytest.fixture(scope="module")
def library(tiny_out: Path, hostile_out: Path) -> Iterator[Library]:
    """Both indexes, open; the first with its network."""
    with ExitStack() as stack:
        access = Access.of("127.0.0.1", 8765)
        options = BookOptions(network=tiny_network(), seconds=20)
        first = stack.enter_context(open_library([tiny_out], access, options, reporter=Silent()))
        plain = BookOptions(maps=False, render=False, seconds=20)
        both = stack.enter_context(open_library([hostile_out, hostile_out], access, plain, reporter=Silent()))
        yield Library([first.books[0], both.books[1]], first.jobs, access)


@pytest.fixture
def visitor(library: Library) -> Iterator[TestClient]:
    """Somebody without the token."""
    with client_of(library) as client:
        yield client


@pytest.fixture
def owner(library: Library) -> Iterator[TestClient]:
    """Somebody with the token."""
    with client_of(library) as client:
        yield with_token(client, library)
