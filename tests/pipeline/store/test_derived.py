"""What was made from another index is found and removed, and nothing else."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pipeline.errors import StoreError
from pipeline.store.derived import FINGERPRINT_NOTE, derived_files, remove_derived
from pipeline.store.schemas import RENDERS
from pipeline.store.tables import read_sealed_table
from tests.fixtures.renders import rendered
from tests.fixtures.tiny import picture
from viz.render.table import load_renders, merge_renders

OWN, OTHER = "a" * 64, "b" * 64


def draw(out: Path, *rows: tuple[int, str]) -> list[Path]:
    """Renderings of units of these indexes."""
    (out / "renders" / "stem").mkdir(parents=True, exist_ok=True)
    found = []
    for unit, fingerprint in rows:
        row = rendered(1.0, unit=unit, file=f"renders/stem/{unit}.png", index_fingerprint=fingerprint)
        (out / row.file).write_bytes(picture(unit))
        merge_renders(out, [row])
        found.append(out / row.file)
    return found


def test_renderings_of_this_index_stay_with_their_rows(tmp_path: Path) -> None:
    own, other = draw(tmp_path, (0, OWN), (1, OTHER))
    assert remove_derived(tmp_path, keep=OWN) == 1
    assert own.exists()
    assert not other.exists()
    assert [row.unit for row in load_renders(tmp_path)] == [0]
    assert read_sealed_table(tmp_path / "renders.parquet", RENDERS).num_rows == 1


def test_without_a_rendering_of_this_index_the_table_goes(tmp_path: Path) -> None:
    draw(tmp_path, (0, OTHER), (1, OTHER))
    assert remove_derived(tmp_path, keep=OWN) == 2
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []


def test_a_damaged_table_keeps_no_rendering_but_files_of_others_stay(tmp_path: Path) -> None:
    """The pictures have no mark of maxact here, so they may be anybody's."""
    (path,) = draw(tmp_path, (0, OWN))
    data = (tmp_path / "renders.parquet").read_bytes()
    (tmp_path / "renders.parquet").write_bytes(data[:100] + b"damage" + data[106:])
    assert pq.read_metadata(tmp_path / "renders.parquet").num_rows == 1
    remove_derived(tmp_path, keep=OWN)
    assert path.exists()


def test_checkpoints_of_renderings_go_and_files_of_such_a_name_stay(tmp_path: Path) -> None:
    (tmp_path / "renders").mkdir()
    checkpoint = tmp_path / "renders" / f".{'0' * 16}-{'1' * 16}.checkpoint"
    mine = tmp_path / "renders" / ".mine.checkpoint"
    for path in (checkpoint, mine):
        path.touch()
    remove_derived(tmp_path, keep=OWN, unmarked=OWN)
    assert checkpoint.exists()  # of this index, as far as is known
    remove_derived(tmp_path, keep=OWN)
    assert not checkpoint.exists()
    assert mine.exists()


def test_files_that_maxact_has_not_marked_are_not_its_own(tmp_path: Path) -> None:
    for folder in ("sheets", "prior"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "sheets" / "a.png")
    Image.new("RGB", (2, 2)).save(tmp_path / "sheets" / "a.pdf", creator="another program")
    (tmp_path / "sheets" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    (tmp_path / "sheets" / "b.pdf").write_bytes(b"%PDF-1.4 no document")
    torch.save({"decoder": torch.zeros(1)}, tmp_path / "prior" / "a.pt")
    torch.save([1, 2], tmp_path / "prior" / "b.pt")
    (tmp_path / "prior" / "c.pt").write_bytes(b"no tensors")
    before = sorted(tmp_path.rglob("*"))
    assert list(derived_files(tmp_path)) == []
    assert remove_derived(tmp_path, keep=OWN) == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_files_of_a_robust_copy_are_known_by_their_keys(tmp_path: Path) -> None:
    (tmp_path / "robust").mkdir()
    content = {"version": 1, "layers": ["a"], "network": "n", "weights": {}, FINGERPRINT_NOTE: OTHER}
    torch.save(content, tmp_path / "robust" / "network.pt")
    torch.save({"weights": {}}, tmp_path / "robust" / "mine.pt")
    assert [(each.path.name, each.fingerprint) for each in derived_files(tmp_path)] == [("network.pt", OTHER)]
    assert remove_derived(tmp_path, keep=OWN) == 1
    assert [path.name for path in (tmp_path / "robust").iterdir()] == ["mine.pt"]


def test_what_is_marked_says_of_which_index_it_is(tmp_path: Path) -> None:
    for folder in ("sheets", "prior"):
        (tmp_path / folder).mkdir()
    keywords = f"{FINGERPRINT_NOTE}={OTHER}"
    Image.new("RGB", (2, 2)).save(tmp_path / "sheets" / "a.pdf", creator="maxact 1", keywords=keywords)
    Image.new("RGB", (2, 2)).save(tmp_path / "sheets" / "b.pdf", creator="maxact 1")
    content = {"version": 1, "shape": {}, "network": "n", "decoder": {}, FINGERPRINT_NOTE: OWN}
    torch.save(content, tmp_path / "prior" / "a.pt")
    assert [(each.path.name, each.fingerprint) for each in derived_files(tmp_path)] == [
        ("a.pdf", OTHER),
        ("b.pdf", None),
        ("a.pt", OWN),
    ]
    assert remove_derived(tmp_path, keep=OWN, unmarked=OTHER) == 2
    assert not (tmp_path / "sheets").exists()
    assert (tmp_path / "prior" / "a.pt").exists()


def test_a_file_that_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = draw(tmp_path, (0, OTHER))

    def fail(path: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "unlink", fail)
    with pytest.raises(StoreError, match=r"cannot remove .*renders\.parquet: Permission denied"):
        remove_derived(tmp_path, keep=OWN)
    assert path.exists()
