"""Public names are found where a stub says, and what is not there is named."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from pipeline import version
from pipeline.lazy import public_names


def test_names_and_modules_of_a_stub(tmp_path: Path) -> None:
    lines = ["import os", "from pipeline.errors import UsageError as Wrong", "from pipeline import config"]
    (tmp_path / "__init__.pyi").write_text("\n".join(lines))
    names = public_names("pipeline", str(tmp_path / "__init__.py"))
    assert names.find("Wrong").__module__ == "pipeline.errors"
    assert names.find("config").__name__ == "pipeline.config"
    assert names.public == names.listed() == ["Wrong", "config"]
    with pytest.raises(AttributeError, match="module 'pipeline' has no attribute 'nothing'"):
        names.find("nothing")


def test_a_checkout_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(version, "version", missing)
    assert version.installed_version() is None
