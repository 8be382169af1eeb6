"""Datasets of all formats: names, order, labels, streaming and reading by offset."""

from __future__ import annotations

import gc
import json
import os
import pickle
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data import folder as folders
from pipeline.data import torchvision as downloads
from pipeline.data.dataset import (
    BadSample,
    Dataset,
    Sample,
    image_id,
    open_dataset,
    split_image_id,
)
from pipeline.errors import ShardError, SourceError, UsageError
from tests.fixtures.corpus import IMAGE, JPEG, PNG, named, noisy, parquet, tar
from tests.fixtures.serving import Files, bucket, server

__all__ = ["bucket", "server"]


def samples_of(dataset: Dataset) -> list[Sample]:
    """Return all samples; check that each can be read back by offset."""
    found = []
    for shard in dataset.shards:
        for position, sample in enumerate(shard.samples()):
            assert isinstance(sample, Sample), sample
            assert sample.position == position
            data = dataset.read(shard.name, sample.key, sample.offset, len(sample.data))
            assert data == sample.data
            found.append(sample)
    return found


def write(path: Path, data: bytes = PNG) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_image_ids() -> None:
    assert image_id(0, 0) == 0
    assert image_id(3, 7) == (3 << 24) + 7
    assert split_image_id(image_id(123, 16_777_215)) == (123, 16_777_215)
    with pytest.raises(ValueError, match="outside"):
        image_id(0, 1 << 24)


def test_class_folders(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/10.jpg", "a/x/deep.PNG", "top.webp", "b/notes.txt", ".b/hidden.png"):
        write(tmp_path / name, name.encode())
    dataset = open_dataset([str(tmp_path)])
    found = samples_of(dataset)
    keys = ["a/x/deep.PNG", "b/10.jpg", "b/2.png", "top.webp"]
    assert [sample.key for sample in found] == keys
    assert [sample.label for sample in found] == ["a", "b", "b", None]
    assert [sample.data.decode() for sample in found] == keys
    assert dataset.estimated_images == 4
    assert dataset.name == tmp_path.name
    assert [shard.name for shard in dataset.shards] == [f"{tmp_path.name}/00000"]
    assert dataset.size == sum(len(key) for key in keys)


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    write(tmp_path / "1.png")
    assert [sample.label for sample in samples_of(open_dataset([str(tmp_path)]))] == [None]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "shards"),
    [
        (1, [1]),
        (64, [64]),
        (65, [64, 1]),
        (300, [64] * 4 + [44]),
        (1_024, [64] * 16),
        (2_047, [64] * 31 + [63]),
        (2_048, [128] * 16),
        (16_383, [512] * 31 + [511]),
        (16_384, [1_024] * 16),
        (1_281_167, [1_024] * 1_251 + [143]),
    ],
)
def test_a_folder_is_divided_by_the_number_of_its_files(files: int, shards: list[int]) -> None:
    made = folders.folder_shards("photos", tuple((f"{number:07}.png", 1) for number in range(files)))
    assert [shard.count_hint for shard in made] == shards
    assert [path for shard in made for path, _ in shard.files] == [f"{n:07}.png" for n in range(files)]


def test_an_image_is_read_back_after_the_folder_was_divided_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        write(tmp_path / f"{number:02}.png", bytes([number]))
    before = open_dataset([str(tmp_path)])
    monkeypatch.setattr(folders, "MIN_FILES_PER_SHARD", 4)
    now = open_dataset([str(tmp_path)])
    assert [len(dataset.shards) for dataset in (before, now)] == [1, 3]
    for sample in samples_of(before):
        assert now.read(before.shards[0].name, sample.key, 0, 1) == sample.data


def test_a_large_folder_becomes_several_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MIN_FILES_PER_SHARD", 4)
    for number in range(10):
        write(tmp_path / f"{number:02}.png", bytes([number]))
    dataset = open_dataset([str(tmp_path)])
    assert [shard.count_hint for shard in dataset.shards] == [4, 4, 2]
    assert [sample.data[0] for sample in samples_of(dataset)] == list(range(10))
    assert dataset.ordinal(dataset.shards[2].name) == 2


def test_links_are_followed_except_to_a_parent_folder(tmp_path: Path) -> None:
    write(tmp_path / "store/cats/1.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/cats").symlink_to(tmp_path / "store/cats")
    (tmp_path / "set/again").symlink_to(tmp_path / "set")
    found = samples_of(open_dataset([str(tmp_path / "set")]))
    assert [sample.key for sample in found] == ["cats/1.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes only there")
def test_a_file_name_that_is_not_utf8(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb") as file:
        file.write(PNG)
    assert [s.key for s in samples_of(open_dataset([str(tmp_path)]))] == ["caf\\xe9.png"]


def test_a_deleted_file_becomes_an_error_row(tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        write(tmp_path / name)
    dataset = open_dataset([str(tmp_path)])
    (tmp_path / "1.png").unlink()
    gone, there = dataset.shards[0].samples()
    assert isinstance(gone, BadSample)
    assert (gone.key, gone.position, gone.kind) == ("1.png", 0, "missing")
    assert isinstance(there, Sample)
    assert there.position == 1


def test_reading_back_opens_only_what_is_listed(tmp_path: Path) -> None:
    write(tmp_path / "set/1.png")
    write(tmp_path / "secret.png")
    dataset = open_dataset([str(tmp_path / "set")])
    shard = dataset.shards[0].name
    for key in ("../secret.png", str(tmp_path / "secret.png"), "2.png"):
        with pytest.raises(SourceError, match="has no file"):
            dataset.read(shard, key, 0, len(PNG))
    with pytest.raises(SourceError, match=r"has no shard 'set/0000'; did you mean 'set/00000'"):
        dataset.read("set/0000", "1.png", 0, len(PNG))
    with pytest.raises(SourceError, match="bytes, expected 7"):
        dataset.read(shard, "1.png", 0, 7)


def test_labels_of_tar_samples(tmp_path: Path) -> None:
    def notes(value: object) -> bytes:
        return json.dumps(value).encode()

    members = [
        ("n01/a.png", PNG),
        ("n01/b.png", PNG),
        ("n01/b.cls", b"7\n"),
        ("n01/c.cls", b"dog"),
        ("n01/c.json", notes({"label": "cat"})),
        ("n01/c.PNG", PNG),
        ("n01/d.json", notes({"label": 5, "origin": "photo 1"})),
        ("n01/d.txt", b"a caption"),
        ("n01/d.jpg", JPEG),
        ("n01/e.json", notes({"label": None, "class": "bird"})),
        ("n01/e.png", PNG),
        ("f.png", PNG),
        ("f.json", notes({"caption": "x"})),
    ]
    path = write(tmp_path / "a.tar", tar(members))
    found = samples_of(open_dataset([str(path)]))
    assert {sample.key: sample.label for sample in found} == {
        "n01/a": "n01",
        "n01/b": "7",
        "n01/c": "dog",
        "n01/d": "5",
        "n01/e": "bird",
        "f": None,
    }
    assert [sample.origin for sample in found] == [None, None, None, "photo 1", None, None]


def test_an_archive_of_archives_is_to_be_unpacked(tmp_path: Path) -> None:
    path = write(tmp_path / "all.tar", tar([("n01440764.tar", b"images")]))
    (shard,) = open_dataset([str(path)]).shards
    (bad,) = shard.samples()
    assert isinstance(bad, BadSample)
    assert bad.message == "no image among its members (tar); unpack the archives in this archive first"


def test_every_damaged_header_is_detected(tmp_path: Path) -> None:
    whole = tar([member for key in "abc" for member in named(key, "cat")])
    headers = [at for at in range(0, len(whole), 512) if whole[at + 257 : at + 262] == b"ustar"]
    assert len(headers) == 6
    path = tmp_path / "a.tar"
    for header in headers:
        for at in range(header, header + 512, 13):
            wrong = bytearray(whole)
            wrong[at] ^= 0x55
            dataset = open_dataset([str(write(path, bytes(wrong)))])
            with pytest.raises(ShardError, match=r"shard a.tar: "):
                list(dataset.shards[0].samples())


def test_truncated_archives_are_detected(tmp_path: Path) -> None:
    whole = tar([member for key in "abc" for member in named(key, "cat")])
    end = len(whole.rstrip(b"\0"))
    for cut in range(0, end, 101):
        for padding in (0, 512, 1024, -cut % 512):
            dataset = open_dataset([str(write(tmp_path / "a.tar", whole[:cut] + bytes(padding)))])
            try:
                found = list(dataset.shards[0].samples())
            except ShardError:
                continue
            # an archive cut at a block and padded with zeros is complete, or ends in a member of zeros
            assert padding == 1024
            assert cut % 512 == 0 or len(found) < 4


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset does not close its files
def test_tar_samples_equal_those_of_webdataset(tmp_path: Path) -> None:
    import webdataset

    pattern = str(tmp_path / "set-%06d.tar")
    with webdataset.ShardWriter(pattern, maxcount=5, verbose=0) as writer:
        for number in range(12):
            data = noisy(quality=20 + number)
            writer.write({"__key__": f"d.e/{number:03}", "jpg": data, "cls": number})
    dataset = open_dataset([f"{tmp_path}/set-{{000000..000002}}.tar"])
    theirs = webdataset.WebDataset(
        f"{tmp_path}/set-{{000000..000002}}.tar", shardshuffle=False, nodesplitter=None
    )
    wanted = [(item["__key__"], item["jpg"], item["cls"].decode()) for item in theirs]
    gc.collect()
    found = samples_of(dataset)
    assert [(sample.key, sample.data, sample.label) for sample in found] == wanted
    assert dataset.estimated_images == 12
    for shard in dataset.shards:
        whole = Path(tmp_path / shard.name).read_bytes()
        for sample in shard.samples():
            assert isinstance(sample, Sample)
            assert whole[sample.offset : sample.offset + len(sample.data)] == sample.data


def test_shards_are_sorted_and_their_names_are_unique(tmp_path: Path) -> None:
    for name in ("train/a.tar", "train/b.tar", "val/a.tar", "extra/1.png"):
        write(tmp_path / name, tar(named("x")) if name.endswith("tar") else PNG)
    data = [str(tmp_path / name) for name in ("val/a.tar", "train/*.tar", "train/a.tar", "extra")]
    dataset = open_dataset(data)
    names = ["extra/00000", "train/a.tar", "train/b.tar", "val/a.tar"]
    assert [shard.name.removeprefix(f"{tmp_path.name}/") for shard in dataset.shards] == names
    assert len(samples_of(dataset)) == 4
    again = open_dataset(dataset.data)
    assert again.shards == dataset.shards
    assert again.listing == dataset.listing
    assert pickle.loads(pickle.dumps(dataset)).shards == dataset.shards


def test_a_folder_of_shards_is_opened_as_its_shards(tmp_path: Path) -> None:
    for name in ("b.tar", "sub/a.tar"):
        write(tmp_path / name, tar(named(name[0])))
    dataset = open_dataset([str(tmp_path)])
    assert [shard.name for shard in dataset.shards] == ["a.tar", "b.tar"]
    write(tmp_path / "1.png")
    with pytest.raises(SourceError, match="contains both images"):
        open_dataset([str(tmp_path)])


def test_the_listing_changes_with_the_data(tmp_path: Path) -> None:
    def listing() -> str:
        return open_dataset([str(tmp_path)]).listing

    write(tmp_path / "1.png", b"123")
    write(tmp_path / "2.png", b"1234")
    first = listing()
    assert listing() == first
    write(tmp_path / "1.png", b"1234")
    write(tmp_path / "2.png", b"123")
    swapped = listing()
    (tmp_path / "2.png").rename(tmp_path / "3.png")
    assert len({first, swapped, listing()}) == 3


def test_invalid_data_arguments_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no data given"):
        open_dataset([])
    write(tmp_path / "pictures.tar", tar(named("a")))
    with pytest.raises(SourceError, match=r"does not exist; did you mean 'pictures.tar'"):
        open_dataset([str(tmp_path / "picture.tar")])
    path = write(tmp_path / "notes.txt", b"text")
    with pytest.raises(SourceError, match="neither a folder nor"):
        open_dataset([str(path)])


def test_a_stream_can_be_closed_early(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", tar([member for key in "abcdef" for member in named(key)]))
    parquet(tmp_path / "b.parquet", {"image": pa.array([PNG] * 9)})
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    for shard in open_dataset([str(tmp_path)]).shards:
        stream = shard.samples()
        assert isinstance(next(stream), Sample)
        stream.close()  # type: ignore[attr-defined]
        assert list(stream) == []
    after = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    assert after == before


def test_parquet_in_the_layout_of_the_hugging_face_hub(tmp_path: Path) -> None:
    images = [noisy(quality=10 + number) for number in range(7)]
    values = [{"bytes": data, "path": f"n0{row}.JPEG"} for row, data in enumerate(images)]
    names = {"label": {"names": ["tench", "goldfish"], "_type": "ClassLabel"}}
    parquet(
        tmp_path / "train-00000-of-00002.parquet",
        {"image": pa.array(values, IMAGE), "label": pa.array([0, 1, 1, 0, -1, None, 1])},
        {"info": {"features": names}},
    )
    parquet(tmp_path / "train-00001-of-00002.parquet", {"image": pa.array(values[:3], IMAGE)})
    dataset = open_dataset([f"{tmp_path}/train-*.parquet"])
    found = samples_of(dataset)
    assert [sample.data for sample in found] == images + images[:3]
    assert [sample.offset for sample in found] == [*range(7), *range(3)]
    labels = ["tench", "goldfish", "goldfish", "tench", None, None, "goldfish"]
    assert [sample.label for sample in found] == [*labels, None, None, None]
    assert found[1].key == "n01.JPEG"
    assert dataset.estimated_images == 10
    with pytest.raises(SourceError, match="has 7 rows, so there is no row 7"):
        dataset.read(dataset.shards[0].name, "n07.JPEG", 7, 10)
    with pytest.raises(SourceError, match="no longer the image"):
        dataset.read(dataset.shards[0].name, "n01.JPEG", 1, 10)


@pytest.mark.parametrize("label", [pa.array(["a", None]), pa.array(["a", "a"]).dictionary_encode()])
def test_parquet_labels_as_text(tmp_path: Path, label: pa.Array) -> None:
    parquet(tmp_path / "a.parquet", {"photo": pa.array([{"bytes": PNG}] * 2), "label": label})
    found = samples_of(open_dataset([str(tmp_path / "a.parquet")]))
    assert [sample.label for sample in found] == label.to_pylist()


def test_parquet_column_types_of_other_writers(tmp_path: Path) -> None:
    large = pa.struct([("path", pa.large_string()), ("bytes", pa.large_binary())])
    table = pa.table({"image": pa.array([{"bytes": PNG, "path": None}] * 3, large)})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    found = samples_of(open_dataset([str(tmp_path / "a.parquet")]))
    assert [sample.key for sample in found] == ["00000000", "00000001", "00000002"]


@pytest.mark.filterwarnings("ignore")  # boto3 and moto warn
def test_s3(bucket: str, tmp_path: Path) -> None:
    import boto3

    client = boto3.client("s3")
    files = {
        "tars/a-0.tar": tar([*named("a", "cat"), *named("b")]),
        "tars/a-1.tar": tar(named("c")),
        "folder/cats/1.png": PNG,
        "folder/dogs/2.jpg": JPEG,
    }
    parquet(tmp_path / "t.parquet", {"image": pa.array([JPEG, PNG])})
    files["t.parquet"] = (tmp_path / "t.parquet").read_bytes()
    for key, data in files.items():
        client.put_object(Bucket=bucket, Key=key, Body=data)
    tars = samples_of(open_dataset([f"s3://{bucket}/tars/a-{{0..1}}.tar"]))
    assert [(sample.key, sample.label) for sample in tars] == [
        ("a", "cat"),
        ("b", None),
        ("c", None),
    ]
    assert samples_of(open_dataset([f"s3://{bucket}/tars/*.tar"])) == tars
    assert samples_of(open_dataset([f"s3://{bucket}/tars"])) == tars
    folder = samples_of(open_dataset([f"s3://{bucket}/folder"]))
    assert [(sample.key, sample.label) for sample in folder] == [
        ("cats/1.png", "cats"),
        ("dogs/2.jpg", "dogs"),
    ]
    assert len(samples_of(open_dataset([f"s3://{bucket}/t.parquet"]))) == 2
    with pytest.raises(SourceError, match=r"a-7.tar does not exist"):
        open_dataset([f"s3://{bucket}/tars/a-7.tar"])
    with pytest.raises(SourceError, match="does not exist, or is neither"):
        open_dataset([f"s3://{bucket}/nothing"])


@pytest.mark.filterwarnings("ignore")  # torchvision warns
def test_a_torchvision_dataset_is_downloaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, type[Files]]
) -> None:
    import hashlib
    import tarfile

    from pipeline.vision_libraries import torchvision

    torchvision()
    from torchvision.datasets import Imagenette

    classes = sorted(Imagenette._WNID_TO_CLASS)
    for split in ("train", "val"):
        for wnid in classes:
            write(tmp_path / f"in/imagenette2-160/{split}/{wnid}/{split}.JPEG", JPEG)
    archive = tmp_path / "imagenette2-160.tgz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "in/imagenette2-160", "imagenette2-160")
    url, handler = server
    handler.files = {"/imagenette2-160.tgz": archive.read_bytes()}
    digest = hashlib.md5(archive.read_bytes()).hexdigest()
    address = f"{url}/imagenette2-160.tgz"
    monkeypatch.setattr(Imagenette, "_ARCHIVES", {"160px": (address, digest)})
    cache = tmp_path / "cache"
    dataset = open_dataset(["torchvision:imagenette-160px"], cache=cache)
    assert [sample.label for sample in samples_of(dataset)] == classes
    assert dataset.name == "imagenette-160px"
    handler.files = {}
    again = open_dataset(["torchvision:imagenette-160px:val"], cache=cache)
    assert [sample.key for sample in samples_of(again)] == [f"{wnid}/val.JPEG" for wnid in classes]
    with pytest.raises(SourceError, match="could not download Imagenette"):
        open_dataset(["torchvision:imagenette-160px"], cache=tmp_path / "other")
    assert list((tmp_path / "other/torchvision").iterdir()) == []


def test_unknown_torchvision_datasets_are_rejected() -> None:
    with pytest.raises(SourceError, match="did you mean 'imagenette'"):
        open_dataset(["torchvision:imagenete"])
    with pytest.raises(SourceError, match=r"has no split 'test' \(available: train, val\)"):
        open_dataset(["torchvision:imagenette:test"])
    assert set(downloads.DATASETS) >= {"imagenette", "eurosat"}
