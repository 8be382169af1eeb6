"""Encoders of sparse autoencoders as layers: formulas in NumPy, file formats, bad files."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import settings as settings_
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.config import RunConfig
from pipeline.errors import LayerError, MaxactError, WeightsError
from pipeline.layers.choose import choose_layers
from pipeline.networks import dictionaries
from pipeline.networks.dictionaries import Dictionary, Settings
from pipeline.networks.dictionary_files import is_dictionary, read_dictionary
from pipeline.networks.extra_modules import add_directions
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from pipeline.stream.compiled_probes import CompiledProbes, can_compile
from pipeline.stream.probes import Peaks, Probes
from tests.fixtures.commands import done, refused, run
from tests.fixtures.modules import Staged, Transformer, network
from tests.fixtures.tiny import tiny_network, write_tars
from tests.pipeline.networks.test_extra_modules import images, outputs
from viz.recipes.catalog import get_recipe
from viz.render.render_index import render_index

CHANNELS, FEATURES = 6, 10

Array = npt.NDArray[np.float64]


def drawn(*names: str, channels: int = CHANNELS, features: int = FEATURES) -> dict[str, Tensor]:
    """Random tensors of a dictionary."""
    generator = torch.Generator().manual_seed(7)
    shapes = {"W_enc": (channels, features), "b_dec": (channels,), "W_dec": (features, channels)}
    found = {name: torch.randn(shapes.get(name, (features,)), generator=generator) for name in names}
    if "threshold" in found:
        found["threshold"] = found["threshold"].abs()
    return found


STANDARD = ("W_enc", "b_enc", "W_dec", "b_dec")
GATED = ("W_enc", "b_gate", "r_mag", "b_mag", "W_dec", "b_dec")


def by_definition(tensors: dict[str, Tensor], settings: Settings, inputs: Tensor) -> Array:
    """Features of inputs (..., channel), in float64."""
    value = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    x = inputs.double().numpy()
    if settings.normalise == "layer_norm":
        x = x - x.mean(-1, keepdims=True)
        x = x / (x.std(-1, ddof=1, keepdims=True) + 1e-5)
    elif settings.normalise == "constant_norm_rescale":
        x = x * np.sqrt(x.shape[-1]) / np.linalg.norm(x, axis=-1, keepdims=True)
    if settings.apply_b_dec_to_input:
        x = x - value["b_dec"]
    if settings.activation == "gated":
        gate = x @ value["W_enc"] + value["b_gate"] > 0
        return gate * np.maximum(x @ (value["W_enc"] * np.exp(value["r_mag"])) + value["b_mag"], 0)
    hidden = x @ value["W_enc"] + value["b_enc"]
    if settings.rescale_acts_by_decoder_norm:
        hidden = hidden * np.linalg.norm(value["W_dec"], axis=1)
    if settings.activation == "none":
        return hidden
    found = np.maximum(hidden, 0)
    if settings.activation == "jumprelu":
        return found * (hidden > value["threshold"])
    if settings.activation == "topk":
        least = np.sort(hidden, axis=-1)[..., -settings.k, None]
        return found * (hidden >= least)
    return found


CASES = {
    "relu": (STANDARD, Settings()),
    "relu, raw input": (STANDARD, Settings(apply_b_dec_to_input=False)),
    "layer norm": (STANDARD, Settings(normalise="layer_norm")),
    "constant norm": (STANDARD, Settings(normalise="constant_norm_rescale")),
    "topk": (STANDARD, Settings("topk", k=3)),
    "topk by length": (STANDARD, Settings("topk", k=3, rescale_acts_by_decoder_norm=True)),
    "jumprelu": ((*STANDARD, "threshold"), Settings("jumprelu")),
    "gated": (GATED, Settings("gated")),
    "none": (STANDARD, Settings("none")),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("axis", ["tokens", "map", "vector"])
def test_features_are_those_of_the_formula(case: str, axis: str) -> None:
    names, settings = CASES[case]
    tensors = drawn(*names)
    shape = {"tokens": (2, 5, CHANNELS), "map": (2, 3, 4, CHANNELS), "vector": (2, CHANNELS)}[axis]
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    given = inputs.movedim(-1, 1) if axis == "map" else inputs
    found = Dictionary(tensors, settings)(given)
    found = found.movedim(1, -1) if axis == "map" else found
    np.testing.assert_allclose(found.numpy(), by_definition(tensors, settings, inputs), rtol=1e-4, atol=1e-5)


def write_saelens(folder: Path, tensors: dict[str, Tensor], **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps({"d_in": CHANNELS, "d_sae": FEATURES, **config}))
    save_file(tensors, folder / "sae_weights.safetensors")
    return folder


@pytest.mark.parametrize(
    ("names", "config", "settings"),
    [
        (STANDARD, {"architecture": "standard"}, Settings()),
        (STANDARD, {"architecture": "topk", "k": 4}, Settings("topk", k=4)),
        (
            (*STANDARD, "threshold"),
            {
                "architecture": "jumprelu",
                "apply_b_dec_to_input": False,
                "normalize_activations": "layer_norm",
            },
            Settings("jumprelu", apply_b_dec_to_input=False, normalise="layer_norm"),
        ),
        (GATED, {"architecture": "gated"}, Settings("gated")),
    ],
)
def test_folders_of_saelens(
    tmp_path: Path, names: tuple[str, ...], config: dict[str, Any], settings: Settings
) -> None:
    tensors = drawn(*names)
    found = read_dictionary(write_saelens(tmp_path / "sae", tensors, **config))
    assert found.settings == settings
    inputs = torch.randn(3, CHANNELS)
    np.testing.assert_allclose(
        found(inputs).numpy(), by_definition(tensors, settings, inputs), rtol=1e-4, atol=1e-5
    )


def test_plain_safetensors_have_settings_in_their_metadata(tmp_path: Path) -> None:
    save_file(drawn(*STANDARD), tmp_path / "a.safetensors", {"activation": "topk", "k": "2"})
    assert read_dictionary(tmp_path / "a.safetensors").settings == Settings("topk", k=2)
    save_file(drawn(*STANDARD, "threshold"), tmp_path / "b.safetensors")
    assert read_dictionary(tmp_path / "b.safetensors").settings == Settings("jumprelu")
    save_file({"blocks.1": torch.randn(3, 4)}, tmp_path / "c.safetensors")
    assert not is_dictionary(tmp_path / "c.safetensors")


def test_files_of_saev_and_plain_state_dicts(tmp_path: Path) -> None:
    tensors = drawn(*STANDARD)
    with open(tmp_path / "saev.pt", "wb") as file:
        file.write(json.dumps({"d_vit": CHANNELS}).encode() + b"\n")
        torch.save(tensors, file)
    torch.save(tensors, tmp_path / "plain.pt")
    inputs = torch.randn(3, CHANNELS)
    for name in ("saev", "plain"):
        found = read_dictionary(tmp_path / f"{name}.pt")
        np.testing.assert_allclose(
            found(inputs).numpy(), by_definition(tensors, Settings(), inputs), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"config": {"activation": {"cls": "TopK", "top_k": 32}}}, "only relu is read from such a file"),
        ({"activation": "JumpRelu"}, "only relu is read from such a file"),
        (None, "its first line is no JSON"),
    ],
)
def test_files_of_saev_with_another_activation(tmp_path: Path, line: Any, message: str) -> None:
    path = tmp_path / "saev.pt"
    with path.open("wb") as file:
        file.write((b"{" if line is None else json.dumps(line).encode()) + b"\n")
        torch.save(drawn(*STANDARD), file)
    with pytest.raises(WeightsError, match=message):
        read_dictionary(path)


def test_features_are_units_of_a_layer(tmp_path: Path) -> None:
    tensors = drawn(*STANDARD)
    save_file(tensors, tmp_path / "sae.safetensors", {"activation": "topk", "k": "2"})
    net = network(Transformer())
    assert add_directions(net.module, f"blocks.1={tmp_path / 'sae.safetensors'}") == ("blocks.1.sae",)
    layers = choose_layers(net, ["blocks.1"])
    assert {(layer.name, layer.units) for layer in layers} == {("blocks.1", 6), ("blocks.1.sae", FEATURES)}
    seen = outputs(net, layers, images())
    tokens = seen["blocks.1"].permute(0, 2, 3, 1)
    expected = by_definition(tensors, Settings("topk", k=2), tokens)
    np.testing.assert_allclose(seen["blocks.1.sae"].permute(0, 2, 3, 1), expected, rtol=1e-4, atol=1e-5)
    assert (seen["blocks.1.sae"] > 0).sum(1).max() <= 2


def test_the_digest_of_a_network_tells_settings_apart(tmp_path: Path) -> None:
    digests = set()
    for k in ("2", "3"):
        save_file(drawn(*STANDARD), tmp_path / "sae.safetensors", {"activation": "topk", "k": k})
        module = Transformer()
        add_directions(module, f"blocks.1={tmp_path / 'sae.safetensors'}")
        digests.add(network(module).digest)
    assert len(digests) == 2


def train(features: Tensor, size: int, steps: int = 300) -> dict[str, Tensor]:
    """A small sparse autoencoder: reconstruction and an L1 penalty, by Adam."""
    torch.manual_seed(0)
    scale = float(features.std())
    decoder = nn.functional.normalize(torch.randn(size, features.shape[1]), dim=1)
    tensors = {
        "W_enc": decoder.T.clone(),
        "b_enc": torch.zeros(size),
        "W_dec": decoder,
        "b_dec": features.mean(0).clone(),
    }
    for tensor in tensors.values():
        tensor.requires_grad_(True)
    optimiser = torch.optim.Adam(tensors.values(), lr=0.02)
    for _ in range(steps):
        codes = ((features - tensors["b_dec"]) @ tensors["W_enc"] + tensors["b_enc"]).relu()
        error = codes @ tensors["W_dec"] + tensors["b_dec"] - features
        loss = error.square().mean() / scale**2 + 0.02 * codes.mean() / scale
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


@pytest.mark.slow
def test_a_trained_autoencoder_is_indexed_rendered_and_checked(tmp_path: Path) -> None:
    """Its features are sparse in the index too, unlike plain directions of the same encoder."""
    tars = write_tars(tmp_path / "data", [40])
    inside: list[Tensor] = []
    teacher = tiny_network()
    handle = teacher.module.first.register_forward_hook(lambda _, i, o: inside.append(o.clone()))
    config = RunConfig(data=(str(tars[0]),), out=tmp_path / "plain", layers=("first",), compile="off", top=4)
    run_index(config, network=teacher)
    handle.remove()
    # Fields are searched with NaN, in batches of any size.
    seen = [view for view in inside if len(view) > 2 and view.isfinite().all()]
    vectors = torch.cat([view.permute(0, 2, 3, 1).reshape(-1, 5) for view in seen])
    tensors = train(vectors.clone()[::7], 12)
    save_file(tensors, tmp_path / "sae.safetensors")
    options = (
        "--network",
        "tests.fixtures.tiny:factory",
        "--layers",
        "first",
        "--compile",
        "off",
        "--top",
        "4",
    )
    out = tmp_path / "out"
    more = ("--dictionary", tmp_path / "sae.safetensors", "--at", "first")
    assert "first.sae" in done("layers", "tests.fixtures.tiny:factory", *more).stdout
    done("index", *tars, "-o", out, *options, *more)
    with open_index(out) as index:
        assert {layer.name for layer in index.layers} == {"first", "first.sae"}
        ((active,),) = index.sql(
            "SELECT avg(active_fraction) FROM units WHERE layer = 'first.sae' AND \"max\" > 0"
        ).rows
        codes = ((vectors - tensors["b_dec"]) @ tensors["W_enc"] + tensors["b_enc"]).relu()
        assert 0 < active <= 1
        ((best,),) = index.sql("SELECT max(\"max\") FROM units WHERE layer = 'first.sae'").rows
        assert best == pytest.approx(float(codes.max()), rel=1e-5)
        (row,) = render_index(
            index,
            get_recipe("fourier", {"steps": "3"}),
            layers=["first.sae"],
            units=[int(codes.amax(0).argmax())],
        )
        assert np.isfinite(row.activation)
    assert "0 discrepancies" in done("check", out).stdout


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: write_saelens(p, drawn("b_enc"), architecture="standard"), "has no matrix W_enc"),
        (
            lambda p: write_saelens(p, drawn("W_enc"), architecture="standard"),
            "has no b_enc, which",
        ),
        (
            lambda p: write_saelens(p, drawn(*STANDARD) | {"b_dec": torch.zeros(3)}, architecture="standard"),
            r"b_dec is \(3,\), expected \(6,\)",
        ),
        (lambda p: write_saelens(p, drawn(*STANDARD), architecture="temporal"), "'temporal' is not known"),
        (lambda p: write_saelens(p, drawn(*STANDARD), architecture="topk"), "topk needs k"),
        (
            lambda p: write_saelens(p, drawn(*STANDARD), architecture="topk", k=99),
            "more than its 10",
        ),
        (
            lambda p: write_saelens(p, drawn(*STANDARD), normalize_activations="covariance_whitening"),
            "'covariance_whitening' are not known; fold",
        ),
        (
            lambda p: write_saelens(p, drawn(*STANDARD), architecture="standard", activation_fn="tanh"),
            "the activation 'tanh' is not known",
        ),
        (
            lambda p: write_saelens(p, drawn(*STANDARD), reshape_activations="hook_q"),
            "reshape_activations is not none or hook_z",
        ),
        (
            lambda p: write_saelens(p, drawn(*STANDARD), apply_b_dec_to_input="yes"),
            "apply_b_dec_to_input must be true or false, got 'yes'",
        ),
        (lambda p: p.mkdir() or p, "it has no cfg.json"),
        (
            lambda p: (write_saelens(p, drawn(*STANDARD)) / "cfg.json").write_text("[]") and p,
            "no configuration",
        ),
    ],
)
def test_dictionaries_that_cannot_be_read(tmp_path: Path, write: Any, message: str) -> None:
    path = tmp_path / "sae"
    write(path)
    with pytest.raises(MaxactError, match=message) as caught:
        read_dictionary(path)
    assert "\n" not in str(caught.value)


def test_metadata_that_names_an_unknown_activation_is_refused(tmp_path: Path) -> None:
    save_file(drawn(*STANDARD), tmp_path / "sae.safetensors", {"activation": "gelu"})
    with pytest.raises(WeightsError, match="the activation 'gelu' is not known; known: relu"):
        read_dictionary(tmp_path / "sae.safetensors")


def test_a_normalisation_that_is_off_is_none(tmp_path: Path) -> None:
    for off in (None, False):
        path = write_saelens(tmp_path / f"{off}", drawn(*STANDARD), normalize_activations=off)
        assert read_dictionary(path).settings == Settings()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no tensors", "no state dict after its line of JSON"),
        ([1], "contains a list, expected a dictionary"),
    ],
)
def test_files_of_saev_without_tensors(tmp_path: Path, content: Any, message: str) -> None:
    with (tmp_path / "saev.pt").open("wb") as file:
        file.write(b'{"layers": [{"activation": "relu"}, 3]}\n')
        file.write(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(WeightsError, match=message):
        read_dictionary(tmp_path / "saev.pt")


@pytest.mark.parametrize("header", [b"", b"12", (9).to_bytes(8, "little") + b"no { json", b"\xff" * 16])
def test_what_is_no_file_of_safetensors_is_no_dictionary(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(header)
    assert not is_dictionary(tmp_path / "a.safetensors")
    assert not is_dictionary(tmp_path / "none.safetensors")


def test_a_dictionary_of_another_width(tmp_path: Path) -> None:
    save_file(drawn(*STANDARD), tmp_path / "sae.safetensors")
    net = network(Staged())
    add_directions(net.module, f"stem={tmp_path / 'sae.safetensors'}")
    with pytest.raises(LayerError, match="encodes 6 channels, the layer's output"):
        choose_layers(net, ["stem"])
    with pytest.raises(LayerError, match="say which layer it encodes: --dictionary"):
        add_directions(network(Staged()).module, tmp_path / "sae.safetensors")


def test_the_two_options_belong_together(tmp_path: Path) -> None:
    line = refused(run("layers", "tests.fixtures.tiny:factory", "--at", "first"), 2)
    assert "--at needs --dictionary FILE" in line
    line = refused(run("index", "demo", "-o", tmp_path / "out", "--dictionary", "sae"), 2)
    assert "--dictionary needs --at LAYER" in line


RECORDED = Path("tests/fixtures/dictionaries")
"""Files that SAELens and Overcomplete wrote, and features that they computed, see `bench/dictionaries.py`."""


@pytest.mark.parametrize(
    "path", sorted(RECORDED.glob("*.expected.safetensors")), ids=lambda path: path.name.split(".")[0]
)
def test_features_are_those_that_the_libraries_computed(path: Path) -> None:
    expected = load_file(path)
    source = path.with_name(path.name.removesuffix(".expected.safetensors"))
    assert is_dictionary(source)
    found = read_dictionary(source)(expected["inputs"])
    np.testing.assert_allclose(found.numpy(), expected["features"].numpy(), rtol=1e-5, atol=1e-6)
    assert ((found > 0) == (expected["features"] > 0)).all()


def test_every_recorded_library_is_read() -> None:
    assert len(list(RECORDED.glob("saelens-*.expected.safetensors"))) == 10
    assert len(list(RECORDED.glob("overcomplete-*.expected.safetensors"))) == 8


@pytest.mark.parametrize("case", CASES)
def test_spans_are_parts_of_the_same_features(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many features are computed at once, up to rounding of the products."""
    names, settings = CASES[case]
    dictionary = Dictionary(drawn(*names), settings)
    inputs = torch.randn((2, CHANNELS, 3, 4), generator=torch.Generator().manual_seed(2))
    whole = dictionary(inputs)
    for span in (1, 3, 4, 7):
        monkeypatch.setattr(dictionaries, "SPAN", span)
        found = list(dictionary.spans(inputs))
        assert [first for first, _ in found] == list(range(0, FEATURES, span))
        torch.testing.assert_close(torch.cat([part for _, part in found], 1), whole, rtol=1e-5, atol=1e-6)
        assert torch.equal(dictionary(inputs), torch.cat([part for _, part in found], 1))


@given(seed=st.integers(0, 1 << 16), k=st.integers(1, FEATURES), span=st.integers(1, FEATURES + 1))
@settings_(max_examples=40, deadline=None)
def test_topk_over_spans_keeps_the_k_largest_of_all(seed: int, k: int, span: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensors = {"W_enc": torch.eye(FEATURES), "b_enc": torch.zeros(FEATURES)}
    inputs = torch.randperm(20 * FEATURES, generator=generator).view(20, FEATURES) - 8.0 * FEATURES
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dictionaries, "SPAN", span)
        found = Dictionary(tensors, Settings("topk", k=k))(inputs)
    least = inputs.sort(dim=1).values[:, -k, None]
    assert torch.equal(found, torch.where(inputs >= least, inputs.relu(), 0))


@pytest.mark.parametrize(
    "compiled",
    [False, pytest.param(True, marks=[pytest.mark.slow, pytest.mark.thorough])],
    ids=["eager", "compiled"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_peaks_by_spans_are_those_of_a_plain_hook(
    compiled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dictionaries, "SPAN", 4)
    save_file(drawn(*STANDARD), tmp_path / "sae.safetensors", {"activation": "topk", "k": "2"})
    net = network(Transformer())
    add_directions(net.module, f"blocks.1={tmp_path / 'sae.safetensors'}")
    layers = choose_layers(net, ["blocks.1.sae"])
    batch = images()
    seen: list[Tensor] = []
    module = copy.deepcopy(net.module)
    with Probes(net.module, layers, lambda _, peaks: seen.append(peaks.view.clone())) as probes:
        probes(batch)
    values, places, firsts = [], [], []

    def watch(_: int, peaks: Peaks) -> None:
        firsts.append(peaks.first_unit)
        values.append(peaks.values)
        places.append(peaks.locate_all())

    if compiled:
        if not can_compile("cpu"):
            pytest.skip("no C++ compiler")
        CompiledProbes(module, layers, watch, "max", len(batch))(batch)
    else:
        with Probes(module, layers, watch, spans=True) as probes:
            probes(batch)
        assert not module.get_submodule("blocks.1.sae").deferred
    assert firsts == [0, 4, 8]
    ((view,),) = [seen]
    torch.testing.assert_close(torch.cat(values, 1), view.amax((2, 3)))
    assert torch.equal(torch.cat(places, 1), view.flatten(2).argmax(2))


def overcomplete_state(**more: Tensor) -> dict[str, Tensor]:
    return {"encoder.weight": torch.randn(10, 6), "dictionary._weights": torch.randn(10, 6), **more}


@pytest.mark.parametrize(
    ("state", "metadata", "message"),
    [
        (overcomplete_state(), {}, "do not say how codes are selected; save"),
        (overcomplete_state(), {"activation": "batchtopk"}, "batchtopk needs `threshold` in the metadata"),
        (overcomplete_state(), {"activation": "topk"}, "topk needs k"),
        (
            overcomplete_state(**{"encoder.mlp_blocks.0.weight": torch.ones(6, 6)}),
            {"activation": "relu"},
            "has mlp_blocks: of Overcomplete's encoders",
        ),
        (overcomplete_state(Q=torch.ones(10, 4)), {"activation": "relu"}, "has quantised codes"),
        (
            {
                "encoder.final_block.0.weight": torch.ones(10, 6),
                "encoder.final_block.1.weight": torch.ones(10),
                "dictionary._weights": torch.randn(10, 6),
            },
            {"activation": "relu"},
            r"over features \(LayerNorm\)",
        ),
    ],
)
def test_files_of_overcomplete_that_cannot_be_read(
    tmp_path: Path, state: dict[str, Tensor], metadata: dict[str, str], message: str
) -> None:
    path = tmp_path / "sae.safetensors"
    save_file(state, path, metadata)
    with pytest.raises(WeightsError, match=message) as caught:
        read_dictionary(path)
    assert "\n" not in str(caught.value)
    if not metadata:
        torch.save(state, tmp_path / "sae.pt")
        with pytest.raises(WeightsError, match=message):
            read_dictionary(tmp_path / "sae.pt")
