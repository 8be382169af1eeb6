"""The demo dataset: complete, reproducible, labelled, and with licences."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data import demo
from pipeline.data.dataset import Sample, open_dataset
from pipeline.data.demo import MANIFEST, build_demo
from pipeline.data.demo_photographs import MIN_CROP, MIN_DETAIL, PHOTOGRAPHS
from pipeline.data.demo_textures import TEXTURES, draw_texture
from pipeline.errors import SourceError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_demo(tmp_path_factory.mktemp("cache") / "demo")


@pytest.fixture(scope="module")
def samples(built: Path) -> list[Sample]:
    found = []
    for shard in open_dataset([str(built)]).shards:
        for sample in shard.samples():
            assert isinstance(sample, Sample)
            found.append(sample)
    return found


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build only the first 12 images, which is fast."""
    images = demo._shuffled_images()[:12]
    monkeypatch.setattr(demo, "_shuffled_images", lambda: images)


def test_shards_have_256_images(built: Path, samples: list[Sample]) -> None:
    assert sorted(path.name for path in built.glob("*.tar")) == [
        f"demo-{number:06}.tar" for number in range(4)
    ]
    assert len(samples) == len(demo._shuffled_images()) == 1024
    assert len({sample.key for sample in samples}) == 1024
    assert Counter(sample.position for sample in samples) == dict.fromkeys(range(256), 4)


def test_labels_and_origins(samples: list[Sample]) -> None:
    labels = Counter(sample.label for sample in samples)
    assert labels == {
        **{photo.label: photo.crops for photo in PHOTOGRAPHS},
        **dict.fromkeys(TEXTURES, demo.TEXTURES_EACH),
    }
    origins = {photo.label for photo in PHOTOGRAPHS}
    for sample in samples:
        assert sample.origin == (sample.label if sample.label in origins else None)


def test_images_have_detail(samples: list[Sample]) -> None:
    flat = 0
    for sample in samples:
        image = Image.open(io.BytesIO(sample.data))
        assert image.mode == "RGB"
        assert min(image.size) >= MIN_CROP - 1
        flat += float(np.asarray(image.convert("L")).std()) < MIN_DETAIL / 2
    assert flat < 20
    assert len({hashlib.sha256(sample.data).digest() for sample in samples}) == 1024


def test_builds_are_reproducible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch)
    first, second = build_demo(tmp_path / "a"), build_demo(tmp_path / "100%d" / "b")
    assert hashes(first) == hashes(second)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["100%d", "a"]


def test_a_complete_build_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch)
    folder = build_demo(tmp_path / "demo")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    build_demo(folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_damaged_or_old_build_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch)
    folder = build_demo(tmp_path / "demo")
    whole = hashes(folder)
    shard = folder / "demo-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert hashes(build_demo(folder)) == whole
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "version": 0}))
    assert hashes(build_demo(folder)) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_an_interrupted_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "crop_photograph", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_demo(tmp_path / "demo")
    assert list(tmp_path.iterdir()) == []


def test_other_folders_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SourceError, match="is not a demo dataset"):
        build_demo(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_a_missing_package_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SourceError, match=r"needs skimage.*pip install 'maxact\[demo\]'"):
        build_demo(tmp_path / "demo")


def test_the_demo_dataset_is_opened_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch)
    dataset = open_dataset(["demo"], cache=tmp_path)
    assert dataset.name == "demo"
    assert dataset.data == ("demo",)
    assert dataset.estimated_images == 12
    assert (tmp_path / "demo" / MANIFEST).exists()


def test_every_photograph_is_listed_with_its_licence() -> None:
    page = (ROOT / "docs" / "demo-data.md").read_text("utf-8")
    for photo in PHOTOGRAPHS:
        row = f"| {photo.label} | {photo.crops} | {photo.package} | `{photo.file}` |"
        assert f"{row} {photo.licence} | {photo.source} |" in page


@pytest.mark.parametrize("label", TEXTURES)
def test_textures_are_seeded(label: str) -> None:
    first = draw_texture(label, np.random.default_rng(5), 96)
    assert first.shape == (96, 96, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, draw_texture(label, np.random.default_rng(5), 96))
    assert not np.array_equal(first, draw_texture(label, np.random.default_rng(6), 96))
    assert first.std() > 8
