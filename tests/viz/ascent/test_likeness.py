"""Likeness: patches are perfectly like themselves, noise is not."""

from __future__ import annotations

import pytest
import torch

from pipeline.config import RunConfig
from pipeline.errors import RenderError
from pipeline.images.preprocess import Box
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from tests.fixtures.convnets import convnet, layer_of
from tests.fixtures.tiny import write_tars
from viz.ascent.likeness import Likeness
from viz.ascent.statistics_layers import statistics_layers
from viz.canvas import whole_canvas
from viz.inputs.batch import Batch
from viz.inputs.inputs import Inputs
from viz.objectives.objective import channel, point
from viz.passes.scorer import Scorer
from viz.passes.watch import Watch
from viz.recipes.catalog import default_recipe, get_recipe
from viz.render.render_units import render_units

pytestmark = pytest.mark.slow

RECIPE = get_recipe("typical", {"close_side": "32", "images": "4"})

ALIKE = {"focus": "0", "weigh": "0"}
"""All positions of a patch count alike, and all patches: only then is a patch perfectly like itself."""


@pytest.fixture(scope="module")
def network():
    return convnet()


@pytest.fixture(scope="module")
def inputs(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("likeness")
    tars = write_tars(folder / "data", [16, 16])
    config = RunConfig(
        data=tuple(str(tar) for tar in tars),
        out=folder / "out",
        network="convnet",
        layers=("stem", "middle", "late", "head"),
        top=8,
        compile="off",
    )
    run_index(config, network=network)
    with open_index(folder / "out") as index:
        yield Inputs(network, index)


def drawn(network, inputs, recipe, units, pictures_of):
    """Scores of pictures under a recipe's likeness."""
    layer = layer_of(network, "late")
    objectives = [point(layer, unit) for unit in units]
    canvas = recipe.canvas(inputs, layer, objectives[0]).with_margin(0)
    top = [
        inputs.top_images(layer, unit, objective, canvas, recipe.top_images)
        for unit, objective in zip(units, objectives, strict=True)
    ]
    term = recipe.score_term(Batch(inputs, canvas, objectives, [], top))
    assert isinstance(term, Likeness)
    assert [len(patches) for patches in term.top] == [recipe.images] * len(units)
    known = {each.name: each for each in (*term.layers, layer)}
    with Watch(network, tuple(known.values()), canvas) as watch:
        scorer = Scorer(watch, extra=term)
        term.prepare(scorer, objectives)
        return scorer.gradient(pictures_of(term), objectives, 0)


def test_a_patch_is_perfectly_like_itself(network, inputs):
    scores = scores_of_themselves(network, inputs, "1")
    assert scores.abs().max() < 1e-4


def test_a_patch_is_perfectly_like_itself_by_sorted_values_too(network, inputs):
    alone = get_recipe(
        "typical",
        {"close_side": "32", "images": "1", "caricature": "1", "match": "sorted", "mixtures": "1"} | ALIKE,
    )
    scores, _ = drawn(network, inputs, alone, [1, 2, 5], lambda patches: torch.cat(list(patches.top)))
    assert scores.abs().max() < 1e-4
    other, slope = drawn(
        network, inputs, alone, [1, 2, 5], lambda patches: torch.cat(list(patches.top)).flip(3) + 5
    )
    assert (other < scores).all()
    assert (slope.flatten(1).norm(dim=1) > 0).all()


def test_the_statistics_wanted_are_on_the_line_from_usual_photographs_through_the_patches(network, inputs):
    usual, halfway, beyond, far = (
        scores_of_themselves(network, inputs, times) for times in ("0", "0.5", "1.5", "2")
    )
    assert usual.max() < -0.01
    assert torch.allclose(usual, 4 * halfway, rtol=1e-3)
    # On the far side no deviation is less than 0.
    assert torch.allclose(beyond, halfway, rtol=0.1)
    assert (far < beyond).all()


def scores_of_themselves(network, inputs, caricature):
    """Of each unit's best patch, where that alone is what a rendering should be like."""
    settings = {"close_side": "32", "images": "1", "caricature": caricature} | ALIKE
    alone = get_recipe("typical", settings)
    scores, _ = drawn(network, inputs, alone, [1, 2, 5], lambda patches: torch.cat(list(patches.top)))
    return scores


def test_a_unit_that_sees_the_whole_input_has_a_higher_limit(network, inputs):
    layer = layer_of(network, "late")
    height, width = network.input_shape[1:]
    canvases = {share: whole_canvas(height, width, Box(0, 0, width, share * height)) for share in (0.5, 1)}
    seen = {
        share: RECIPE.score_term(Batch(inputs, canvas, [point(layer, 0)], [])).reach
        for share, canvas in canvases.items()
    }
    assert seen == {0.5: RECIPE.reach, 1: RECIPE.reach_whole}
    assert RECIPE.reach_whole > RECIPE.reach


def test_real_patches_are_more_like_their_mean_than_noise_is(network, inputs):
    units = [1, 2, 5]

    def noise(patches):
        generator = torch.Generator().manual_seed(0)
        return 255 * torch.rand((len(units), *patches.top[0].shape[1:]), generator=generator)

    real, _ = drawn(network, inputs, RECIPE, units, lambda patches: torch.stack([t[0] for t in patches.top]))
    wrong, _ = drawn(network, inputs, RECIPE, units, noise)
    assert (real > wrong).all()


def test_gradients_are_those_of_the_scores(network, inputs):
    """Against a finite difference along the gradient, the direction that is best conditioned."""
    generator = torch.Generator().manual_seed(4)
    noise, direction = {}, {}

    def near(step):
        def make(patches):
            top = torch.stack([each.mean(0) for each in patches.top])
            # Edges that are repeated are ties for the pooling.
            return (
                top
                + noise.setdefault(0, 5 * torch.randn(top.shape, generator=generator))
                + (step * direction[0] if direction else 0)
            )

        return make

    _, slope = drawn(network, inputs, RECIPE, [1, 2], near(0.0))
    direction[0] = slope / slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    above, _ = drawn(network, inputs, RECIPE, [1, 2], near(0.05))
    below, _ = drawn(network, inputs, RECIPE, [1, 2], near(-0.05))
    assert torch.allclose((above - below) / 0.1, slope.flatten(1).norm(dim=1), rtol=0.02)


def test_a_typical_rendering_is_activated_as_far_as_the_best_and_no_further(network, inputs, tmp_path):
    layer = layer_of(network, "late")
    units = [1, 2, 3, 5, 6]
    options = {"out": tmp_path, "inputs": inputs}
    recipe = get_recipe("typical", {"close_side": "32", "images": "4", "steps": "60"})
    hard = get_recipe("fourier", {"steps": "60"})
    typical = render_units(network, layer, units, recipe, **options)
    driven = render_units(network, layer, units, hard, **options)
    for mine, other in zip(typical, driven, strict=True):
        assert mine.activation < other.activation


def test_statistics_come_from_the_layers_up_to_the_units_own(network):
    window, close = statistics_layers(network, layer_of(network, "late"))
    assert window[-1].name == "late"
    assert [each.ordinal for each in close] == sorted(each.ordinal for each in close)
    assert all(each.grid_h > 1 for each in close)


def test_the_lowest_is_like_the_lowest_images(network, inputs, tmp_path):
    layer = layer_of(network, "late")
    (row,) = render_units(network, layer, [3], RECIPE, out=tmp_path, objective="-point", inputs=inputs)
    low = [image.image_id for image in inputs.index.top("late", 3, n=8, side="low")]
    assert row.images
    assert set(row.images) <= set(low)


@pytest.mark.parametrize("objective", ["point - 0.5*channel:3", "energy"])
def test_objectives_without_top_images_are_refused(network, inputs, tmp_path, objective):
    layer = layer_of(network, "late")
    with pytest.raises(RenderError, match=r"renders units.*--recipe fourier"):
        render_units(network, layer, [1], RECIPE, out=tmp_path, objective=objective, inputs=inputs)


def test_without_an_index_there_is_nothing_to_be_like(network, tmp_path):
    layer = layer_of(network, "late")
    with pytest.raises(RenderError, match="needs the images of an index"):
        render_units(network, layer, [1], RECIPE, out=tmp_path)


def test_a_unit_without_a_grid_is_like_whole_images(network, inputs, tmp_path):
    head = layer_of(network, "head")
    (row,) = render_units(network, head, [2], RECIPE, out=tmp_path, inputs=inputs)
    assert (row.width, row.height) == (48, 48)
    (row,) = render_units(
        network,
        layer_of(network, "late"),
        [2],
        RECIPE,
        out=tmp_path,
        inputs=inputs,
        objective=lambda unit: channel(layer_of(network, "late"), unit),
        objective_name="mean",
    )
    assert len(row.images) == 4


@pytest.mark.parametrize(
    ("objective", "recipe"),
    [
        ("point", "typical"),
        ("-point", "typical"),
        ("point@3, 4", "typical"),
        ("channel", "typical"),
        ("logit", "typical"),
        ("energy", "fourier"),
        ("layer", "fourier"),
        ("channel:7", "fourier"),
        ("point - 0.5*channel:7", "fourier"),
    ],
)
def test_the_default_recipe_fits_the_objective(objective, recipe):
    assert default_recipe(objective) == recipe


def test_what_usual_photographs_show_is_measured_once_and_changes_nothing(
    network, inputs, tmp_path, monkeypatch
):
    asked = []
    measure = Inputs.usual_windows
    monkeypatch.setattr(
        Inputs, "usual_windows", lambda self, canvas: asked.append(canvas) or measure(self, canvas)
    )
    recipe = get_recipe("typical", {"close_side": "33", "images": "3", "steps": "3"})
    layer, rows = layer_of(network, "late"), []
    for name in ("first", "second"):
        known = Inputs(network, inputs.index)
        rows += render_units(network, layer, [2], recipe, out=tmp_path / name, inputs=known)
    assert len(asked) == 1
    assert rows[0].trace == rows[1].trace
    assert rows[0].sha256 == rows[1].sha256


@pytest.mark.parametrize("match", ["moments", "sorted"])
@pytest.mark.parametrize(("option", "without", "with_it"), [("relevance", "off", "on"), ("focus", "0", "1")])
def test_weights_change_the_rendering_and_still_draw_it_to_the_patches(
    network, inputs, tmp_path, match, option, without, with_it
):
    layer = layer_of(network, "late")
    options = {"close_side": "32", "images": "3", "steps": "30", "match": match}
    plain, weighted = (
        render_units(
            network,
            layer,
            [2, 5],
            get_recipe("typical", {**options, option: value}),
            out=tmp_path / value,
            inputs=inputs,
        )
        for value in (without, with_it)
    )
    for one, other in zip(plain, weighted, strict=True):
        assert one.trace != other.trace
        assert other.trace[-1] > other.trace[0]


@pytest.mark.parametrize("option", ["mixtures", "edges"])
def test_mixtures_and_edges_are_missed_where_a_picture_lacks_them(network, inputs, option):
    """Blurred patches are further from the patches by what each compares, by its weight."""
    base = {"close_side": "32", "images": "3", "drive": "0", "mixtures": "0", "edges": "0", "caricature": "1"}
    likeness = {"mixtures": {}, "edges": {"likeness": "0", "close_up": "0"}}[option]

    def blurred(patches):
        return torch.nn.functional.avg_pool2d(
            torch.stack([each[0] for each in patches.top]), 3, stride=1, padding=1
        )

    none, once, twice = (
        drawn(network, inputs, get_recipe("typical", base | likeness | {option: weight}), [1, 2], blurred)[0]
        for weight in ("0", "1", "2")
    )
    assert (once < none - 1e-3).all()
    assert torch.allclose(twice - none, 2 * (once - none), rtol=1e-3)


def test_edges_alone_are_perfectly_those_of_the_only_patch(network, inputs):
    options = {
        "close_side": "32",
        "images": "1",
        "drive": "0",
        "likeness": "0",
        "close_up": "0",
        "edges": "5",
    }
    only = get_recipe("typical", options)
    scores, _ = drawn(network, inputs, only, [1, 2], lambda patches: torch.cat(list(patches.top)))
    turned, _ = drawn(network, inputs, only, [1, 2], lambda patches: torch.cat(list(patches.top)).flip(3))
    dark, _ = drawn(network, inputs, only, [1, 2], lambda patches: torch.cat(list(patches.top)) / 2)
    assert scores.abs().max() < 1e-6
    assert (dark < scores - 0.01).all()
    assert (turned > dark).all()


@pytest.mark.parametrize("focus", ["-0.1", "1.5"])
def test_a_focus_is_a_share(focus):
    with pytest.raises(RenderError, match="0 to 1"):
        get_recipe("typical", {"focus": focus})


def test_weights_move_the_statistics_to_those_of_the_strongest_patches(network, inputs):
    """With a high power the best patch alone counts; unit 5 has another order once patches are moved."""
    options = {"close_side": "32", "images": "4", "caricature": "1"} | ALIKE
    alike, best, alone = (
        drawn(
            network,
            inputs,
            get_recipe("typical", {**options, **more}),
            [1, 2],
            lambda t: torch.stack([p[0] for p in t.top]),
        )[0]
        for more in ({}, {"weigh": "200"}, {"images": "1"})
    )
    assert torch.allclose(best, alone, atol=1e-3)
    assert (alike < best).all()
