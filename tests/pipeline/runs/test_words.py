"""Names in words of an index whose units are known, with an encoder that sees what they look for."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.check.files import check_files
from pipeline.config import RunConfig
from pipeline.errors import EncoderError, UsageError
from pipeline.query.index import open_index
from pipeline.runs import embed
from pipeline.runs.names import name_index
from pipeline.runs.run import run_index
from pipeline.runs.words import name_in_words
from pipeline.store.run_file import read_run
from pipeline.store.schemas import SEMANTICS
from pipeline.store.tables import write_table
from tests.fixtures.dual_encoder import WORDS, ToyEncoder, make
from tests.fixtures.tables import edit_run
from tests.fixtures.textures import LAYERS, write_textures
from viz.cli import app

pytestmark = pytest.mark.slow

ENCODER = "tests.fixtures.dual_encoder:make"
HERE = __name__


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def refused(result: Any, code: int) -> str:
    assert result.exit_code == code, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def contents(out: Path) -> dict[str, bytes]:
    files = (path for path in out.rglob("*") if path.is_file() and not path.name.endswith("lock"))
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


class Other(ToyEncoder):
    """The same embeddings under another fingerprint."""

    fingerprint = "another"


def other() -> Other:
    return Other()


class Counting:
    """Counts the images that it embeds, and fails at a number of them."""

    fingerprint = ToyEncoder.fingerprint

    def __init__(self, fails_at: int = 1 << 30) -> None:
        self.images, self.fails_at = 0, fails_at

    def embed_images(self, images: Sequence[Image.Image]) -> Any:
        if self.images + len(images) > self.fails_at:
            raise RuntimeError("out of patience")
        self.images += len(images)
        return make().embed_images(images)

    def embed_texts(self, texts: Sequence[str]) -> Any:
        return make().embed_texts(texts)


def breaking() -> Counting:
    return Counting(101)


def speechless() -> Any:
    """Embeds one text, and not many."""
    encoder = Counting()
    encoder.embed_texts = lambda texts: np.full((len(texts), 48), np.nan if len(texts) > 1 else 1.0)  # type: ignore[method-assign]
    return encoder


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "words.txt"
    path.write_text("\n".join(WORDS))
    return path


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("textures")
    tar = write_textures(folder / "data", labelled=True)
    config = RunConfig(
        data=(str(tar),),
        out=folder / "out",
        network="tests.fixtures.textures:factory",
        layers=tuple(LAYERS),
        compile="off",
        workers=1,
    )
    run_index(config)
    return folder / "out"


@pytest.fixture(scope="module")
def named(indexed: Path, vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = Path(shutil.copytree(indexed, tmp_path_factory.mktemp("named") / "out"))
    name_in_words(out, ENCODER, vocabulary=vocabulary)
    return out


@pytest.fixture
def plain(indexed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(indexed, tmp_path / "out"))


@pytest.fixture
def out(named: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(named, tmp_path / "out"))


def first_names(out: Path, source: str) -> dict[tuple[str, int], str]:
    rows = sorted(pq.read_table(out / "names.parquet").to_pylist(), key=lambda row: -row["rank"])
    return {(row["layer"], row["unit"]): row["concept"] for row in rows if row["source"] == source}


def truth() -> dict[tuple[str, int], str]:
    return {(layer, unit): word for layer, words in LAYERS.items() for unit, word in enumerate(words)}


def test_every_unit_is_called_what_it_looks_for(named: Path) -> None:
    assert first_names(named, "words") == truth()
    shapes = {unit: word for unit, word in truth().items() if unit[0] == "shapes"}
    linear = first_names(named, "linear")
    assert {unit: linear[unit] for unit in shapes} == shapes


def test_whole_images_are_named_as_well(plain: Path, vocabulary: Path) -> None:
    done = name_in_words(plain, ENCODER, vocabulary=vocabulary, of="images")
    assert first_names(plain, "words") == truth()
    patches = pq.read_table(plain / "embeddings.parquet")
    assert done.embedded == done.patches == patches.num_rows
    assert (
        patches.select(["left", "top", "right", "bottom"]).to_pylist()
        == [{"left": 0, "top": 0, "right": 64, "bottom": 64}] * patches.num_rows
    )


def test_words_and_labels_keep_each_other(out: Path) -> None:
    before = pq.read_table(out / "names.parquet").to_pylist()
    assert {row["source"] for row in before} == {"label", "words", "linear"}
    for unit in {(row["layer"], row["unit"]) for row in before}:
        rows = [row for row in before if (row["layer"], row["unit"]) == unit]
        assert [row["rank"] for row in rows] == [*range(1, len(rows) + 1)]
        order = [("label", "words", "linear").index(row["source"]) for row in rows]
        assert order == sorted(order)
    first = contents(out)
    name_index(out)
    assert contents(out) == first
    assert run("name", out, "--encoder", ENCODER, "--vocabulary", "wordnet").exit_code == 0
    after = pq.read_table(out / "names.parquet").to_pylist()
    labels = [row for row in before if row["source"] == "label"]
    assert [row for row in after if row["source"] == "label"] == labels


def test_the_same_patches_are_embedded_once(out: Path, vocabulary: Path) -> None:
    before = contents(out)
    again = name_in_words(out, ENCODER, vocabulary=vocabulary)
    assert (again.embedded, again.patches) == (0, pq.read_table(out / "embeddings.parquet").num_rows)
    assert contents(out) == before
    table = pq.read_table(out / "embeddings.parquet").drop_columns("embedding").to_pylist()
    assert len({tuple(row.values()) for row in table}) == len(table)
    fresh = name_in_words(out, f"{HERE}:other", vocabulary=vocabulary)
    assert fresh.embedded == fresh.patches
    assert first_names(out, "words") == truth()


def test_an_interrupted_command_keeps_what_it_embedded(plain: Path, vocabulary: Path) -> None:
    from pipeline.encoders.protocol import DualEncoder

    failing = Counting(101)
    encoder = DualEncoder("mine", "0" * 64, 48, failing)
    before = contents(plain)
    with pytest.raises(EncoderError, match="out of patience"):
        name_in_words(plain, encoder, vocabulary=vocabulary, batch_size=10)
    assert pq.read_table(plain / "embeddings.parquet").num_rows == failing.images == 100
    assert {name: data for name, data in contents(plain).items() if name != "embeddings.parquet"} == before
    assert check_files(plain).damaged == {}
    rest = Counting()
    done = name_in_words(plain, DualEncoder("mine", "0" * 64, 48, rest), vocabulary=vocabulary)
    assert rest.images == done.embedded == done.patches - 100
    assert first_names(plain, "words") == truth()


def test_long_work_is_saved_as_it_goes(
    plain: Path, vocabulary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(embed, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(
        "pipeline.runs.words.write_embeddings", lambda out, table, footer: sizes.append(len(table.patches))
    )
    done = name_in_words(plain, ENCODER, vocabulary=vocabulary, batch_size=100)
    assert sizes == [*range(100, done.patches, 100), done.patches]


def test_chosen_layers_are_named_and_others_keep_their_words(out: Path, vocabulary: Path) -> None:
    before = contents(out)
    assert (
        run("name", out, "--encoder", ENCODER, "--vocabulary", vocabulary, "--layer", "shapes").exit_code == 0
    )
    assert contents(out) == before
    # Another encoder's words are not mixed with these.
    name_in_words(out, f"{HERE}:other", vocabulary=vocabulary, layers="shapes")
    assert {layer for layer, _ in first_names(out, "words")} == {"shapes"}
    with open_index(out) as index:
        assert index.sql("SELECT DISTINCT layer FROM semantics").rows == [("shapes",)]


def test_the_default_vocabulary_is_the_labels(plain: Path) -> None:
    done = run("name", plain, "--encoder", ENCODER)
    assert done.exit_code == 0
    assert f"units named in 4 words by {ENCODER}" in done.stdout
    shapes = {unit: word for unit, word in truth().items() if unit[0] == "shapes"}
    assert {u: w for u, w in first_names(plain, "words").items() if u[0] == "shapes"} == shapes


def test_units_are_found_by_text(named: Path) -> None:
    for unit, word in truth().items():
        result = run("find", named, word, "--encoder", ENCODER, "--layer", unit[0], "-n", 1, "--json")
        assert result.exit_code == 0
        assert f'"unit": {unit[1]},' in result.stdout, word
    rows = run("find", named, "red stripes", "--encoder", ENCODER, "--csv").stdout.splitlines()
    similar = [float(row.split(",")[2]) for row in rows[1:]]
    assert len(similar) == 8
    assert similar == sorted(similar, reverse=True)
    by_name = run("find", named, "red", "--layer", "shapes", "--json").stdout
    assert '"colours"' not in by_name
    assert "no unit is named 'stripey'" in run("find", named, "stripey").stdout


def test_scores_are_those_of_the_embeddings(named: Path) -> None:
    with open_index(named) as index:
        rows = index.query("unit_semantics", layer="colours").dicts()
        assert [row["clarity"] for row in rows] == sorted((row["clarity"] for row in rows), reverse=True)
        assert {row["unit"]: row["names"].split(", ")[-1] for row in rows} == dict(
            enumerate(LAYERS["colours"])
        )
        (card,) = index.query("unit_card", layer="shapes", unit=2).dicts()
        points = index.sql(
            "SELECT embedding FROM top JOIN embeddings AS seen USING (image_id) "
            "WHERE layer = 'shapes' AND unit = 2 AND side = 'high' AND seen.right - seen.left = 64"
        ).rows
    vectors = np.array([row[0] for row in points])
    cosines = vectors @ vectors.T
    count = len(vectors)
    assert count == 64
    assert card["clarity"] == pytest.approx((cosines.sum() - count) / (count * (count - 1)), abs=1e-5)
    assert "noise" in card["names"]


def test_what_has_no_embeddings_says_which_command_makes_them(indexed: Path, out: Path) -> None:
    said = refused(run("find", indexed, "red", "--encoder", ENCODER), 1)
    assert f"have no embeddings; run `maxact name {indexed} --encoder {ENCODER}` first" in said
    said = refused(run("find", out, "red", "--encoder", f"{HERE}:other"), 1)
    assert f"were embedded by {ENCODER}, not {HERE}:other; run `maxact name {out}" in said


def test_files_are_verified_and_damage_is_mended(out: Path, vocabulary: Path) -> None:
    assert {"embeddings.parquet", "semantics.parquet"}.isdisjoint(check_files(out).foreign)
    before = contents(out)
    for name in ("embeddings.parquet", "semantics.parquet"):
        data = bytearray(before[name])
        data[300] ^= 1
        (out / name).write_bytes(data)
    assert [*check_files(out).damaged] == ["embeddings.parquet", "semantics.parquet"]
    done = run("name", out, "--encoder", ENCODER, "--vocabulary", vocabulary)
    assert "was changed after it was written" in done.stderr
    assert "its images are embedded anew" in done.stderr
    assert contents(out) == before
    (out / "names.parquet").write_bytes(before["names.parquet"][:300] + b"x" + before["names.parquet"][301:])
    said = refused(run("name", out, "--encoder", ENCODER, "--vocabulary", vocabulary), 1)
    assert f"`maxact repair {out}` writes names from labels again" in said
    repaired = run("repair", out)
    assert repaired.exit_code == 0
    assert "names in words cannot be rebuilt from the parts; give `maxact name --encoder`" in repaired.stderr
    assert first_names(out, "words") == {}
    name_in_words(out, ENCODER, vocabulary=vocabulary)
    assert contents(out) == before


def test_embeddings_of_another_index_are_not_shown_and_removed(out: Path, vocabulary: Path) -> None:
    edit_run(out, lambda content: content.update(fingerprint="f" * 64))
    with open_index(out) as index:
        for table in ("embeddings", "semantics", "names"):
            assert index.sql(f"SELECT count(*) FROM {table}").rows == [(0,)]
    assert "3 files of other indexes removed" in run("clean", out).stdout
    assert not (out / "embeddings.parquet").exists()


def test_indexing_anew_keeps_the_embeddings(indexed: Path, tmp_path: Path, vocabulary: Path) -> None:
    folder = Path(shutil.copytree(indexed.parent, tmp_path / "whole"))
    name_in_words(folder / "out", ENCODER, vocabulary=vocabulary, data=folder / "data" / "textures.tar")
    embedded = (folder / "out" / "embeddings.parquet").read_bytes()
    network = ("--network", "tests.fixtures.textures:factory", "--compile", "off", "--workers", 1)
    layers = [word for layer in LAYERS for word in ("--layers", layer)]
    data = indexed.parent / "data" / "textures.tar"
    done = run("index", data, "-o", folder / "out", *network, *layers, "--fresh")
    assert done.exit_code == 0, done.output
    assert (folder / "out" / "embeddings.parquet").read_bytes() == embedded
    assert not (folder / "out" / "semantics.parquet").exists()
    assert name_in_words(folder / "out", ENCODER, vocabulary=vocabulary).embedded == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--encoder", "nope"), 2, "'nope' is no encoder; expected open_clip:"),
        (("--encoder", f"{HERE}:missing"), 2, "has no function 'missing'"),
        (("--encoder", ENCODER, "--vocabulary", "/nowhere.txt"), 2, "cannot be read"),
        (("--encoder", ENCODER, "--vocabulary", "{empty}"), 2, "is empty"),
        (("--encoder", ENCODER, "--vocabulary", "{binary}"), 2, "is not UTF-8"),
        (("--encoder", ENCODER, "--layer", "shape"), 2, "'shape'"),
        (("--encoder", ENCODER, "--hierarchy", "kinds.csv"), 2, "give one of them"),
        (("--vocabulary", "words.txt"), 2, "--vocabulary is for names in words; give --encoder"),
        (("--of", "images"), 2, "--of is for names in words"),
        (("--layer", "shapes"), 2, "--layer is for names in words"),
        (("--encoder", f"{HERE}:speechless"), 1, "gave NaN or infinity for some of 4 texts"),
        (("--encoder", ENCODER, "--data", "/nowhere"), 2, "/nowhere"),
    ],
)
def test_a_wrong_call_changes_nothing(
    words: tuple[str, ...], code: int, said: str, plain: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00red")
    before = contents(plain)
    given = [word.format(empty=tmp_path / "empty", binary=tmp_path / "binary") for word in words]
    assert said in refused(run("name", plain, *given), code)
    assert contents(plain) == before


def test_repeated_words_are_mentioned(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "twice.txt").write_text("red\nblue\nred\n")
    done = run(
        "name", plain, "--encoder", ENCODER, "--vocabulary", tmp_path / "twice.txt", "--layer", "colours"
    )
    assert "twice.txt has again count once (1 line)" in done.stderr
    assert "named in 2 words" in done.stdout


def test_wrong_values_in_python(plain: Path) -> None:
    with pytest.raises(UsageError, match="of must be patches or images, got 'crops'"):
        name_in_words(plain, ENCODER, of="crops")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="batch size must be from 1 to 65,536, got 0"):
        name_in_words(plain, ENCODER, batch_size=0)


def test_the_dataset_of_somebody_elses_index_must_be_given(plain: Path, vocabulary: Path) -> None:
    edit_run(plain, lambda content: content.update(signature="0" * 64))
    before = contents(plain)
    words = ("name", plain, "--encoder", ENCODER, "--vocabulary", vocabulary)
    assert "give --data FOLDER" in refused(run(*words), 1)
    assert contents(plain) == before
    (data,) = read_run(plain)["dataset"]["data"]
    assert run(*words, "--data", data).exit_code == 0


@pytest.mark.parametrize("kind", ["null", "ragged", "nan", "unsorted", "text"])
def test_a_sealed_table_that_maxact_did_not_write_is_not_used(kind: str, out: Path, vocabulary: Path) -> None:
    """Anybody can compute a digest: what it covers may be anything."""
    path = out / "embeddings.parquet"
    before = contents(out)
    table = pq.read_table(path)
    rows = table.to_pylist()
    if kind == "text":
        rows = [{**row, "image_id": "x"} for row in rows]
    elif kind == "unsorted":
        rows = rows[::-1]
    else:
        rows[3]["embedding"] = {"null": None, "ragged": [1.0], "nan": [float("nan")] * 48}[kind]
    forged = pa.Table.from_pylist(rows)
    footer = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    del footer["maxact.schema_version"]
    write_table(path, forged.schema, [forged], metadata=footer, sealed=True)
    done = run("name", out, "--encoder", ENCODER, "--vocabulary", vocabulary)
    assert done.exit_code == 0, done.output
    assert "is not as maxact writes it; its images are embedded anew" in done.stderr
    assert contents(out) == before


def test_means_of_another_size_are_one_line(out: Path) -> None:
    path = out / "semantics.parquet"
    table = pq.read_table(path)
    rows = [{**row, "embedding": row["embedding"][:7]} for row in table.to_pylist()]
    footer = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    del footer["maxact.schema_version"]
    write_table(path, SEMANTICS, [pa.Table.from_pylist(rows, SEMANTICS)], metadata=footer, sealed=True)
    assert "not of 48 numbers" in refused(run("find", out, "red", "--encoder", ENCODER), 1)
