"""The README's picture is made by the README's own commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from docs.site import readme_picture
from docs.site.readme_picture import make_readme_picture


def test_the_last_picture_of_the_first_block_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def run(command: list[str], folder: Path) -> tuple[float, str]:
        ran.append(command[0])
        if command[0] != "sheets":
            return 1.0, "a line of text\n"
        Image.new("RGB", (2400, 1200), "teal").save(folder / "sheet.png")
        return 1.0, "sheet.png\n"

    monkeypatch.setattr(readme_picture, "run_command", run)
    make_readme_picture(tmp_path / "sheet.webp")
    assert ran == ["index", "render", "sheets"]
    with Image.open(tmp_path / "sheet.webp") as picture:
        assert (picture.format, picture.size) == ("WEBP", (1600, 800))


def test_commands_without_a_picture_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readme_picture, "run_command", lambda command, folder: (1.0, ""))
    with pytest.raises(ValueError, match="draws no picture"):
        make_readme_picture(tmp_path / "sheet.webp")
    assert not [*tmp_path.iterdir()]
