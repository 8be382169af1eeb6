"""Photographs of visitors: what they drive, bounds of bytes and pixels, and nothing is kept."""

from __future__ import annotations

import base64
import io
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from pipeline.explain.explainer import Explainer
from pipeline.explain.photographs import Photograph
from pipeline.query.index import open_index
from tests.fixtures.tiny import picture, tiny_network
from tests.viz.server.test_sql import alert
from viz.server import uploads
from viz.server.explaining import UNITS

PAGE = "/0/photograph.html"


def send(client: TestClient, data: bytes, name: str = "a.png", **fields: str) -> tuple[int, str]:
    answer = client.post(PAGE, files={"photograph": (name, data, "image/png")}, data=fields)
    return answer.status_code, answer.text


def test_the_units_are_those_that_explain_finds(owner: TestClient, tiny_out: Path) -> None:
    data = picture(99, side=40)
    status, text = send(owner, data)
    assert status == 200
    with open_index(tiny_out) as index:
        explained = Explainer(index, tiny_network()).explain(Photograph("", data), n=UNITS, maps=True)
    links = re.findall(r'<li><a href="unit/(\d+)/(\d+)\.html">', text)
    expected = [(str(e.layer.ordinal), str(u.unit)) for e in explained.layers for u in e.units]
    assert links == expected
    pictures = re.findall(r'src="data:image/webp;base64,([^"]+)"', text)
    assert len(pictures) == 1 + len(expected)
    with Image.open(io.BytesIO(base64.b64decode(pictures[1]))) as shown:
        assert shown.format == "WEBP"
        assert shown.size == (40, 40)
    assert re.search(r"higher than (all images|[\d.]+ %)", text)


def test_the_map_is_drawn_over_the_photograph(owner: TestClient) -> None:
    _, text = send(owner, picture(99, side=40))
    pictures = re.findall(r'src="data:image/webp;base64,([^"]+)"', text)
    whole, first = (np.asarray(Image.open(io.BytesIO(base64.b64decode(each)))) for each in pictures[:2])
    assert whole.shape == first.shape
    assert first.mean() < whole.mean() - 5


def test_one_layer_can_be_chosen(owner: TestClient) -> None:
    _, text = send(owner, picture(1), layer="1")
    assert set(re.findall(r'<li><a href="unit/(\d+)/', text)) == {"1"}
    status, text = send(owner, picture(1), layer="77")
    assert (status, alert(text)) == (400, "there is no such layer")


def test_too_many_pixels_are_refused_by_the_header(
    owner: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_PIXELS", 399)
    opened: list[bytes] = []
    monkeypatch.setattr(uploads, "open_original", opened.append)
    status, text = send(owner, picture(1, side=20))
    assert status == 413
    assert "20 x 20 pixels; at most 399" in alert(text)
    assert not opened


@pytest.mark.parametrize(
    ("side", "status", "message"), [(7_200, 413, "7,200 x 7,200 pixels"), (20_000, 400, "bomb")]
)
def test_a_small_file_of_many_pixels_is_refused(
    owner: TestClient, side: int, status: int, message: str
) -> None:
    stream = io.BytesIO()
    Image.new("1", (side, side)).save(stream, "PNG")
    assert len(stream.getvalue()) < 1 << 17
    found, text = send(owner, stream.getvalue())
    assert found == status
    assert message in alert(text)


@pytest.mark.parametrize("declared", [True, False])
def test_too_many_bytes_are_refused_before_they_are_read(
    owner: TestClient, monkeypatch: pytest.MonkeyPatch, declared: bool
) -> None:
    monkeypatch.setattr(uploads, "MAX_PHOTOGRAPH_BYTES", 10_000)
    sent: list[int] = []

    def parts():  # type: ignore[no-untyped-def]
        for number in range(1000):
            sent.append(number)
            yield b"x" * 1000

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    if declared:
        answer = owner.post(PAGE, content=b"x" * 20_000, headers=headers)
    else:
        answer = owner.post(PAGE, content=parts(), headers=headers)
    assert answer.status_code == 413
    assert "at most" in alert(answer.text)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        b"<svg/>",
        picture(1)[:60],
        b"\xff\xd8\xff\xe0" + b"\x00" * 50,
        b"GIF89a",
        b"%!PS-Adobe-3.0 EPSF",
    ],
)
def test_what_is_no_photograph_is_refused(owner: TestClient, data: bytes) -> None:
    status, text = send(owner, data)
    assert status == 400
    assert alert(text)
    assert 'class="driven"' not in text


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("text/plain", b"x", 415),
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=b", b"", 400),
        ("multipart/form-data; boundary=b", b"--b\r\nnonsense", 400),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="photograph"\r\n\r\nx\r\n--b--\r\n',
            400,
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="photograph"; filename="../../x"\r\n\r\nx\r\n' * 2
            + b"--b--\r\n",
            400,
        ),
    ],
)
def test_other_forms_are_refused(owner: TestClient, kind: str, body: bytes, status: int) -> None:
    answer = owner.post(PAGE, content=body, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert alert(answer.text)


def test_nothing_is_kept(
    owner: TestClient, tiny_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even in a temporary file, however long the file is."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    before = sorted(tiny_out.rglob("*"))
    noise = np.random.default_rng(0).integers(0, 255, (1200, 1200, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    assert len(stream.getvalue()) > 4_000_000
    status, text = send(owner, stream.getvalue(), name="../../../evil.png")
    assert status == 200
    assert "evil" not in text
    assert sorted(tiny_out.rglob("*")) == before


def test_a_network_that_cannot_be_loaded_is_said(owner: TestClient) -> None:
    answer = owner.post("/1/photograph.html", files={"photograph": ("a", picture(1), "image/png")})
    assert answer.status_code == 400
    assert alert(answer.text)


def test_forms_that_cannot_be_read_are_refused(owner: TestClient) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    for body in (b"recipe=%FF", b"\xff", b"&".join(b"a=1" for _ in range(2000))):
        answer = owner.post("/0/query.html", content=body, headers=kind)
        assert answer.status_code == 400
        assert "the form cannot be read" in answer.text
