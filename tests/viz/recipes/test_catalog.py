import pytest

from pipeline.errors import RenderError
from viz.recipes.catalog import RECIPES, describe_recipe, get_recipe, recipe_fingerprint
from viz.recipes.octaves import Octaves
from viz.recipes.option_text import read_option


def test_the_posts_schedule_is_as_published():
    rows = [
        (octave.iterations, octave.scale, *octave.sigma, *octave.step)
        for octave in get_recipe("octaves").schedule
    ]
    assert rows == [
        (200, 1.0, 2.5, 1.1, 12, 10),
        (100, 1.0, 1.1, 0.858, 10, 8),
        (100, 1.05, 0.858, 0.78, 8, 6),
        (50, 1.05, 0.858, 0.40, 6, 1.5),
        (25, 1.05, 0.4, 0.3, 1.5, 0.5),
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_every_option_is_explained_and_reads_back_as_it_is_written(name):
    recipe = RECIPES[name]
    described = describe_recipe(recipe)
    assert all(meaning for _, _, meaning in described)
    assert get_recipe(name, {key: value for key, value, _ in described}) == recipe


def test_options_are_read_by_their_type():
    recipe = get_recipe("fourier", {"steps": "256", "rate": "0.1", "jitter": "4:2", "relu": "plain"})
    assert (recipe.steps, recipe.rate, recipe.jitter, recipe.relu) == (256, 0.1, (4, 2), "plain")
    short = get_recipe("octaves", {"octaves": "10:1:2:1:9:8,5:1.1:1:0.5:4:2"})
    assert [octave.iterations for octave in short.schedule] == [10, 5]


@pytest.mark.parametrize("steps", [5, 9, 48, 474, 475, 950])
def test_octaves_share_the_steps_asked_for(steps):
    schedule = Octaves(steps=steps).schedule
    assert sum(octave.iterations for octave in schedule) == steps
    assert all(octave.iterations >= 1 for octave in schedule)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fourrier", {}, r"unknown recipe 'fourrier'.*did you mean 'fourier'"),
        ("fourier", {"step": "3"}, r"no option 'step'; it has .*did you mean 'steps'"),
        ("fourier", {"steps": "many"}, r"option steps is a whole number, got 'many'"),
        ("fourier", {"steps": "0"}, r"steps must be above 0, got 0"),
        ("fourier", {"rate": "nan"}, r"rate must be above 0, got nan"),
        ("fourier", {"jitter": "4"}, r"jitter is 2 numbers separated by colons, got '4'"),
        ("fourier", {"relu": "leeky"}, r"relu is one of plain, leaky"),
        ("fourier", {"scale": "1:0.9:0.1"}, r"scale must be lowest:highest:spacing"),
        ("octaves", {"octaves": "1:2:3"}, r"octaves is a comma-separated list"),
        ("octaves", {"steps": "3"}, r"steps must be 0 .* or at least 5"),
        ("octaves", {"start_mean": "300"}, r"start_mean must be 0..255, got 300"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(name, options, message):
    with pytest.raises(RenderError, match=message) as caught:
        get_recipe(name, options)
    assert "\n" not in str(caught.value)


def test_the_fingerprint_follows_every_option():
    plain = recipe_fingerprint(get_recipe("fourier"), seed=0)
    assert plain == recipe_fingerprint(get_recipe("fourier"), seed=0)
    assert plain != recipe_fingerprint(get_recipe("fourier"), seed=1)
    assert plain != recipe_fingerprint(get_recipe("fourier", {"rate": "0.04"}), seed=0)


def test_a_recipe_file_names_its_base_and_its_options(tmp_path):
    path = tmp_path / "calm.toml"
    path.write_text('base = "fourier"\nsteps = 256\njitter = [4, 2]\nrate = 0.02\n')
    recipe = get_recipe(str(path), {"steps": "300"})
    assert (recipe.name, recipe.steps, recipe.jitter, recipe.rate) == ("calm", 300, (4, 2), 0.02)
    path.write_text('base = "octaves"\nname = "short"\noctaves = [[9, 1, 2, 1, 8, 6], [5, 1.1, 1, 0, 4, 1]]')
    assert [octave.iterations for octave in get_recipe(str(path)).schedule] == [9, 5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base = 'furrier'", "base must be one of .* got 'furrier'"),
        ("steps = 3", "base must be one of .* got None"),
        ("base = 'fourier'\nsteps = 'x'", "option steps is a whole number, got 'x'"),
        ("base = 'fourier'\nstep = 3", "no option 'step'"),
        ("base = 'fourier'\nname = 'a/b'", "name must be letters"),
        ("base = 'fourier'\nname = 'octaves'\nsteps = 3", "octaves is a built-in recipe"),
        ("base = ", "cannot be read"),
    ],
)
def test_a_recipe_file_that_does_not_fit_is_refused(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(RenderError, match=message):
        get_recipe(str(path))


def test_a_recipe_file_that_is_not_there(tmp_path):
    with pytest.raises(RenderError, match=r"none\.toml cannot be read: No such file"):
        get_recipe(str(tmp_path / "none.toml"))


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [("none", int | None, None), ("3", int | None, 3), ("no", bool, False), ("true", bool, True)],
)
def test_values_that_may_be_left_out_and_answers(text, kind, expected):
    assert read_option(text, kind, "it") == expected


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [("perhaps", bool, "it is yes or no, got 'perhaps'"), ("x", int | None, "it is a whole number or none")],
)
def test_an_answer_that_is_none_is_refused(text, kind, said):
    with pytest.raises(RenderError, match=said):
        read_option(text, kind, "it")


def test_a_recipe_file_answers_with_true_and_false(tmp_path):
    for value in (True, False):
        (tmp_path / "own.toml").write_text(f'base = "deepvis"\nstretch = {str(value).lower()}\n')
        assert get_recipe(str(tmp_path / "own.toml")).stretch is value
