from typing import get_args

import pytest
import torch

from pipeline.choices import AskedPrecision, Precision
from pipeline.devices import resolve_precision
from pipeline.errors import UsageError
from tests.fixtures.convnets import convnet, layer_of
from viz.recipes.catalog import get_recipe
from viz.render.render_units import render_units

CPU = torch.device("cpu")


def test_precision_has_the_words_that_indexing_has():
    assert get_args(AskedPrecision) == ("auto", *get_args(Precision))
    assert resolve_precision("auto", CPU) in get_args(Precision)
    assert [resolve_precision(word, CPU) for word in ("fp32", "bf16")] == ["fp32", "bf16"]


@pytest.mark.parametrize("word", ["float32", "bfloat16", "fp16"])
def test_another_word_is_refused_and_not_taken_for_fp32(word):
    with pytest.raises(UsageError, match=f"one of auto, fp32, bf16, got '{word}'"):
        resolve_precision(word, CPU)


def test_the_table_says_in_which_precision_a_picture_was_rendered(tmp_path):
    network, recipe = convnet(), get_recipe("octaves", {"steps": "5"})
    layer = layer_of(network, "late")
    files = set()
    for word in ("fp32", "bf16"):
        (row,) = render_units(network, layer, [1], recipe, out=tmp_path, precision=word)
        assert row.precision == word
        files.add(row.fingerprint)
    assert len(files) == 2
