"""Limits on what a dataset may hold, and disks and libraries that fail: an error row, or one line."""

from __future__ import annotations

import errno
import os
import tarfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data import content, dataset, demo, files, folder, parquet, tar, tar_members
from pipeline.data.content import ShardReader
from pipeline.data.dataset import BadSample, Sample, open_dataset
from pipeline.data.demo import MANIFEST, build_demo
from pipeline.data.demo_photographs import PHOTOGRAPHS, read_photograph
from pipeline.data.files import filesystem, size_of
from pipeline.data.moved import open_moved
from pipeline.data.names import name_shards
from pipeline.data.shard import Shard, stamp_files
from pipeline.errors import MissingSource, ShardError, SourceError, UsageError
from tests.fixtures.corpus import PNG, named, rows
from tests.fixtures.corpus import parquet as write_parquet
from tests.fixtures.corpus import tar as write_tar


def shard_of(path: Path) -> Shard:
    (found,) = open_dataset([str(path)]).shards
    return found


def kinds(path: Path) -> list[str]:
    found = list(shard_of(path).samples())
    return [sample.kind if isinstance(sample, BadSample) else "image" for sample in found]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "a.tar"
    path.write_bytes(write_tar([*named("a", "cat"), *named("b")]))
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "a.parquet"
    write_parquet(path, {"image": rows(PNG, PNG, PNG)})
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "images" / name).write_bytes(PNG)
    return tmp_path / "images"


def test_a_dataset_without_a_path_is_refused() -> None:
    with pytest.raises(UsageError, match=r"the data has an empty path; write \. for"):
        open_dataset([""])


def test_an_image_that_is_too_large_is_a_row_of_errors(
    archive: Path, table: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((tar_members, "MEMBER"), (folder, "MEMBER"), (parquet, "VALUE")):
        monkeypatch.setattr(module, f"MAX_{name}_BYTES", len(PNG) - 1)
    assert kinds(archive) == ["too_large"] * 2
    assert kinds(table) == ["too_large"] * 3
    assert kinds(images) == ["too_large"] * 2


def test_a_label_that_is_too_large_is_a_row_of_errors(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_members, "MAX_NOTE_BYTES", 2)
    assert kinds(archive) == ["too_large", "image"]


def test_a_text_that_is_too_long_is_a_row_of_errors(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "MAX_TEXT_BYTES", 2)
    first, second = ShardReader(shard_of(archive))
    assert isinstance(first, BadSample)
    assert (first.kind, first.message) == ("text", "its label has 3 bytes, the limit is 2")
    assert isinstance(second, Sample)


def test_a_shard_has_a_largest_number_of_samples(
    archive: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (tar, parquet):
        monkeypatch.setattr(module, "MAX_POSITIONS", 1)
    for path, what in ((archive, "samples"), (table, "rows")):
        with pytest.raises(ShardError, match=f"has more than 1 {what}; split it into several files"):
            kinds(path)


def test_row_groups_that_would_exhaust_memory_are_not_read(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "SMALL_BYTES", 1)
    monkeypatch.setattr(parquet, "MAX_EXPANSION", 0)
    with pytest.raises(ShardError, match=r"row group 0 expands from .* which no encoded images do"):
        kinds(table)
    monkeypatch.setattr(parquet, "MAX_GROUP_BYTES", 1)
    with pytest.raises(ShardError, match=r"row group 0 has [\d,]+ bytes of images, the limit is 1; write"):
        kinds(table)
    with pytest.raises(ShardError, match="the limit is 1"):
        shard_of(table).read("", 0, len(PNG))


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    column = pa.array([PNG])
    pq.write_table(pa.Table.from_arrays([column, column], ["image", "image"]), tmp_path / "a.parquet")
    with pytest.raises(ShardError, match="has 2 columns `image`; keep one of them"):
        kinds(tmp_path / "a.parquet")


def test_a_footer_that_promises_other_rows_is_noticed(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = parquet._read_batches
    monkeypatch.setattr(parquet, "_read_batches", lambda *given: list(read(*given))[:-1])
    with pytest.raises(ShardError, match="yielded 2 rows, expected 3 according to its footer"):
        kinds(table)


def test_a_damaged_row_group_is_named_when_it_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    noise = os.urandom(5000)
    write_parquet(path, {"image": pa.array([noise, noise[::-1]])})
    data = bytearray(path.read_bytes())
    start = pq.read_metadata(path).row_group(0).column(0).dictionary_page_offset
    data[start : start + 20] = bytes(20)
    path.write_bytes(data)
    with pytest.raises(ShardError, match=r"a\.parquet: row group 0 cannot be read: .*; copy the file again"):
        shard_of(path).read("", 0, len(noise))


@pytest.mark.parametrize("kind", [MemoryError, KeyboardInterrupt])
def test_too_little_memory_is_not_called_damage(
    archive: Path, table: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    def fail(*given: object, **options: object) -> None:
        raise kind

    shards = shard_of(table), shard_of(archive)
    for name in ("iter_batches", "read_row_group", "__init__"):
        monkeypatch.setattr(pq.ParquetFile, name, fail)
        with pytest.raises(kind):
            list(shards[0].samples()) if name == "iter_batches" else shards[0].read("", 0, len(PNG))
    for name in ("next", "open"):
        monkeypatch.setattr(tarfile.TarFile, name, fail)
        with pytest.raises(kind):
            list(shards[1].samples())


def test_whatever_tarfile_raises_is_a_damaged_header(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = shard_of(archive)
    following = tarfile.TarFile.next

    def fail(opened: tarfile.TarFile) -> tarfile.TarInfo | None:
        if opened.offset:
            raise IndexError
        return following(opened)

    monkeypatch.setattr(tarfile.TarFile, "next", fail)
    with pytest.raises(ShardError, match=r"damaged header at byte \d+: IndexError; copy it"):
        list(shard.samples())


def test_a_link_that_leads_nowhere_is_a_row_of_errors(images: Path) -> None:
    (images / "b.png").unlink()
    (images / "b.png").symlink_to("nowhere.png")
    assert kinds(images) == ["image", "link"]
    (images / "c.png").symlink_to("c.png")
    os.mkfifo(images / "d.png")
    assert kinds(images) == ["image", "link", "link"]


def test_a_file_that_may_not_be_read_is_a_row_of_errors(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = shard_of(images)
    read = open

    def refuse(path: str, *given: object, **options: object) -> object:
        if str(path).endswith("a.png"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return read(path, *given, **options)  # type: ignore[call-overload]

    monkeypatch.setattr("builtins.open", refuse)
    first, second = shard.samples()
    assert isinstance(first, BadSample)
    assert (first.kind, first.message) == ("unreadable", "permission denied")
    assert isinstance(second, Sample)


def test_a_stamp_is_that_of_files_that_are_there(images: Path) -> None:
    before = shard_of(images).stamp()
    size = len(PNG)
    files_of = [(str(images / name), size) for name in ("a.png", "b.png")]
    assert stamp_files("s", files_of) == before
    (images / "b.png").unlink()
    without = stamp_files("s", files_of)
    assert without not in ("", before)
    assert without == stamp_files("s", files_of)


def test_the_number_of_images_of_a_large_dataset_is_estimated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(write_tar([member for number in range(30) for member in named(f"{number:02}")]))
    assert open_dataset([str(path)]).estimated_images == 30
    monkeypatch.setattr(dataset, "COUNTED_BYTES", 0)
    monkeypatch.setattr(dataset, "ESTIMATE_SAMPLES", 10)
    estimated = open_dataset([str(path)]).estimated_images
    assert estimated is not None
    assert 25 <= estimated <= 45  # the archive is padded to 10 KiB
    monkeypatch.setattr(dataset, "ESTIMATE_SAMPLES", 100)
    assert open_dataset([str(path)]).estimated_images == 30


@pytest.mark.parametrize(("offset", "nbytes"), [(-1, 9), (0, -1), (0, 1 << 40)])
def test_a_place_that_no_image_can_have_is_refused(archive: Path, offset: int, nbytes: int) -> None:
    opened = open_dataset([str(archive)])
    with pytest.raises(SourceError, match=r"cannot be at offset .*; run `maxact check`"):
        opened.read(opened.shards[0].name, "a", offset, nbytes)


def test_shards_of_one_path_and_other_queries_have_names_of_their_own() -> None:
    class Empty(Shard):
        def samples(self) -> None:  # type: ignore[override]
            raise AssertionError

        def read(self, key: str, offset: int, nbytes: int) -> bytes:
            raise AssertionError

    roots = {f"https://host/a.tar?part={number}": [Empty(name="", size=1)] for number in range(2)}
    assert len({shard.name for shard in name_shards(roots)}) == 2


def test_a_moved_dataset_must_be_there(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingSource, match="no file matches"):
        open_moved([str(archive)], [str(tmp_path / "b*.tar")])


def test_a_demo_that_was_built_elsewhere_is_found(tmp_path: Path, archive: Path) -> None:
    (tmp_path / "moved" / "demo").mkdir(parents=True)
    archive.rename(tmp_path / "moved" / "demo" / "demo-000000.tar")
    moved = open_moved(["demo"], [str(tmp_path / "moved" / "demo")], cache=tmp_path / "cache")
    assert [shard.name for shard in moved.shards] == ["demo-000000.tar"]
    assert moved.name == "demo"


def test_a_package_of_a_protocol_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", fail)
    with pytest.raises(SourceError, match=r"cannot open s3://b/a: Install s3fs .*pip install 'maxact\[s3\]'"):
        filesystem("s3://b/a")
    with pytest.raises(SourceError, match=r"cannot open odd://b/a: Install s3fs to access S3$"):
        filesystem("odd://b/a")


def test_a_server_that_says_no_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Server:
        def info(self, path: str) -> dict[str, object]:
            return {"name": path, "size": None}

    monkeypatch.setattr(files, "filesystem", lambda url: (Server(), url))
    with pytest.raises(SourceError, match="the server does not report the file size; download the file"):
        size_of("https://host/a.tar")


def test_a_closed_file_is_closed_once() -> None:
    closed: list[int] = []
    file = files.RangeReader(lambda start, end: bytes(end - start), 9, "a", lambda: closed.append(1))
    file.close()
    file.close()
    assert closed == [1]


def manifest(where: Path) -> None:
    where.mkdir(exist_ok=True)
    (where / MANIFEST).write_text(f'{{"version": {demo.DEMO_VERSION!r}, "shards": {{}}}}'.replace("'", '"'))


def test_a_demo_that_cannot_be_built_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(demo, "_write_shards", full)
    with pytest.raises(SourceError, match=r"could not build the demo .*No space left on device"):
        build_demo(tmp_path / "demo")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("moment", ["before", "during"])
def test_of_two_builds_of_the_demo_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    rename = os.rename

    def write(staging: Path, reporter: object) -> None:
        (staging / "second").touch()
        if moment == "before":
            manifest(tmp_path / "demo")

    def race(source: Path, target: Path) -> None:
        if moment == "during" and target == tmp_path / "demo":
            manifest(target)
        rename(source, target)

    monkeypatch.setattr(demo, "_write_shards", write)
    monkeypatch.setattr(demo.os, "rename", race)
    build_demo(tmp_path / "demo")
    assert [path.name for path in tmp_path.rglob("*")] == ["demo", MANIFEST]


def test_a_photograph_that_a_package_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Spec:
        origin = str(tmp_path / "__init__.py")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: Spec)
    with pytest.raises(SourceError, match=r"does not contain .*; run `pip install --upgrade scikit-image"):
        read_photograph(PHOTOGRAPHS[0])
