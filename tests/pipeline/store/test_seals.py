"""Files that carry their own digest: each changed byte is noticed, in the place of the digest too."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DamagedFile
from pipeline.store.digests import TAIL_BYTES, digest_file, find_damage
from pipeline.store.schemas import RENDERS
from pipeline.store.seals import JSON, PARQUET, ZIP, Seal, is_plain_archive, seal_archive, seal_json
from pipeline.store.tables import read_sealed_table, write_table

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=6), plain, max_size=4))
def test_a_sealed_object_is_read_as_what_was_written(content: dict[str, object]) -> None:
    text = seal_json(content)
    assert JSON.is_intact(text.encode())
    assert {k: v for k, v in json.loads(text).items() if k != "sha256"} == {
        k: v for k, v in content.items() if k != "sha256"
    }
    assert seal_json(json.loads(text)) == text


def test_the_digest_is_that_of_the_file_with_zeros_in_its_place() -> None:
    blank = '{\n "a": 1,\n "sha256": "' + "0" * 64 + '"\n}\n'
    digest = hashlib.sha256(blank.encode()).hexdigest()
    assert seal_json({"a": 1}) == blank.replace("0" * 64, digest)


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("a", b"content" * 9)
    return seal_archive(stream.getvalue())


def table(folder: Path) -> bytes:
    path = folder / "t.parquet"
    write_table(path, RENDERS, [RENDERS.empty_table()], sealed=True)
    return path.read_bytes()


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    files: dict[Seal, bytes] = {
        JSON: seal_json({"tables": {}, "text": "ü" * 9}).encode(),
        ZIP: archive(),
        PARQUET: table(tmp_path),
    }
    for kind, data in files.items():
        assert kind.is_intact(data)
        for offset in range(len(data)):
            changed = bytearray(data)
            changed[offset] ^= 1 << offset % 8
            assert not kind.is_intact(bytes(changed))
        assert not kind.is_intact(data[:-1])
        assert not kind.is_intact(data + b"\n")


def test_a_sealed_archive_is_an_archive_and_never_looks_like_one_without_a_digest() -> None:
    data = archive()
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert file.read("a") == b"content" * 9
    for offset in range(len(data)):
        changed = bytearray(data)
        changed[offset] ^= 1
        assert not is_plain_archive(bytes(changed))


def test_a_table_of_an_earlier_version_has_null_in_the_new_column(tmp_path: Path) -> None:
    path = tmp_path / "renders.parquet"
    old = pa.schema([field for field in RENDERS if field.name != "sha256"])
    row = dict.fromkeys(old.names) | {"file": "renders/a.png"}
    write_table(path, old, [pa.Table.from_pylist([row], old)])
    assert read_sealed_table(path, RENDERS)["sha256"].to_pylist() == [None]


def test_a_table_that_lost_its_digest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "renders.parquet"
    write_table(path, RENDERS, [RENDERS.empty_table()])
    with pytest.raises(DamagedFile, match="its SHA-256 differs"):
        read_sealed_table(path, RENDERS)


@pytest.mark.parametrize("kind", [JSON, ZIP, PARQUET])
def test_a_digest_is_only_what_stands_at_its_place(kind: Seal) -> None:
    digest = b"0123456789abcdef" * 4
    start = 3 + len(kind.before)
    assert kind.place(b"..." + kind.before + digest + kind.after) == start
    # The last place counts, so that text of the file cannot pass for the digest.
    twice = kind.before + digest + b"..." + kind.before + digest + kind.after
    assert kind.place(twice) == 2 * len(kind.before) + 64 + 3
    for wrong in (
        digest + kind.after,
        kind.before + digest[:-1] + b"g" + kind.after,
        kind.before + digest[:-1].upper() + b"F" + kind.after,
        kind.before + digest[:-1],
        kind.before,
        b"",
    ):
        assert kind.place(b"..." + wrong) is None
        assert kind.is_intact(b"..." + wrong) is None
    ended = kind.place(b"..." + kind.before + digest + kind.after + b"more")
    assert ended == (None if kind.at_end else start)


@pytest.mark.parametrize("whole", [False, True])
def test_a_file_is_compared_with_what_was_recorded(tmp_path: Path, whole: bool) -> None:
    path = tmp_path / "file"
    data = bytes(range(256)) * 512
    assert len(data) > TAIL_BYTES
    path.write_bytes(data)
    recorded = digest_file(path)
    assert find_damage(path, recorded, whole=whole) is None
    path.write_bytes(b"\xff" + data[1:])
    assert (find_damage(path, recorded, whole=whole) is not None) == whole
    path.write_bytes(data[:-1] + b"\0")
    assert "SHA-256 differs" in str(find_damage(path, recorded, whole=whole))
    path.write_bytes(data[:-1])
    assert find_damage(path, recorded, whole=whole) == "has 131,071 bytes, but 131,072 were written"
    path.unlink()
    assert find_damage(path, recorded, whole=whole) == "is missing"
    os.mkfifo(path)
    assert find_damage(path, recorded, whole=whole) == "is not a file"


@pytest.mark.parametrize("size", [1, TAIL_BYTES - 1, TAIL_BYTES])
def test_of_a_small_file_all_bytes_are_compared_when_it_is_opened(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    recorded = digest_file(path)
    assert (recorded.bytes, recorded.tail) == (size, recorded.sha256)
    assert find_damage(path, recorded, whole=False) is None
    path.write_bytes(b"\xff" + bytes(size - 1))
    assert "SHA-256 differs" in str(find_damage(path, recorded, whole=False))


def test_a_file_that_cannot_be_read_is_damaged_whatever_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"data")
    recorded = digest_file(path)

    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(hashlib, "file_digest", fail)
    assert find_damage(path, recorded, whole=True) == "cannot be read (Input/output error)"
