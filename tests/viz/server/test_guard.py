"""Host, Origin and token are checked, and every answer has the headers that confine a page."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from viz.server.guard import HEADERS, Access
from viz.server.served import ServedIndexes

SQL = {"sql": "SELECT 1 AS one"}


@pytest.mark.parametrize(
    ("bound", "names", "served", "refused"),
    [
        (
            "127.0.0.1",
            (),
            ("127.0.0.1:8765", "localhost", "LOCALHOST:1", "[::1]:8765"),
            (
                "evil.example",
                "127.0.0.1.evil.example",
                "192.168.1.2",
                "",
                "localhost.",
                "a@localhost",
                "[::1",
            ),
        ),
        ("0.0.0.0", (), ("192.168.1.2:8765", "localhost", "[fe80::1]:8765"), ("evil.example", "lab.example")),
        ("0.0.0.0", ("Lab.example",), ("lab.example:80", "10.0.0.1"), ("evil.example",)),
        ("192.168.1.2", (), ("192.168.1.2:8765",), ("localhost", "127.0.0.1", "192.168.1.3")),
        ("::1", (), ("[::1]:8765", "localhost:8765"), ("[::2]:8765",)),
    ],
)
def test_names_under_which_a_server_is_reached(
    bound: str, names: tuple[str, ...], served: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    access = Access.of(bound, 8765, names)
    assert [host for host in served if not access.serves(host)] == []
    assert [host for host in refused if access.serves(host)] == []


def test_tokens_are_long_and_never_the_same() -> None:
    tokens = {Access.of("localhost", 1).token for _ in range(50)}
    assert len(tokens) == 50
    assert min(map(len, tokens)) >= 32
    access = Access.of("localhost", 1)
    assert access.is_token(access.token)
    assert not any(map(access.is_token, ("", access.token[:-1], access.token + "x", "\udcff", "é")))


def test_a_page_whose_name_was_made_to_lead_here_is_refused(owner: TestClient) -> None:
    for path in ("/", "/0/index.html", "/0/photographs/0.webp", "/0/atlas.css"):
        for host in ("evil.example:8765", "evil.example", ""):
            answer = owner.get(path, headers={"Host": host})
            assert answer.status_code == 403, (path, host)
            assert "not reached under that name" in answer.text
    assert owner.post("/0/query.html", data=SQL, headers={"Host": "evil.example"}).status_code == 403


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://127.0.0.1",
        "http://127.0.0.1:3000",
        "http://localhost:8765",
        "file://",
    ],
)
def test_a_form_of_another_site_is_refused_even_with_the_token(owner: TestClient, origin: str) -> None:
    for path in (
        "/0/query.html",
        "/0/query.csv",
        "/0/photograph.html",
        "/0/unit/0/1/render",
        "/0/jobs/1/cancel",
    ):
        answer = owner.post(path, data=SQL, headers={"Origin": origin})
        assert answer.status_code == 403, path
        assert "other sites" in answer.text


def test_a_change_needs_the_token(visitor: TestClient, served: ServedIndexes) -> None:
    own = {"Origin": "http://127.0.0.1:8765"}
    assert visitor.post("/0/query.html", data=SQL).status_code == 403
    refused = visitor.post("/0/query.html", data=SQL, headers=own)
    assert refused.status_code == 403
    assert "address that maxact serve has printed" in refused.text
    for wrong in ("Bearer x", "Basic " + served.access.token, "Bearer", served.access.token):
        assert visitor.post("/0/query.html", data=SQL, headers={"Authorization": wrong}).status_code == 403
    right = {"Authorization": f"Bearer {served.access.token}"}
    assert visitor.post("/0/query.html", data=SQL, headers=right).status_code == 200


def test_the_printed_address_becomes_a_cookie_of_this_site_only(
    visitor: TestClient, served: ServedIndexes
) -> None:
    token = served.access.token
    answer = visitor.get(f"/?token={token}", follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/"} <= set(cookie.split("; "))
    # With the cookie, the Origin must be there: a program without one gives the header.
    assert visitor.post("/0/query.html", data=SQL).status_code == 403
    own = {"Origin": "http://127.0.0.1:8765"}
    assert visitor.post("/0/query.html", data=SQL, headers=own).status_code == 200
    assert "disabled" not in visitor.get("/0/query.html").text
    # Neither do the cookies of other servers on this machine matter.
    jar = f'theme={{"a": 1}}; a b=c; maxact-8766=x; {served.access.cookie}={token}; z='
    answer = visitor.post("/0/query.html", data=SQL, headers={**own, "Cookie": jar})
    assert answer.status_code == 200


def test_another_token_is_refused(visitor: TestClient) -> None:
    answer = visitor.get("/?token=guessed", follow_redirects=False)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert "disabled" in visitor.get("/0/query.html").text


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_sites_may_link_here_but_not_load_anything(visitor: TestClient, site: str) -> None:
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
    assert visitor.get("/0/photographs/0.webp", headers=headers).status_code == 403
    headers["Sec-Fetch-Mode"] = "navigate"
    assert visitor.get("/0/index.html", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "path", ["/0/index.html", "/0/nothing", "/0/atlas.js", "/0/photographs/0.webp", "/0/query.html", "/x/y/z"]
)
def test_every_answer_confines_the_page(visitor: TestClient, path: str) -> None:
    found = visitor.get(path).headers
    assert {name: found[name] for name in HEADERS} == HEADERS
    policy = dict(part.split(maxsplit=1) for part in found["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"


def test_no_page_has_script_or_style_of_its_own(owner: TestClient) -> None:
    pages = ["query.html", "photograph.html", "recipes.html", "index.html", "layer/0.html", "unit/0/1.html"]
    for page in (*pages, "image/0.html", "sql.html", "nothing.html"):
        text = owner.get(f"/0/{page}", headers={"Accept": "text/html"}).text
        assert not re.search(r"<style|<script(?! src=)|\sstyle=|\son\w+=|javascript:", text), page


def test_a_websocket_is_refused(visitor: TestClient) -> None:
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), visitor.websocket_connect("/0/index.html"):
        pass


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_refused(owner: TestClient, method: str) -> None:
    assert owner.request(method, "/0/index.html").status_code in (403, 405)
