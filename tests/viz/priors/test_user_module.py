"""User-defined generators: created by a factory, loaded with weights, used for rendering."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from pipeline.config import RunConfig
from pipeline.errors import RenderError, RenderingFailed, WeightsError
from pipeline.images.decode import decode
from pipeline.query.index import Index, open_index
from pipeline.runs.run import run_index
from tests.fixtures.convnets import convnet, layer_of
from tests.fixtures.generators import AutoencoderKL, Features
from tests.fixtures.tiny import write_tars
from viz.cli import app
from viz.priors import prior as prior_module
from viz.priors.code_range import CodeStatistics, encode
from viz.priors.prior import code_range, load_prior, priors_of
from viz.render.table import load_renders
from viz.tensor_files import save_tensors

pytestmark = pytest.mark.slow

HERE = "tests.fixtures.generators:"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generator")
    tars = write_tars(folder / "data", [9])
    run_index(
        RunConfig(
            data=tuple(map(str, tars)),
            out=folder / "out",
            network="tests.fixtures.convnets:factory",
            layers=("late",),
            top=4,
            compile="off",
        )
    )
    return folder / "out"


@pytest.fixture
def index(out: Path) -> Any:
    with open_index(out) as opened:
        yield opened


def trained(folder: Path, module: torch.nn.Module, ending: str) -> tuple[Path, torch.nn.Module]:
    """Write weights that differ from those of the factory; return the file and the module."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator()) / 4)
    path = folder / f"weights{ending}"
    if ending == ".safetensors":
        save_file(module.state_dict(), path)
    else:
        torch.save(module.state_dict(), path)
    return path, module


def render(out: Path, *words: object) -> Any:
    arguments = ["render", out, "--layer", "late", "--recipe", "prior", "--set", "steps=6", *words]
    return CliRunner().invoke(app, [str(word) for word in arguments])


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_a_factory_with_a_file_of_weights_is_rendered(out: Path, tmp_path: Path, ending: str) -> None:
    path, module = trained(tmp_path, Features(), ending)
    prior = load_prior(f"{HERE}Features", path)
    code = torch.rand(1, *prior.code_shape)
    assert torch.equal(prior.decode(code), 255 * module(code))
    result = render(out, "--units", "3,5", "--generator", f"{HERE}Features", "--generator-weights", path)
    assert result.exit_code == 0, result.output
    assert "prior: codes stay within mean +- 3 sd of the features of late over the dataset" in result.stderr
    files = [Path(line).relative_to(out).as_posix() for line in result.stdout.splitlines()]
    rows = {row.file: row for row in load_renders(out)}
    assert [rows[file].unit for file in files] == [3, 5]
    assert all(max(rows[file].trace) > rows[file].trace[0] for file in files)


def test_the_digest_depends_on_the_weights(out: Path, tmp_path: Path) -> None:
    path, _ = trained(tmp_path, Features(), ".pth")
    assert load_prior(f"{HERE}Features", path).digest != load_prior(f"{HERE}Features").digest
    assert load_prior(f"{HERE}Unsaid").digest != load_prior(f"{HERE}Features").digest
    assert load_prior(f"{HERE}Features").digest == load_prior(f"{HERE}Features").digest


def test_the_digest_does_not_depend_on_rounding_of_the_bounds(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, digests = convnet(), set()
    for nudge in (0.0, 1e-6):
        statistics = CodeStatistics(torch.zeros(16, 3, 3), torch.full((16, 3, 3), 1 + nudge), False)
        monkeypatch.setattr(prior_module, "dataset_statistics", lambda *_, statistics=statistics: statistics)
        prior = load_prior(f"{HERE}Features", network=network, index=index)
        digests.add(prior.digest)
        assert prior.upper[0, 0, 0] == 3 * (1 + torch.tensor(nudge))
    assert len(digests) == 1
    assert load_prior(f"{HERE}Features").digest not in digests, "it has no bounds"


def test_a_prior_trained_by_the_command_line_is_rendered(out: Path) -> None:
    words = ["prior", "train", str(out), "--layer", "late", "--size", "16", "--steps", "3"]
    trained = CliRunner().invoke(app, [*words, "--batch", "4"])
    assert trained.exit_code == 0, trained.output
    path = out / "prior" / "late.pt"
    assert trained.stdout == f"{path}\n"
    for chosen in ((), ("--generator", path)):
        result = render(out, "--units", "6", *chosen)
        assert result.exit_code == 0, result.output
        assert "of the dataset's features, as they were in training" in result.stderr
    assert "1 of 1 already there" in result.stderr
    shutil.copy(path, path.with_name("other.pt"))
    result = render(out, "--units", "6")
    assert result.exit_code == 2
    assert "late.pt, other.pt" in result.stderr
    assert "choose with --generator" in result.stderr
    shutil.rmtree(out / "prior")


@pytest.mark.parametrize(("layer", "units", "words"), [("late", 16, "mean +-"), ("relu6", 8, "0 to")])
@pytest.mark.parametrize("grid", [(3, 3), (1, 2), ()])
def test_the_range_of_features_comes_from_the_dataset(
    index: Index, layer: str, units: int, words: str, grid: tuple[int, ...]
) -> None:
    network, module = convnet(), torch.nn.Identity()
    module.code_layer = layer  # type: ignore[assignment]
    bounds = code_range(module, (units, *grid), network, index)
    ids = [row[0] for row in index.sql("SELECT image_id FROM images").rows]
    assert len(ids) == 9
    pixels = torch.stack([decode(data, network.preprocess) for _, data in index.iterate_bytes(ids)])
    features = encode(network, layer_of(network, layer), pixels, grid or (1, 1)).double()
    features = features.view(9, units, *grid)
    mean = features.mean(0)
    reach = 3 * (features - mean).square().mean(0).sqrt()
    assert torch.allclose(bounds.upper.double(), mean + reach, atol=4e-4)
    lower = torch.zeros_like(mean) if layer == "relu6" else mean - reach
    assert torch.allclose(bounds.lower.double(), lower, atol=4e-4)
    assert (
        bounds.origin == f"codes stay within {words} {'mean + ' if layer == 'relu6' else ''}3 sd "
        f"of the features of {layer} over the dataset"
    )


def test_codes_with_negative_values_have_two_sided_bounds() -> None:
    codes = torch.tensor([[1.0, -2.0], [3.0, 2.0]])
    bounds = CodeStatistics.of(codes).range("here")
    assert torch.equal(bounds.lower, torch.tensor([-1.0, -6.0]))
    assert torch.equal(bounds.upper, torch.tensor([5.0, 6.0]))
    assert bounds.origin == "codes stay within mean +- 3 sd here"
    assert torch.equal(CodeStatistics.of(codes + 2).range("").lower, torch.zeros(2))


def test_declared_statistics_are_used_for_codes_of_another_network(index: Index) -> None:
    prior = load_prior(f"{HERE}Elsewhere", network=convnet(), index=index)
    assert (prior.lower == 0).all()
    assert (prior.upper == 1.25).all()
    assert prior.origin == "codes stay within 0 to mean + 3 sd as the generator declares them"


def test_codes_without_statistics_have_no_bounds(out: Path, index: Index) -> None:
    prior = load_prior(f"{HERE}Unsaid", network=convnet(), index=index)
    assert torch.isinf(prior.upper).all()
    assert (prior.lower == -prior.upper).all()
    result = render(out, "--units", "2", "--generator", f"{HERE}Unsaid")
    assert result.exit_code == 0, result.output
    assert "prior: codes are not clipped: the generator says nothing" in result.stderr


def test_a_layer_of_another_size_is_reported_in_the_origin(index: Index) -> None:
    class Foreign(Features):
        code_layer = "stem"  # it has 8 units

    bounds = code_range(Foreign(), (16, 3, 3), convnet(), index)
    assert bounds.origin.startswith("codes are not clipped: convnet has 8 units there for stem")


def test_the_decoder_of_a_diffusers_vae(out: Path, tmp_path: Path) -> None:
    path, module = trained(tmp_path, AutoencoderKL(), ".safetensors")
    prior = load_prior(f"{HERE}AutoencoderKL", path)
    assert prior.code_shape == (4, 3, 3)
    assert (prior.lower == -3).all()
    assert (prior.upper == 3).all()
    code = torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    expected = (255 * (module.decode(code / 0.25).sample + 1) / 2).clamp(0, 255)
    assert torch.allclose(prior.decode(code), expected, atol=1e-3)
    assert ((expected > 0) & (expected < 255)).any(), "some pixels are not clipped"
    result = render(
        out,
        "--units",
        "1",
        "--set",
        "step=0.5:0",
        "--generator",
        f"{HERE}AutoencoderKL",
        "--generator-weights",
        path,
    )
    assert result.exit_code == 0, result.output
    assert "mean +- 3 sd as the generator declares" in result.stderr


def test_the_shape_of_the_code_can_be_passed(out: Path) -> None:
    result = render(out, "--units", "4", "--generator", f"{HERE}Shapeless", "--generator-code", "16x2x3")
    assert result.exit_code == 0, result.output
    assert load_prior(f"{HERE}Features", code_shape=(16, 5, 5)).upper.shape == (16, 5, 5)


def test_a_factory_in_a_file_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from tests.fixtures.generators import Features as make\n")
    assert load_prior(f"{tmp_path}/mine.py:make").code_shape == (16, 3, 3)


BROKEN = {
    "no module": ("tests.nowhere:make", "cannot import 'tests.nowhere'"),
    "no function": (f"{HERE}nothing", "tests.fixtures.generators has no function 'nothing'"),
    "raising": (f"{HERE}raising", ": in raising: FileNotFoundError: no checkpoint at the usual place"),
    "no module made": (f"{HERE}number", "returned int, expected an nn.Module"),
    "shapeless": (f"{HERE}Shapeless", "--generator-code 256x6x6"),
    "channels last": (f"{HERE}LastAxis", "to a picture of shape (1, 12, 12, 3)"),
    "no image": (f"{HERE}Statues", "Statues: it returned str, expected images"),
    "no gradient": (f"{HERE}Detached", "without a gradient"),
    "misfit": (f"{HERE}Misfit", "do not fit codes of shape 16x3x3"),
    "neither": ("generator", "expected package.module:factory"),
}

MISTYPED = ("no module", "no function", "shapeless", "neither")
"""Cases in which the call is wrong, not the generator."""


@pytest.mark.parametrize("case", BROKEN)
def test_an_invalid_generator_is_reported_in_one_line(out: Path, case: str) -> None:
    source, message = BROKEN[case]
    result = render(out, "--units", "0", "--generator", source)
    assert result.exit_code == (2 if case in MISTYPED else 1)
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert message in result.stderr


def test_a_factory_file_with_a_syntax_error_is_reported(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def make(:\n")
    with pytest.raises(RenderError, match=r"bad\.py:1: SyntaxError: .*cannot import"):
        load_prior(f"{tmp_path}/bad.py:make")


def test_weights_that_do_not_fit_are_reported(tmp_path: Path) -> None:
    state = Features().state_dict()
    state["grow.weight"] = torch.zeros(16, 8, 2, 2)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"grow\.weight is 16x8x2x2, expected 16x8x4x4"):
        load_prior(f"{HERE}Features", tmp_path / "other.pth")
    del state["grow.weight"], state["paint.bias"]
    torch.save(state, tmp_path / "fewer.pth")
    with pytest.raises(WeightsError, match=r"missing: grow\.weight .*paint\.bias"):
        load_prior(f"{HERE}Features", tmp_path / "fewer.pth")
    with pytest.raises(RenderError, match="weights file of the generator does not exist"):
        load_prior(f"{HERE}Features", tmp_path / "none.pth")


def test_a_code_shape_that_does_not_fit_is_rejected() -> None:
    with pytest.raises(RenderError, match=r"cannot decode a code of shape 15x3x3.*--generator-code"):
        load_prior(f"{HERE}Features", code_shape=(15, 3, 3))


@pytest.mark.parametrize("words", [("x",), ("16x",), ("0x3",), ("1x2x3x4",)])
def test_an_invalid_code_shape_is_rejected(out: Path, words: tuple[str]) -> None:
    result = render(out, "--units", "0", "--generator", f"{HERE}Features", "--generator-code", *words)
    assert result.exit_code == 2
    assert "such as 4096 or 256x6x6" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--generator-weights", "w.pth"), "need --generator module:factory"),
        (("--generator", "a.pt", "--generator-weights", "w.pth"), "is a complete generator"),
        (("--generator", f"{HERE}Features", "--recipe", "fourier"), "takes no generator"),
    ],
)
def test_incompatible_options_are_rejected(out: Path, words: tuple[str, ...], message: str) -> None:
    result = render(out, "--units", "0", *(word for word in words))
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_file_that_is_no_prior_is_named(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match=r"prior .*none\.pt does not exist; train one with"):
        load_prior(tmp_path / "none.pt")
    for content in ({}, {"shape": {}, "least": 0.0}, {"shape": {"strange": 1}, "least": 0.0, "decoder": {}}):
        save_tensors(tmp_path / "a.pt", content)
        with pytest.raises(RenderingFailed, match=r"a\.pt is not a checkpoint of a prior: ") as told:
            load_prior(tmp_path / "a.pt")
        assert "\n" not in str(told.value)


def test_a_damaged_prior_counts_as_one_of_the_index(index: Index) -> None:
    """So that what is said is that it is damaged, and not that there is none."""
    folder = index.out / "prior"
    folder.mkdir(exist_ok=True)
    (folder / "a.pt").write_bytes(b"damaged")
    try:
        own, others = priors_of(index)
        assert folder / "a.pt" in own
        assert folder / "a.pt" not in others
    finally:
        (folder / "a.pt").unlink()
