"""Signatures of run.json, the user's key, and links that lead out of an index."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import StoreError, UntrustedIndex
from pipeline.progress import Silent
from pipeline.store.run_file import read_run
from pipeline.store.trust import is_own, key_path, refuse_links, sign_run
from tests.fixtures.small_index import build_index

RUN: dict[str, Any] = {
    "config": {
        "network": "net.py:make",
        "weights": "weights.pth",
        "directions": ["layer=a.safetensors"],
        "cache": None,
    },
    "network": {"digest": "0" * 64},
    "dataset": {"data": ["demo"]},
}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


class Notes(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)


def changed(run: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    copy = json.loads(json.dumps(run))
    first, second = field.split(".")
    copy[first][second] = value
    return copy


def test_a_signed_run_is_ones_own_and_the_key_is_secret() -> None:
    signed = sign_run(RUN)
    assert is_own(signed)
    assert not is_own(RUN)
    assert key_path().stat().st_mode & 0o777 == 0o600
    assert len(key_path().read_bytes()) == 32
    assert key_path().read_bytes().hex() not in json.dumps(signed)
    assert sign_run(signed) == signed
    assert is_own(json.loads(json.dumps(signed)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("config.network", "other.py:make"),
        ("config.network", "net:make"),
        ("config.weights", "other.pth"),
        ("config.weights", None),
        ("config.directions", ["layer=b.safetensors"]),
        ("config.directions", ["other=a.safetensors"]),
        ("config.directions", []),
        ("config.cache", "/elsewhere"),
        ("dataset.data", ["https://host/x.tar"]),
        ("dataset.data", ["demo", "demo"]),
        ("network.digest", "1" * 64),
    ],
)
def test_a_changed_name_is_not_signed(field: str, value: Any) -> None:
    assert not is_own(changed(sign_run(RUN), field, value))


@pytest.mark.parametrize("signature", ["", "0" * 64, 7, None, "é" * 64, ["0"]])
def test_what_is_no_signature(signature: Any) -> None:
    sign_run(RUN)
    assert not is_own({**RUN, "signature": signature})


def test_a_relative_path_is_signed_for_the_file_that_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = sign_run(RUN)
    (tmp_path / "received").mkdir()
    monkeypatch.chdir(tmp_path / "received")
    assert not is_own(signed)
    monkeypatch.chdir(tmp_path)
    assert is_own(signed)
    (tmp_path / "elsewhere.py").write_text("")
    (tmp_path / "net.py").symlink_to("elsewhere.py")
    assert not is_own(signed)


def test_a_module_of_the_current_folder_is_signed_for_that_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = sign_run(changed(changed(RUN, "config.network", "nets.mine:make"), "config.weights", None))
    installed["config"]["directions"] = []
    installed = sign_run(installed)
    (tmp_path / "received" / "nets").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "received")
    assert not is_own(installed)
    (tmp_path / "received" / "nets").rmdir()
    assert is_own(installed)


def test_another_key_is_another_user(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signed = sign_run(RUN)
    monkeypatch.setenv("HOME", str(own_home.parent / "other"))
    assert not is_own(signed)
    assert not key_path().exists()
    assert sign_run(RUN)["signature"] != signed["signature"]
    assert not is_own(signed)


@pytest.mark.parametrize("spoil", ["mode", "short", "long", "link", "folder"])
def test_a_key_that_cannot_be_used_is_said_and_nothing_is_signed(spoil: str) -> None:
    signed = sign_run(RUN)
    path = key_path()
    key = path.read_bytes()
    if spoil == "mode":
        path.chmod(0o640)
    elif spoil == "short":
        path.write_bytes(key[:31])
    elif spoil == "long":
        path.write_bytes(key + b"x")
    elif spoil == "link":
        path.rename(path.with_name("moved"))
        path.symlink_to("moved")
    else:
        path.unlink()
        path.mkdir()
    assert not is_own(signed)
    notes = Notes()
    assert "signature" not in sign_run(RUN, notes)
    (line,) = notes.told
    assert "not signed" in line
    assert "\n" not in line
    assert key.hex() not in line


def test_no_home_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert "signature" not in sign_run(RUN)
    assert not is_own({**RUN, "signature": "0" * 64})


def test_processes_that_start_together_make_one_key(own_home: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    code = (
        "import json, sys; from pipeline.store.trust import sign_run\n"
        "print(sign_run(json.loads(sys.argv[1]))['signature'])"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(RUN)],
            env={**os.environ, "HOME": str(own_home), "PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    signatures = {process.communicate()[0].strip() for process in started}
    assert signatures == {sign_run(RUN)["signature"]}
    assert [path.name for path in key_path().parent.iterdir()] == ["index.key"]


def test_links_inside_are_followed_and_links_out_are_refused(tmp_path: Path) -> None:
    out = build_index(tmp_path)
    (out / "renders" / "deep").mkdir(parents=True)
    (out / "renders" / "deep" / "same").symlink_to("../../images.parquet")
    (out / "loop").symlink_to("loop")
    refuse_links(out)
    refuse_links(tmp_path / "missing")
    for target in ("/etc", "../../../photographs", str(tmp_path), "../../../index-beside/file"):
        link = out / "renders" / "deep" / "out"
        link.symlink_to(target)
        with pytest.raises(UntrustedIndex, match="is a link that leads out of"):
            refuse_links(out)
        link.unlink()
    os.mkfifo(out / "pipe")
    with pytest.raises(UntrustedIndex, match="neither a file nor a folder"):
        refuse_links(out)


def test_run_json_itself_is_a_file_of_the_index(tmp_path: Path) -> None:
    out = build_index(tmp_path)
    (out / "run.json").rename(tmp_path / "run.json")
    (out / "run.json").symlink_to(tmp_path / "run.json")
    with pytest.raises(StoreError, match="leads out of the index"):
        read_run(out)
    (out / "run.json").unlink()
    os.mkfifo(out / "run.json")
    with pytest.raises(StoreError, match="is not a file"):
        read_run(out)


def test_a_key_of_another_user_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    signed = sign_run(RUN)
    user = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: user + 1)
    notes = Notes()
    assert not is_own(signed)
    assert "signature" not in sign_run(RUN, notes)
    assert "it is not a file of yours; remove it" in notes.told[0]


def test_a_key_that_vanishes_while_it_is_made_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", lambda source, target: None)
    notes = Notes()
    assert "signature" not in sign_run(RUN, notes)
    assert "not signed" in notes.told[0]


def test_a_module_whose_name_cannot_be_looked_up_is_signed_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`find_spec` raises for a module that was put into `sys.modules` without a spec."""
    monkeypatch.setitem(sys.modules, "mynets", type(sys)("mynets"))
    monkeypatch.setattr(sys.modules["mynets"], "__spec__", None)
    assert is_own(sign_run(changed(RUN, "config.network", "mynets:make")))


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(StoreError, match="cannot be listed: Permission denied"):
        refuse_links(tmp_path)
