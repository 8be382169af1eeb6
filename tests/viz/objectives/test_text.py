import pytest

from pipeline.errors import RenderError, UsageError
from pipeline.query.selection import ClassUnits
from tests.fixtures.convnets import convnet, layer_of
from viz.objectives.objective import channel, energy, logit, point
from viz.objectives.text import is_at_centre, parse_objective, read_objective


@pytest.fixture(scope="module")
def layers():
    network = convnet()
    return layer_of(network, "late"), layer_of(network, "head"), layer_of(network, "pool")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("point", lambda late, head, pool: point(late, 3)),
        (" -channel ", lambda late, head, pool: -channel(late, 3)),
        ("point@1, 2", lambda late, head, pool: point(late, 3, 1, 2)),
        ("channel:7", lambda late, head, pool: channel(late, 7)),
        (
            "channel - 0.5*channel:7",
            lambda late, head, pool: channel(late, 3) - 0.5 * channel(late, 7),
        ),
        (
            "point + 2 * point@0,1:pool/5",
            lambda late, head, pool: point(late, 3) + 2 * point(pool, 5, 0, 1),
        ),
        ("-point-channel:pool/1", lambda late, head, pool: -point(late, 3) - channel(pool, 1)),
        ("logit:head/leopard", lambda late, head, pool: logit(head, 2)),
        ("logit:head/snow_leopard", lambda late, head, pool: logit(head, 4)),
        ("energy", lambda late, head, pool: energy(late, 3)),
        ("layer", lambda late, head, pool: energy(late)),
    ],
)
def test_text_becomes_the_objective(layers, text, expected):
    classes = {"leopard": 2, "snow leopard": 4}
    assert parse_objective(text, layers[0], layers, classes)(3) == expected(*layers)


def test_a_class_name_that_two_units_share_is_refused(layers):
    classes = ClassUnits(["crane", "tench", "crane"])
    assert parse_objective("logit:head/tench", layers[0], layers, classes)(3) == logit(layers[1], 1)
    with pytest.raises(UsageError, match=r"'crane' is ambiguous: units 0 \(crane\), 2 \(crane\)"):
        parse_objective("logit:head/crane", layers[0], layers, classes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not understood at ''"),
        ("points", "unknown objective 'points' in 'points'.*did you mean 'point'"),
        ("point point", "not understood at 'point'"),
        ("channel@1,2", "only a point or decoder has a position, channel has none"),
        ("channel:pol/3", "no layer 'pol'; did you mean 'pool'"),
        ("channel:leopardd", "neither a unit's number nor a class"),
        ("point +", r"not understood at '\+'"),
        ("0.5 channel", "not understood"),
    ],
)
def test_text_that_is_no_objective_is_refused(layers, text, message):
    with pytest.raises(RenderError, match=message):
        parse_objective(text, layers[0], layers)


def test_a_unit_that_is_not_there_is_refused(layers):
    with pytest.raises(RenderError, match="16 units, numbered 0-15; got 99"):
        parse_objective("channel:99", layers[0])(0)


@pytest.mark.parametrize(
    ("text", "whole_layer", "one_unit", "centre"),
    [
        ("point", False, True, True),
        (" -point ", False, True, True),
        ("point@3, 4", False, True, False),
        ("-channel", False, True, False),
        ("logit", False, True, False),
        ("layer", True, False, False),
        ("-layer", True, False, False),
        ("energy", False, False, False),
        ("2*point", False, False, False),
        ("point:7", False, False, False),
        ("channel - 0.5*channel:7", False, False, False),
    ],
)
def test_a_text_says_what_it_is_of(text, whole_layer, one_unit, centre):
    read = read_objective(text)
    assert read.text == text.strip()
    assert (read.is_whole_layer, read.is_one_unit, read.is_at_centre) == (whole_layer, one_unit, centre)
    assert is_at_centre(text) == centre


def test_a_name_that_is_no_objective_is_at_no_place():
    assert not is_at_centre("against unit 0")
