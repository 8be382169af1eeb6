"""The how-to pages, run from their first block to their last."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from docs.site.blocks import DOCS
from pipeline.config import RunConfig
from pipeline.runs.run import run_index
from pipeline.vision_libraries import timm
from tests.docs.pages import blocks_of, run_page
from tests.fixtures.huggingface import save_model
from tests.fixtures.small_index import SHAPES, build_photographs
from tests.fixtures.tiny import Tiny, write_tars

PAGES = sorted((DOCS / "howto").glob("*.md"))

SMALL = "--input size=64"
"""Makes the default network a twelfth of its size."""

STAND_INS: dict[str, dict[str, str]] = {
    "own-network": {
        "vit_small_patch16_224": "test_vit",
        "height=224, width=224, resize=256": "160, 160, 160",
    },
    "own-data": {"--layers 'blocks.4.2'": f"--layers 'blocks.4.2' {SMALL}"},
    "vit": {"timm:vit_small_patch16_224": "timm:test_vit --weights random", "fourier": "fourier --steps 4"},
    "sparse-autoencoder": {
        "timm:vit_small_patch16_224": "timm:test_vit --weights random",
        "fourier": "fourier --steps 4",
    },
    "cluster": {"--layers 'blocks.4.2'": f"--layers 'blocks.4.2' {SMALL}"},
    "custom-recipe": {"steps=256": "steps=4", "steps = 256": "steps = 4", '"128"': '"4"'},
    "atlas": {"--units 0-3\n": "--units 0-3 --steps 2\n"},
    "notebook": {"steps=16": "steps=2", 'layers="blocks.4.2"': 'layers="blocks.4.2", input="size=64"'},
}
"""By page: words of its blocks, and what is used in their place so that they run in seconds."""


class Autoencoder(nn.Module):
    """What the page's reader has trained."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(64, 40), nn.Linear(40, 64)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs in class folders, and indexes of them with the default network."""
    world = tmp_path_factory.mktemp("world")
    photographs = build_photographs(world / "photos")
    layers = ("blocks.3.2", "blocks.4.2", "classifier")
    for name in ("demo", "other"):
        run_index(
            RunConfig(
                data=photographs,
                out=world / "out" / name,
                layers=layers,
                input="size=64",
                top=16 if name == "demo" else 9,
                cache=world / "cache",
            )
        )
    return world


def _checkpoints(folder: Path) -> None:
    """A checkpoint of the stand-in, one with a head of its own below a prefix, and a model folder."""
    torch.save(timm().create_model("test_vit").state_dict(), folder / "checkpoint.pth")
    state = timm().create_model("test_vit", num_classes=len(SHAPES)).state_dict()
    torch.save({f"module.{name}": value for name, value in state.items()}, folder / "finetuned.pth")
    (folder / "classes.txt").write_text("\n".join(SHAPES))
    save_model("vit", folder / "model")


def _library(folder: Path) -> None:
    """An autoencoder as SAELens saves it, of the width of the stand-in."""
    import json

    from safetensors.torch import save_file

    (folder / "sae").mkdir()
    generator = torch.Generator().manual_seed(0)
    tensors = {"W_enc": (64, 24), "b_enc": (24,), "W_dec": (24, 64), "b_dec": (64,)}
    drawn = {name: torch.randn(shape, generator=generator) for name, shape in tensors.items()}
    save_file(drawn, folder / "sae/sae_weights.safetensors")
    settings = {"architecture": "standard", "d_in": 64, "d_sae": 24, "activation_fn": "relu"}
    settings |= {"apply_b_dec_to_input": False, "normalize_activations": "none"}
    (folder / "sae/cfg.json").write_text(json.dumps(settings))


PREPARED: dict[str, Callable[[Path], object]] = {
    "own-network": _checkpoints,
    "sparse-autoencoder": _library,
    "cluster": lambda folder: write_tars(folder / "shards", [6, 6]),
}


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_runs(path: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = path.read_text(encoding="utf-8")
    if not blocks_of(page):
        return
    shutil.copytree(world / "photos", tmp_path / "photos")
    shutil.copytree(world / "out", tmp_path / "out")
    PREPARED.get(path.stem, lambda _: None)(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAXACT_CACHE", str(world / "cache"))
    names: dict[str, Any] = {"my_module": Tiny(), "autoencoder": Autoencoder()}
    run_page(page, STAND_INS.get(path.stem, {}), names)
    if "index" in names:
        names["index"].close()


def test_stand_ins_are_for_pages_that_exist() -> None:
    assert {*STAND_INS, *PREPARED} <= {path.stem for path in PAGES}


def test_the_list_of_pages_is_complete() -> None:
    listed = (DOCS / "howto/index.md").read_text(encoding="utf-8")
    assert all(f"]({path.name})" in listed for path in PAGES if path.stem != "index")


def test_what_is_not_run_is_marked() -> None:
    page = "text\n\n*Not run by the tests: why.*\n\n```sh\nfalse\n```\n\n```sh\ntrue\n```\n"
    assert [block.is_run for block in blocks_of(page)] == [False, True]
    with pytest.raises(AssertionError):
        run_page(page, {"absent": "words"}, {})
    with pytest.raises(AssertionError, match="sql without a title"):
        run_page("```sql\nSELECT 1\n```\n", {}, {})
