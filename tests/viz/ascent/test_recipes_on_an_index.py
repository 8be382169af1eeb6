"""Every recipe on an indexed dataset: the score rises, seeds hold, what is needed is asked for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import RunConfig
from pipeline.errors import RenderError
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from tests.fixtures.convnets import SIDE, convnet, layer_of
from tests.fixtures.tiny import picture, write_tars
from viz.ascent.spectrum import mean_magnitudes, phases_to_picture
from viz.inputs.inputs import Inputs
from viz.objectives.objective import point
from viz.recipes.catalog import RECIPES, get_recipe
from viz.render.render_units import render_units
from viz.render.table import load_renders
from viz.robust.robust_copy import RobustCopy

pytestmark = pytest.mark.slow

OPTIONS = {
    "octaves": {"steps": "10", "step_scale": "2"},
    "fourier": {"steps": "10"},
    "typical": {"steps": "10", "images": "4", "clusters": "2", "close_side": "32"},
    "robust": {"steps": "10", "images": "4", "close_side": "32"},
    "facets": {"steps": "9", "clusters": "3", "nearest": "4"},
    "dream": {"steps": "9"},
    "accentuate": {"steps": "10", "images": "2", "near": "0.1"},
    "maco": {"steps": "10", "crops": "3", "images": "8", "crop_size": "0.6:0.4"},
    "deepvis": {"steps": "10", "progress": "0", "rate": "20000"},
    "deepvis-2": {"steps": "10", "rate": "500000"},
    "deepvis-3": {"steps": "10"},
    "deepvis-4": {"steps": "10"},
    "faccent": {"steps": "10", "crops": "6", "crop_size": "0.8:0.95", "near": "0.1"},
    "vital": {"steps": "10", "images": "4", "warm_up": "2", "jitter": "4"},
}


@pytest.fixture(scope="module")
def network():
    return convnet()


@pytest.fixture(scope="module")
def index(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    tars = write_tars(folder / "data", [20, 20])
    run_index(
        RunConfig(
            data=tuple(str(tar) for tar in tars),
            out=folder / "out",
            network="convnet",
            layers=("late", "head"),
            top=12,
            compile="off",
        ),
        network=network,
    )
    with open_index(folder / "out") as opened:
        yield opened


@pytest.fixture(scope="module")
def inputs(network, index, tmp_path_factory):
    photograph = tmp_path_factory.mktemp("photo") / "photo.png"
    photograph.write_bytes(picture(3, 60))
    return Inputs(network, index, photograph, robust=as_copy(network, index))


def as_copy(network, index):
    """The network as a robust copy of itself."""
    return RobustCopy(network, frozenset(each.name for each in index.layers))


def pixels(out, row):
    with Image.open(out / row.file) as image:
        return np.array(image)


@pytest.mark.thorough
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("objective", ["point", "channel"])
def test_a_rendering_does_not_depend_on_its_batch_and_its_score_rises(
    network, inputs, tmp_path, name, objective
):
    layer = layer_of(network, "late")
    recipe = get_recipe(name, OPTIONS[name])
    options = {"recipe": recipe, "objective": objective, "inputs": inputs}
    together = render_units(network, layer, range(5), out=tmp_path / "a", **options)
    few = render_units(network, layer, [3, 1], out=tmp_path / "b", batch=1, **options)
    expected = {(row.unit, row.facet): row for row in together}
    assert len(together) == 5 * recipe.renderings
    for row in few:
        other = expected[row.unit, row.facet]
        assert row.trace == other.trace
        assert np.array_equal(pixels(tmp_path / "b", row), pixels(tmp_path / "a", other))
        assert row.status == other.status
    rises = [max(row.trace) > row.trace[0] for row in together]
    assert np.mean(rises) > 0.6


@pytest.mark.parametrize("name", ["facets", "accentuate", "typical", "robust", "faccent"])
def test_facets_name_the_images_they_came_from(network, index, inputs, tmp_path, name):
    layer = layer_of(network, "late")
    rows = render_units(network, layer, [2], get_recipe(name, OPTIONS[name]), out=tmp_path, inputs=inputs)
    top = [image.image_id for image in index.top("late", 2, n=12)]
    named = [image for row in rows for image in row.images]
    assert named
    assert set(named) <= set(top)
    assert len(named) == len(set(named))
    if name == "accentuate":
        assert named == top[:2]


def test_an_accentuated_image_stays_nearer_the_harder_it_is_held(network, inputs, tmp_path):
    layer = layer_of(network, "late")
    far = []
    for near in (0.0, 30.0):
        recipe = replace(get_recipe("accentuate", {"steps": "30"}), near=near, name=f"a{near:g}")
        canvas = recipe.canvas(inputs, layer, point(layer, 2))
        start = inputs.top_images(layer, 2, point(layer, 2), canvas, 1).mean
        (row,) = render_units(network, layer, [2], recipe, out=tmp_path, inputs=inputs, precision="fp32")
        painted = torch.from_numpy(pixels(tmp_path, row)).permute(2, 0, 1).float()
        far.append(float((painted - start).square().mean()))
    assert far[1] < far[0]


def test_maco_changes_phases_only(network, inputs, tmp_path):
    layer = layer_of(network, "late")
    recipe = get_recipe("maco", OPTIONS["maco"])
    (row,) = render_units(network, layer, [1], recipe, out=tmp_path, objective="channel", inputs=inputs)
    painted = pixels(tmp_path, row)
    assert painted.shape == (2 * SIDE, 2 * SIDE, 4)
    assert (row.width, row.box_right) == (2 * SIDE, 2 * SIDE)
    magnitudes = torch.rand(3, 8, 5) * 0.05
    made = phases_to_picture(torch.randn(1, 3, 8, 5), magnitudes, 8, 8)
    # The ends of a real transform's spectrum must be real: only the others are kept as they are.
    assert torch.allclose(mean_magnitudes(made)[:, :, 1:4], magnitudes[:, :, 1:4], atol=1e-5)


def test_renderings_with_a_diversity_term_differ_more(network, tmp_path):
    layer = layer_of(network, "late")
    spread = []
    for weight in ("0", "20"):
        recipe = get_recipe("fourier", {"steps": "30", "variety": "2", "variety_weight": weight})
        rows = render_units(network, layer, range(6), recipe, out=tmp_path / weight)
        assert [(row.unit, row.facet) for row in rows[:3]] == [(0, 0), (0, 1), (1, 0)]
        pairs = zip(rows[::2], rows[1::2], strict=True)
        spread.append(np.mean([_apart(network, tmp_path / weight, *pair) for pair in pairs]))
    assert spread[1] > spread[0]


def _apart(network, out, first, second):
    """1 minus the cosine of the Gram matrices of two renderings."""
    from pipeline.networks.network import mean_colour
    from viz.passes.watch import Watch
    from viz.render.measure import open_picture

    layer = layer_of(network, "late")
    pair = torch.stack([open_picture(out / row.file, 3) for row in (first, second)]).float()
    pair = torch.nn.functional.pad(pair - mean_colour(network).view(1, 3, 1, 1), (8, 8, 8, 8))
    with torch.no_grad(), Watch(network, [layer], None) as watch:
        features = watch(pair + mean_colour(network).view(1, 3, 1, 1))["late"].values.flatten(2)
    grams = (features @ features.transpose(1, 2)).flatten(1)
    return 1 - float(torch.nn.functional.cosine_similarity(grams[0], grams[1], dim=0))


@pytest.mark.parametrize("name", ["fourier", "maco"])
def test_with_patience_a_picture_ends_when_its_score_has_flattened(network, inputs, tmp_path, name):
    layer = layer_of(network, "late")
    base = {**OPTIONS[name], "steps": "150"} if name == "fourier" else OPTIONS[name]
    recipe = get_recipe(name, {**base, "patience": "3", "rate": "0.0001"})
    if name == "maco":
        recipe = replace(recipe, steps=40)
    done = []
    together = render_units(network, layer, range(4), recipe, out=tmp_path / "a", inputs=inputs)
    assert all(11 <= row.steps < recipe.steps for row in together)
    (alone,) = render_units(network, layer, [2], recipe, out=tmp_path / "b", inputs=inputs)
    assert alone.trace == together[2].trace
    assert np.array_equal(pixels(tmp_path / "b", alone), pixels(tmp_path / "a", together[2]))
    assert not done


def test_a_failed_rendering_is_tried_once_more_and_marked(network, inputs, index, tmp_path):
    from pipeline.store.schemas import UNITS
    from pipeline.store.tables import read_table, write_table

    layer = layer_of(network, "late")
    table = read_table(index.out / "units.parquet")
    write_table(tmp_path / "units.parquet", UNITS, [table])
    plain = get_recipe("fourier", {"steps": "1", "rate": "0.0000001"})
    rows = render_units(network, layer, range(3), plain, out=tmp_path)
    assert {row.status for row in rows} <= {"grey", "weak"}
    assert len(list((tmp_path / "renders" / "late").iterdir())) == 3


def test_a_second_try_that_succeeds_is_kept(network, tmp_path, monkeypatch):
    from viz.render import batch

    layer = layer_of(network, "late")
    calls = []

    def judge(measured, reference, picture, *, lowest):
        calls.append(picture)
        return "weak" if len(calls) <= 2 else "ok"

    monkeypatch.setattr(batch, "judge", judge)
    rows = render_units(network, layer, [0, 1], get_recipe("fourier", {"steps": "3"}), out=tmp_path)
    assert [row.status for row in rows] == ["retried", "retried"]
    assert [row.relu for row in rows] == ["redirected", "redirected"]
    assert [row.seed for row in rows] == [0, 0]
    files = {path.name for path in (tmp_path / "renders" / "late").iterdir()}
    assert files == {row.file.rpartition("/")[2] for row in rows}
    again = render_units(network, layer, [0, 1], get_recipe("fourier", {"steps": "3"}), out=tmp_path)
    assert again == rows
    assert len(load_renders(tmp_path)) == 2


@pytest.mark.parametrize("name", ["facets", "accentuate", "maco", "dream", "faccent"])
def test_a_recipe_says_what_it_needs(network, tmp_path, name):
    with pytest.raises(RenderError, match=r"needs the images of an index|starts from a photograph"):
        render_units(network, layer_of(network, "late"), [0], RECIPES[name], out=tmp_path)


def test_a_photograph_that_is_none_is_refused(network, index, tmp_path):
    bad = tmp_path / "photo.jpg"
    bad.write_bytes(b"no photograph")
    layer = layer_of(network, "late")
    recipe = get_recipe("dream", OPTIONS["dream"])
    for path, message in ((bad, "photo.jpg: "), (tmp_path / "none.jpg", "No such file")):
        with pytest.raises(RenderError, match=message):
            render_units(network, layer, [0], recipe, out=tmp_path, inputs=Inputs(network, index, path))
