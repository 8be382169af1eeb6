"""Files that an index names lie in its folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.store.inside import inside


def test_a_file_below_the_folder_is_taken(tmp_path: Path) -> None:
    assert inside(tmp_path, "renders/a/b.png", folder="renders") == tmp_path / "renders" / "a" / "b.png"


@pytest.mark.parametrize(
    "name",
    [
        "../victim.txt",
        "renders/../../victim.txt",
        "/etc/passwd",
        "renders",
        "run.json",
        "renders\\..\\x",
        "a\0b",
    ],
)
def test_any_other_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match=f"is not below {re.escape(str(tmp_path))}/renders; it is not used"):
        inside(tmp_path, name, folder="renders")
    if name not in ("renders", "run.json"):
        with pytest.raises(StoreError, match=f"is not below {re.escape(str(tmp_path))}; it is not used"):
            inside(tmp_path, name)


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "renders").symlink_to(tmp_path)
    with pytest.raises(StoreError, match="leads out of the index"):
        inside(tmp_path / "out", "renders/victim.txt", folder="renders")


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "renders").symlink_to("renders")
    with pytest.raises(StoreError, match=r"names the file 'renders/a\.png', which cannot be resolved"):
        inside(tmp_path, "renders/a.png", folder="renders")
