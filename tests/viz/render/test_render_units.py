from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from pipeline.errors import RenderError
from pipeline.store.schemas import UNITS
from pipeline.store.tables import write_table
from tests.fixtures.convnets import SIDE, convnet, layer_of
from viz.objectives.objective import channel, point
from viz.passes.scorer import Scorer
from viz.passes.watch import Watch
from viz.planning.plan import plan_canvas
from viz.recipes.catalog import get_recipe
from viz.render import render_units as render_units_module
from viz.render.batch import render_batch
from viz.render.measure import measure, open_picture
from viz.render.render_units import render_units
from viz.render.table import load_renders, read_renders
from viz.render.verdict import ratio_of

pytestmark = pytest.mark.slow

QUICK = {
    "fourier": get_recipe("fourier", {"steps": "12"}),
    "octaves": get_recipe("octaves", {"steps": "15", "step_scale": "2"}),
}


def pixels(out: Path, file: str) -> np.ndarray:
    with Image.open(out / file) as image:
        return np.array(image)


@pytest.fixture(scope="module")
def network():
    return convnet()


@pytest.fixture(scope="module")
def layer(network):
    return layer_of(network, "late")


@pytest.mark.parametrize("recipe", QUICK)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("objective", ["point", "channel"])
def test_a_unit_gives_the_same_picture_beside_any_others(
    network, layer, tmp_path, recipe, precision, objective
):
    options = {"recipe": QUICK[recipe], "objective": objective, "precision": precision}
    units = list(range(11))
    together = render_units(network, layer, units, out=tmp_path / "a", batch=16, **options)
    for folder, chosen, batch in (
        ("b", [10, 3, 7], 2),
        ("c", [3], 1),
        ("d", list(reversed(units)), 3),
    ):
        for row in render_units(network, layer, chosen, out=tmp_path / folder, batch=batch, **options):
            expected = together[row.unit]
            assert row.trace == expected.trace
            assert np.array_equal(pixels(tmp_path / folder, row.file), pixels(tmp_path / "a", expected.file))


@pytest.mark.parametrize("recipe", QUICK)
@pytest.mark.parametrize("objective", ["point", "channel", "-point"])
def test_the_score_rises(network, layer, tmp_path, recipe, objective):
    rows = render_units(network, layer, range(6), QUICK[recipe], out=tmp_path, objective=objective)
    gains = [row.trace[-1] - row.trace[0] for row in rows]
    assert sum(gains) > 0
    # A unit whose ReLU cannot go below zero has nothing to gain downwards.
    assert sum(gain > 0 for gain in gains) >= (4 if objective != "-point" else 0)


@pytest.mark.parametrize("objective", ["point", "channel"])
def test_the_activation_is_that_of_the_saved_picture_on_the_plain_network(
    network, layer, tmp_path, objective
):
    for row in render_units(network, layer, [2, 5], QUICK["fourier"], out=tmp_path, objective=objective):
        picture = open_picture(tmp_path / row.file, 3)
        whole = torch.tensor(network.preprocess.mean).round().view(3, 1, 1).repeat(1, SIDE, SIDE)
        if objective == "point":
            seen = layer.box((layer.grid_h - 1) // 2, (layer.grid_w - 1) // 2)
            left, top = int(seen.left - row.box_left), int(seen.top - row.box_top)
            for y in range(row.height):
                for x in range(row.width):
                    if 0 <= top + y < SIDE and 0 <= left + x < SIDE:
                        whole[:, top + y, left + x] = picture[:, y, x]
        else:
            whole = picture.float()
        with torch.no_grad():
            stem = network.module
            x = stem.relu6(stem.norm(stem.stem(network.normalise(whole[None]))))
            maps = torch.relu(stem.late(stem.pool(torch.relu(stem.middle(x)))))
        plane = maps[0, row.unit]
        middle = (layer.grid_h - 1) // 2
        expected = plane[middle, middle] if objective == "point" else plane.max()
        assert row.activation == pytest.approx(float(expected), rel=1e-4, abs=1e-5)
        assert row.peak == pytest.approx(float(plane.max()), rel=1e-4, abs=1e-5)


def test_finished_units_are_not_rendered_again(network, layer, tmp_path):
    first = render_units(network, layer, [0, 1], QUICK["fourier"], out=tmp_path)
    before = (tmp_path / first[0].file).stat().st_mtime_ns
    again = render_units(network, layer, [1, 0, 2], QUICK["fourier"], out=tmp_path)
    assert [row.unit for row in again] == [1, 0, 2]
    assert again[1] == first[0]
    assert (tmp_path / first[0].file).stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"another picture")])
def test_a_lost_or_changed_picture_is_rendered_again(network, layer, tmp_path, damage):
    (row,) = render_units(network, layer, [0], QUICK["fourier"], out=tmp_path)
    expected = pixels(tmp_path, row.file)
    damage(tmp_path / row.file)
    render_units(network, layer, [0], QUICK["fourier"], out=tmp_path)
    assert np.array_equal(pixels(tmp_path, row.file), expected)


def test_other_settings_replace_the_row_and_the_picture(network, layer, tmp_path):
    (old,) = render_units(network, layer, [0], QUICK["fourier"], out=tmp_path)
    longer = get_recipe("fourier", {"steps": "13"})
    (new,) = render_units(network, layer, [0], longer, out=tmp_path)
    assert [row.file for row in load_renders(tmp_path)] == [new.file]
    assert not (tmp_path / old.file).exists()
    assert (tmp_path / new.file).exists()


def test_what_was_finished_before_a_stop_is_kept(network, layer, tmp_path, monkeypatch):
    done = []

    class Stopping:
        def advance(self, count=1):
            done.append(count)
            if len(done) > 14:
                raise KeyboardInterrupt

        def describe(self, text): ...

    class Reporter:
        def note(self, text): ...

        def task(self, title, total, unit):
            from contextlib import nullcontext

            return nullcontext(Stopping())

    with pytest.raises(KeyboardInterrupt):
        render_units(network, layer, range(4), QUICK["fourier"], out=tmp_path, batch=2, reporter=Reporter())
    assert [row.unit for row in load_renders(tmp_path)] == [0, 1]
    rows = render_units(network, layer, range(4), QUICK["fourier"], out=tmp_path, batch=2)
    assert [row.unit for row in rows] == [0, 1, 2, 3]
    assert not any(module._forward_hooks for module in network.module.modules())


def test_seeds_and_recipes_stand_beside_each_other(network, layer, tmp_path):
    for recipe in QUICK.values():
        for seed in (0, 1):
            render_units(network, layer, [0, 1], recipe, out=tmp_path, seed=seed)
    found = read_renders(tmp_path, "late")
    assert {unit: len(rows) for unit, rows in found.items()} == {0: 4, 1: 4}
    only = read_renders(tmp_path, "late", "octaves")[0]
    assert [(row.recipe, row.seed) for row in only] == [("octaves", 0), ("octaves", 1)]
    assert not np.array_equal(pixels(tmp_path, only[0].file), pixels(tmp_path, only[1].file))


def test_the_datasets_best_stands_beside_the_activation(network, layer, tmp_path):
    empty = dict.fromkeys(UNITS.names)
    row = {**empty, "layer": "late", "unit": 3, "max": 0.001, "min": 0.0, "p90": 0.0, "p999": 9.0}
    write_table(tmp_path / "units.parquet", UNITS, [pa.Table.from_pylist([row], schema=UNITS)])
    known, unknown = render_units(network, layer, [3, 4], QUICK["fourier"], out=tmp_path)
    assert known.best_real == pytest.approx(0.001)
    assert known.p999 == 9
    assert known.ratio == pytest.approx(known.activation / 0.001, rel=1e-4)
    assert (unknown.best_real, unknown.ratio) == (None, None)


def test_weak_and_grey_renderings_say_so(network, layer, tmp_path):
    empty = dict.fromkeys(UNITS.names)
    row = {**empty, "layer": "late", "unit": 0, "max": 1e6, "min": 0.0, "p90": 1e5, "p999": 1e6}
    write_table(tmp_path / "units.parquet", UNITS, [pa.Table.from_pylist([row], schema=UNITS)])
    (weak,) = render_units(network, layer, [0], QUICK["fourier"], out=tmp_path)
    assert weak.status == "weak"
    still = get_recipe("fourier", {"steps": "1", "rate": "1e-9"})
    (grey,) = render_units(network, layer, [1], still, out=tmp_path)
    assert grey.status == "grey"


@pytest.mark.parametrize("activates", [True, False])
def test_a_weak_rendering_is_tried_once_more_where_its_activation_is_sought(
    network, layer, tmp_path, monkeypatch, activates
):
    empty = dict.fromkeys(UNITS.names)
    row = {**empty, "layer": "late", "unit": 0, "max": 1e6, "min": 0.0, "p90": 1e5, "p999": 1e6}
    write_table(tmp_path / "units.parquet", UNITS, [pa.Table.from_pylist([row], schema=UNITS)])
    monkeypatch.setattr(type(QUICK["fourier"]), "activates", activates)
    seeds = []
    monkeypatch.setattr(
        render_units_module,
        "render_batch",
        lambda request, *others: seeds.append(request.seed) or render_batch(request, *others),
    )
    render_units(network, layer, [0], QUICK["fourier"], out=tmp_path)
    assert len(seeds) == len(set(seeds)) == 1 + activates


def test_hooks_are_removed_even_after_an_error(network, layer):
    with pytest.raises(ZeroDivisionError), Watch(network, [layer], None):
        raise ZeroDivisionError
    assert not any(module._forward_hooks for module in network.module.modules())


def test_only_the_part_up_to_the_layer_runs(network):
    stem = layer_of(network, "stem")
    ran = []
    handle = network.module.late.register_forward_hook(lambda *_: ran.append("late"))
    try:
        with Watch(network, [stem], None) as watch:
            Scorer(watch).gradient(torch.zeros(2, 3, SIDE, SIDE), [point(stem, 0)] * 2, 0)
    finally:
        handle.remove()
    assert not ran


def test_an_early_layer_is_read_before_an_in_place_relu(network):
    norm, late = layer_of(network, "norm"), layer_of(network, "late")
    picture = 255 * torch.rand(1, 3, SIDE, SIDE)
    both = point(norm, 0) + point(late, 0)
    with torch.no_grad():
        with Watch(network, [norm], None) as watch:
            alone = watch(picture)["norm"].values
        with Watch(network, both.layers, None) as watch:
            together = watch(picture)["norm"].values
    assert torch.equal(alone, together)
    assert (together < 0).any()


def test_positions_and_sums_choose_their_canvas(network, layer):
    assert not plan_canvas(network, point(layer, 0)).is_whole
    assert plan_canvas(network, channel(layer, 0)).is_whole
    assert plan_canvas(network, point(layer, 0) - channel(layer, 1)).is_whole
    assert not plan_canvas(network, point(layer, 0) - 0.5 * point(layer, 1)).is_whole


def test_a_function_from_unit_to_objective_is_rendered_and_measured(network, layer, tmp_path):
    def against_next(unit):
        return point(layer, unit) - 0.5 * point(layer, unit + 1)

    (row,) = render_units(
        network,
        layer,
        [2],
        QUICK["fourier"],
        out=tmp_path,
        objective=against_next,
        objective_name="against next",
    )
    picture = open_picture(tmp_path / row.file, 3)
    canvas = plan_canvas(network, against_next(2))
    (again,) = measure(network, [picture], [against_next(2)], canvas)
    assert row.activation == again.activation
    assert (row.objective, row.peak) == ("against next", None)


def test_grey_and_bgr_networks_get_pictures_of_their_kind(tmp_path):
    network = convnet(channels="bgr")
    (row,) = render_units(network, layer_of(network, "late"), [0], QUICK["fourier"], out=tmp_path)
    assert pixels(tmp_path, row.file).shape[2] == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": [16]}, "16 units, numbered 0-15; got 16"),
        ({"objective": "points"}, "unknown objective 'points' in .* expected one of point"),
        ({"objective": lambda unit: None}, "needs an objective_name"),
        ({"batch": 0}, "1 or more units, got 0"),
    ],
)
def test_what_cannot_be_rendered_is_refused(network, layer, tmp_path, options, message):
    arguments = {"units": [0], "recipe": QUICK["fourier"], "out": tmp_path, **options}
    with pytest.raises(RenderError, match=message):
        render_units(network, layer, **arguments)


@pytest.mark.parametrize(
    ("activation", "best", "lowest", "expected"),
    [
        (6.0, 4.0, False, 1.5),
        (6.0, -4.0, False, None),
        (6.0, None, False, None),
        (-6.0, -4.0, True, 1.5),
        (-6.0, 4.0, True, None),
        (1.0, 0.0, True, None),
    ],
)
def test_a_ratio_above_1_is_beyond_the_best_up_or_down(activation, best, lowest, expected):
    assert ratio_of(activation, best, lowest=lowest) == expected
