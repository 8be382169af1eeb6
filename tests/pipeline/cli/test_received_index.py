"""An index from somebody else, given to every command: nothing of it is run, fetched or read outside."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

from pipeline.check.audit import check_index
from pipeline.errors import UntrustedIndex
from pipeline.query.index import open_index
from pipeline.store.run_file import write_run
from tests.fixtures.commands import run
from tests.fixtures.serving import Files, server  # noqa: F401
from tests.fixtures.tiny import write_tars
from viz.cli import app

pytestmark = pytest.mark.slow

TINY = "tests.fixtures.tiny:factory"
LAYER = "rectify"

NET = """
from pathlib import Path
Path({marker!r}).write_text("imported")
from tests.fixtures.tiny import factory
"""

WORDS = {
    "find": ("a",),
    "name": (),
    "top": (LAYER, "1"),
    "nearest": (LAYER, "1"),
    "sum": (f"{LAYER}:1=0.5",),
    "query": ("layer_overview",),
    "sql": ("SELECT count(*) FROM patches",),
    "prior train": ("--layer", LAYER, "--size", "16", "--steps", "1", "--batch", "2"),
    "robust train": ("--size", "32", "--steps", "1", "--batch", "2"),
    "render": ("--layer", LAYER, "--units", "1", "--recipe", "fourier", "--steps", "2"),
    "sheets": ("--layer", LAYER, "--units", "1"),
    "project": ("--layer", LAYER, "--units", "1"),
    "atlas": ("--layer", LAYER, "--units", "1"),
    "study": ("--layer", "head", "--units", "0-2", "--reference", "real1", "--out", "{out}.study"),
    "explain": ("00001", "--layer", LAYER),
    "directions": ("--layer", LAYER, "-n", "2", "--output", "{out}.safetensors"),
    "dissect": ("--layer", LAYER, "--masks", "{out}-masks"),
    "check": (),
    "repair": (),
    "clean": (),
}
"""What each command that opens an index is given after OUT; a new one needs a line here."""

TRAINING = ("prior train", "robust train")

NETWORK = ("check", "study", "render", "project", *TRAINING, "explain", "directions", "dissect")
"""Commands that load the network."""

DATA = ("sheets", "project", *TRAINING, "check", "atlas", "study", "explain", "directions", "dissect")
"""Commands that read images of the dataset, here with recipes that need none for `render`."""


def write_tiny_masks(folder: Path) -> None:
    """Of every image of `write_tars`, with one concept."""
    folder.mkdir(exist_ok=True)
    (folder / "names.csv").write_text("1,right\n")
    for number in range(17):
        Image.fromarray(np.tile(np.array([0, 1], np.uint8).repeat(10), (20, 1))).save(
            folder / f"{number:05}.png"
        )


def opening_commands() -> Iterator[str]:
    """The commands that take OUT as the folder of an index to open."""
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        for full, each in (
            {f"{name} {k}": v for k, v in inner.items()}.items() if inner else [(name, command)]
        ):
            opens = any(param.name == "out" and not param.opts[0].startswith("-") for param in each.params)
            if opens and full != "merge":
                yield full


def call(name: str, out: Path, *more: object) -> Any:
    assert name in WORDS, f"{name} opens an index: say in WORDS how it is called"
    if name == "dissect":
        write_tiny_masks(Path(f"{out}-masks"))
    return run(*name.split(), out, *(word.format(out=out) for word in WORDS[name]), *more)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    tars = write_tars(folder / "data", [13, 13])
    words = ("--network", TINY, "--layers", LAYER, "--layers", "head", "--top", "16", "--compile", "off")
    words = (*words, "--keep", "peaks")
    assert run("index", *tars, "-o", folder / "out", "--workers", "1", *words).exit_code == 0
    return folder


@pytest.fixture
def received(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the index, as it comes to a user with another key."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    shutil.copytree(made / "out", tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "out"


def edit(out: Path, data: list[str] | None = None, **config: Any) -> None:
    run_json = json.loads((out / "run.json").read_text())
    run_json["config"].update(config)
    if data is not None:
        run_json["dataset"]["data"] = data
        run_json["config"]["data"] = data
    write_run(out, run_json)


def snapshot(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*"))


def one_line(result: Any) -> str:
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return str(line)


@pytest.mark.parametrize("name", sorted(opening_commands()))
def test_ones_own_index_needs_no_flag(name: str, made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "out", tmp_path / "moved")
    result = call(name, tmp_path / "moved")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("form", ["file", "module"])
@pytest.mark.parametrize("name", sorted(opening_commands()))
def test_no_command_imports_or_fetches_what_an_index_names(
    name: str,
    form: str,
    received: Path,
    tmp_path: Path,
    server: tuple[str, type[Files]],  # noqa: F811
) -> None:
    url, handler = server
    marker = tmp_path / "marker"
    module = f"evil_{form}_{name.replace(' ', '_')}"
    (tmp_path / f"{module}.py").write_text(NET.format(marker=str(marker)))
    network = f"{tmp_path / module}.py:factory" if form == "file" else f"{module}:factory"
    edit(received, [f"{url}/shard.tar"], network=network, cache=str(tmp_path / "cache"))
    before = snapshot(received)
    result = call(name, received)
    assert not marker.exists()
    assert handler.requests == 0
    if name in NETWORK or name in DATA:
        line = one_line(result)
        assert "has no signature of yours" in line
        assert "--trust" in line
        assert "--network" in line if name in NETWORK else "--data" in line
        written = set(snapshot(received)) - set(before)
        assert all(path.startswith((".", "sheets", "projections", "renders", "atlas")) for path in written)
        assert not [path for path in written if path.endswith((".png", ".pt", ".parquet"))]
    else:
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", NETWORK)
def test_trust_and_a_network_by_hand_load_it(name: str, received: Path, made: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "evil.py").write_text(NET.format(marker=str(marker)))
    edit(received, network=f"{tmp_path / 'evil.py'}:factory")
    assert call(name, received, "--network", TINY, "--trust").exit_code == 0
    assert not marker.exists()
    shutil.rmtree(received)
    shutil.copytree(made / "out", received)
    edit(received, network=f"{tmp_path / 'evil.py'}:factory")
    result = call(name, received, "--trust")
    assert result.exit_code == 0, result.output
    assert marker.exists()


def test_a_network_by_hand_must_be_the_one_that_was_indexed(received: Path) -> None:
    edit(received, network="evil:factory")
    line = one_line(run("check", received, "--network", "torchvision:squeezenet1_1", "--weights", "random"))
    assert "digest" in line


def test_the_data_of_a_url_is_fetched_when_it_is_trusted(
    received: Path,
    server: tuple[str, type[Files]],  # noqa: F811
) -> None:
    """So that the test above can fail."""
    url, handler = server
    edit(received, [f"{url}/shard.tar"])
    one_line(call("sheets", received, "--trust"))
    assert handler.requests > 0


@pytest.mark.parametrize("data", ["/etc/passwd", "../", "/etc", "torchvision:CIFAR10", "~", "{a,b}.tar"])
def test_data_elsewhere_is_refused(data: str, received: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.data.dataset.open_dataset", lambda *_, **__: pytest.fail("opened"))
    edit(received, [data])
    line = one_line(call("sheets", received))
    assert "its dataset" in line
    assert data.strip("{}") in line


@pytest.mark.parametrize("data", ["/data/{.,x}{.,y}/*.tar", "/a/../../*.tar", "/data/{a,b}/../../x.tar"])
def test_a_recorded_path_does_not_lead_out_of_the_data_that_is_given(
    data: str, received: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.data.moved.list_shards", lambda *_: pytest.fail("listed"))
    edit(received, [data])
    line = one_line(call("sheets", received, "--data", made / "data"))
    assert "would lead out of --data" in line


def test_data_that_is_given_is_read(received: Path, made: Path) -> None:
    result = call("sheets", received, "--data", made / "data")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", NETWORK)
@pytest.mark.parametrize("what", ["weights", "directions"])
def test_files_elsewhere_are_refused(
    name: str, what: str, received: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr("pipeline.networks.network.read_weights", read.append)
    monkeypatch.setattr("pipeline.networks.extra_modules.read_weights", read.append)
    secret = tmp_path / "secret.safetensors"
    secret.write_bytes(b"secret")
    edit(received, network="torchvision:squeezenet1_1", weights="random")
    edit(received, **({"weights": str(secret)} if what == "weights" else {"directions": [f"head={secret}"]}))
    line = one_line(call(name, received))
    assert what in line
    assert "secret.safetensors" in line
    assert not read


PLACES = (
    "run.json",
    "images.parquet",
    "layers.parquet",
    "renders",
    "projections",
    "prior",
    "robust",
    "parts",
)


@pytest.mark.parametrize(
    ("name", "place"),
    [(name, "sheets") for name in sorted(opening_commands())] + [("sheets", place) for place in PLACES],
)
def test_links_out_of_an_index_are_refused(name: str, place: str, received: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    if (received / place).exists():
        (received / place).rename(outside)
    else:
        outside.mkdir()
    (received / place).symlink_to(outside)
    before = sorted(outside.rglob("*"))
    line = one_line(call(name, received))
    assert "leads out of" in line
    assert sorted(outside.rglob("*")) == before


def test_merge_refuses_links_and_signs_nothing_for_others(made: Path, received: Path, tmp_path: Path) -> None:
    assert run("merge", tmp_path / "own", received).exit_code == 0
    assert (
        "signature" not in json.loads((tmp_path / "own" / "run.json").read_text())
        or not open_index(tmp_path / "own").trusted
    )
    edit(received, network="evil:factory")
    assert run("merge", tmp_path / "all", received).exit_code == 0
    with open_index(tmp_path / "all") as index:
        assert not index.trusted
    (received / "parts" / "link").symlink_to("/etc")
    assert "leads out of" in one_line(run("merge", tmp_path / "more", received))


def test_the_same_index_command_signs_what_it_finds_complete(received: Path, made: Path) -> None:
    edit(received, network="evil:factory")
    words = ("--network", TINY, "--layers", LAYER, "--layers", "head", "--top", "16", "--compile", "off")
    words = (*words, "--keep", "peaks")
    tars = sorted((made / "data").glob("*.tar"))
    result = run("index", *tars, "-o", received, "--workers", "1", *words)
    assert result.exit_code == 0, result.output
    assert "nothing to do" in result.stderr
    with open_index(received) as index:
        assert index.trusted
        assert index.run["config"]["network"] == TINY
    assert run("check", received).exit_code == 0


def test_merging_ones_own_runs_gives_ones_own_index(made: Path, tmp_path: Path) -> None:
    assert run("merge", tmp_path / "all", made / "out").exit_code == 0
    with open_index(tmp_path / "all") as index:
        assert index.trusted
    assert run("check", tmp_path / "all").exit_code == 0


def test_the_library_refuses_and_trusts_as_the_commands_do(received: Path, made: Path) -> None:
    with open_index(received) as index:
        assert not index.trusted
        (image_id,) = index.sql("SELECT min(image_id) FROM images").rows[0]
        with pytest.raises(UntrustedIndex, match="its dataset"):
            index.image_bytes(image_id)
    with open_index(received, data=made / "data") as index:
        assert len(index.image_bytes(image_id)) > 0
    with pytest.raises(UntrustedIndex, match="its network"):
        check_index(received)
    assert not check_index(received, trust=True).discrepancies


@pytest.mark.parametrize("where", ["import", "call", "forward"])
def test_a_factory_that_exits_is_an_error(where: str, received: Path, tmp_path: Path) -> None:
    code = {
        "import": "import sys\nsys.exit(0)",
        "call": "import sys\ndef factory():\n    sys.exit(0)",
        "forward": (
            "import sys\nfrom tests.fixtures.tiny import factory as real\n"
            "def factory():\n    module, preprocess = real()\n"
            "    module.first.register_forward_hook(lambda *_: sys.exit(0))\n    return module, preprocess"
        ),
    }[where]
    (tmp_path / "net.py").write_text(code)
    line = one_line(run("check", received, "--network", f"{tmp_path / 'net.py'}:factory", "--trust"))
    assert "SystemExit" in line or "ended the program" in line


def test_an_exception_of_a_factory_is_shown_with_its_place(received: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("def factory():\n    raise KeyError('weights\\nof 2 lines')\n")
    line = one_line(run("check", received, "--network", f"{tmp_path / 'net.py'}:factory", "--trust"))
    assert "net.py:2" in line
    assert "KeyError" in line
