"""Which addresses an OUT may have, and that no secret of one is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.data.retry import describe
from pipeline.errors import MaxactError, StoreError, UsageError, WrongFolder
from pipeline.query.index import open_index
from pipeline.remote.address import Address, open_address
from pipeline.remote.local import local_folder, refuse_data_address


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("s4://bucket/run", "fsspec knows no s4://"),
        ("https://host/run", "fsspec does not write there"),
        ("HTTP://host/run", "fsspec does not write there"),
        ("simplecache::s3://bucket/run", "no address|does not write there"),
        ("s3://", "no address of a folder"),
        ("s3:///run", "no address of a folder"),
        ("s3://bucket//run", "without empty parts"),
        ("s3://bucket/../run", "without empty parts, `..`"),
        ("s3://bucket/run*", "no address of a folder"),
        ("s3://bucket/a\nb", "no address of a folder"),
        ("s3://bucket/run?versionId=1", r"has a query \(\?\)"),
        ("s3://bucket/run#top", "a fragment"),
        ("s3://key:secret@bucket/run", "has a user or a key in it"),
        ("s3:/bucket/run", "write s3://bucket/run"),
        ("s3:bucket/run", "write s3://bucket/run"),
        ("gs:/bucket", "write gs://bucket"),
    ],
)
def test_what_is_no_address_of_an_out_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        open_index(text)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "versionId=1" not in str(caught.value)


def test_a_path_with_an_address_in_it_has_lost_a_slash() -> None:
    with pytest.raises(WrongFolder, match=r"write s3://bucket/run .*in Python as a text"):
        open_index(Path("s3://bucket/run"))


def test_a_folder_may_be_called_like_a_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s3:").mkdir()
    assert local_folder("s3:/run") == Path("s3:/run")


def test_slashes_at_the_end_and_letters_of_the_protocol_make_no_difference() -> None:
    found = [open_address(text) for text in ("memory://a/b", "memory://a/b/", "MEMORY://a/b//")]
    assert {each.url for each in found if isinstance(each, Address)} == {"memory://a/b"}
    assert len(found) == 3


def test_the_address_of_a_file_is_a_path(tmp_path: Path) -> None:
    assert local_folder(f"file://{tmp_path}/run/") == tmp_path / "run"


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(
        StoreError, match=r"Install s3fs to access S3 \(pip install 'maxact\[s3\]'\)"
    ) as caught:
        open_address("s3://bucket/run")
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("out", "data"),
    [
        ("s3://b/set", "s3://b/set"),
        ("s3://b/set/out", "s3://b/set/"),
        ("s3://b/set/out", "s3://b/set/*.tar"),
        ("s3://b/set", "s3://b/set/train-{000..009}.tar"),
    ],
)
def test_an_out_among_the_images_is_refused(out: str, data: str) -> None:
    with pytest.raises(WrongFolder, match="is not apart from the dataset"):
        refuse_data_address(out, data)


@pytest.mark.parametrize("data", ["s3://b/set2", "s3://c/set", "gs://b/set", "/data", "demo"])
def test_an_out_elsewhere_is_fine(data: str) -> None:
    refuse_data_address("s3://b/set", data)


@pytest.mark.parametrize(
    "text",
    [
        "cannot reach https://AKIAABCDEFGHIJKLMNOP:secret@host/key",
        "https://host/key?X-Amz-Signature=secret&X-Amz-Credential=secret",
        "GET /key?sig=secret&Signature=secret failed, token=secret",
        "the key AKIASECRETSECRETSECR does not exist",
    ],
)
def test_what_libraries_say_is_shown_without_secrets(text: str) -> None:
    shown = describe(OSError(text))
    assert "secret" not in shown.lower()
    assert "..." in shown


def test_errors_are_on_one_line() -> None:
    assert describe(OSError("first\nsecond\tthird")) == "first second third"
    assert describe(ValueError()) == "ValueError"
    assert isinstance(WrongFolder("x"), MaxactError)


def test_whatever_a_library_raises_when_it_is_opened_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str) -> None:
        raise RuntimeError("no region\nwas given")

    monkeypatch.setattr("fsspec.core.url_to_fs", fail)
    with pytest.raises(StoreError, match=r"cannot open memory://bucket/run: .*no region was given"):
        open_address("memory://bucket/run")
