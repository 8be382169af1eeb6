"""The notebook of the documentation, run from its first cell to its last."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

from pipeline.config import RunConfig
from pipeline.runs.run import run_index
from tests.fixtures.small_index import SHAPES, build_photographs

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


def test_the_notebook_of_the_documents_has_the_pictures_of_its_run() -> None:
    notebook = nbformat.read(NOTEBOOK, 4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    html = "".join(output.get("data", {}).get("text/html", "") for output in outputs)
    assert html.count("data:image/webp") >= 10
    assert "stderr" not in {output.get("name") for output in outputs}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an index of the same network over fewer images, so that it takes seconds."""
    photographs = build_photographs(tmp_path / "photographs")
    layers = ("blocks.3.2", "blocks.4.2", "classifier")
    run_index(RunConfig(data=photographs, out=tmp_path / "out/demo", layers=layers, cache=tmp_path / "cache"))
    (tmp_path / "docs").mkdir()
    shutil.copy(NOTEBOOK, tmp_path / "docs")
    paths = os.pathsep.join((str(ROOT), str(ROOT / "viz/public")))
    monkeypatch.setenv("PYTHONPATH", paths)
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    notebook = nbformat.read(NOTEBOOK, 4)
    for cell in notebook.cells:
        cell.pop("outputs", None)
        cell.source = cell.source.replace("steps=96", "steps=4")
    resources = {"metadata": {"path": str(tmp_path / "docs")}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    unit = notebook.cells[3].outputs[0]["data"]["text/html"]
    assert unit.count("<img") == 9
    assert any(shape in unit for shape in SHAPES)
    rows = list((tmp_path / "out/demo/renders").rglob("*.png"))
    assert len(rows) == 1
    with Image.open(rows[0]) as picture:
        assert picture.mode == "RGB"
