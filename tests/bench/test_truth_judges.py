"""bench.truth: several judges, what they see, and how their agreement is counted."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from bench.truth.agreement import comparison, equal_answers, rank_correlation, seen_by_all
from bench.truth.answers import Told
from bench.truth.handmade import describe
from bench.truth.judge import Judge
from bench.truth.judges import layer_eye, load_judges, read_judges
from bench.truth.tables import Row, both_ways
from pipeline.errors import LayerError, UsageError
from pipeline.networks.network import load_network

TINY = "tests.fixtures.tiny:factory"


def _patches(count: int, channels: int = 3, side: int = 24) -> list[Tensor]:
    generator = torch.Generator().manual_seed(count)
    return list(torch.randint(0, 256, (count, channels, side, side), generator=generator, dtype=torch.uint8))


# ---- names ----


def test_judges_are_separated_by_commas_or_options() -> None:
    assert read_judges(["a,b", "m:f"]) == ["a", "b", "m:f"]
    for wrong in (["a,"], [""]):
        with pytest.raises(UsageError, match="expected the names"):
            read_judges(wrong)
    with pytest.raises(UsageError, match="a twice"):
        read_judges(["a,b", "a"])


def test_judges_have_files_of_their_own(tmp_path: Path) -> None:
    judges = load_judges([f"{TINY},handmade", "self:first", "self:second"], TINY, tmp_path)
    assert [judge.name for judge in judges] == [TINY, "handmade", "self:first", "self:second"]
    assert len({judge.memory for judge in judges}) == 4
    patches = _patches(3)
    for judge in judges:
        found = judge(patches)
        judge.save()
        assert found.shape[0] == 3
        assert torch.isfinite(found).all()
        assert torch.equal(Judge(judge.eye, judge.memory).known.popitem()[1], found[-1])
    with pytest.raises(LayerError):
        load_judges(["self:nowhere"], TINY, tmp_path)


# ---- hand-made features ----


def test_handmade_features_are_those_of_each_patch_alone() -> None:
    patches = torch.stack(_patches(3, side=128))
    together = describe(patches)
    assert torch.equal(together, describe(patches))
    assert torch.equal(together[1:2], describe(patches[1:2]))
    assert together.square().sum(1).tolist() == pytest.approx([3, 3, 3], rel=1e-5)


def test_handmade_features_tell_colours_and_directions_apart() -> None:
    stripes = (torch.arange(128) // 8 % 2 * 255).to(torch.uint8).expand(3, 128, 128)
    red = torch.zeros(3, 128, 128, dtype=torch.uint8)
    red[0] = 255
    shifted = stripes.roll(4, 2)
    found = describe(torch.stack([stripes, shifted, stripes.mT.contiguous(), red]))
    along, across, colour = ((found[0] - found[other]).norm() for other in (1, 2, 3))
    assert along < across < colour
    assert torch.isfinite(describe(torch.zeros(1, 1, 128, 128, dtype=torch.uint8))).all()


# ---- the network itself ----


def test_a_layer_sees_the_means_of_its_units() -> None:
    network = load_network(TINY)
    eye = layer_eye(network, "self:first")
    pixels = torch.stack(_patches(2, side=eye.side[0]))
    kept: list[Tensor] = []
    module = dict(network.module.named_modules())["first"]
    hook = module.register_forward_hook(lambda module, inputs, output: kept.append(output.detach().clone()))
    with torch.no_grad():
        network.module(network.normalise(pixels))
    hook.remove()
    assert torch.allclose(eye.describe(pixels), kept[0].mean((2, 3)), atol=1e-5)


# ---- DreamSim ----


def test_dreamsim_is_asked_for_embeddings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Model(nn.Module):
        def embed(self, pictures: Tensor) -> Tensor:
            assert pictures.shape[1:] == (3, 224, 224)
            assert 0 <= pictures.min() <= pictures.max() <= 1
            return pictures.mean((2, 3))

    def load(**options: object) -> tuple[nn.Module, None]:
        calls.append(options)
        return Model(), None

    package = ModuleType("dreamsim")
    package.dreamsim = load
    folder = tmp_path / "weights"
    with pytest.raises(UsageError, match="a folder with the weights"):
        load_judges([f"dreamsim:{folder}"], TINY, tmp_path)
    folder.mkdir()
    (folder / "ensemble.pth").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "dreamsim", None)
    with pytest.raises(UsageError, match="pip install dreamsim"):
        load_judges([f"dreamsim:{folder}"], TINY, tmp_path)
    monkeypatch.setitem(sys.modules, "dreamsim", package)
    (judge,) = load_judges([f"dreamsim:{folder}"], TINY, tmp_path)
    assert judge(_patches(2)).shape == (2, 3)
    assert judge(_patches(2, channels=1)).shape == (2, 3)
    assert calls == [{"pretrained": True, "device": "cpu", "cache_dir": str(folder)}]


# ---- agreement ----


def _row(judge: str, answers: tuple[tuple[float, ...], ...], gains: tuple[float, ...]) -> Row:
    means = tuple(sum(each) / len(each) for each in answers)
    units = tuple(range(len(answers)))
    told = Told(units, means, means, means, means, answers, answers)
    return Row("a", "typical", 1.0, told, gains, gains, (), (), judge)


ONE = _row("one", ((1.0, 0.0), (1.0, 1.0), (0.0, 0.0)), (0.3, 0.31, 0.29))
OTHER = _row("other", ((1.0, 1.0), (1.0, 0.5), (0.0, 0.0)), (0.3, -0.3, 0.1))


def test_equal_answers_are_counted_question_by_question() -> None:
    assert equal_answers(ONE, OTHER, "own") == pytest.approx(4 / 6)
    assert equal_answers(ONE, OTHER, "own") == equal_answers(OTHER, ONE, "own")
    assert equal_answers(ONE, ONE, "common") == 1


def test_ranks_are_correlated_as_by_spearman() -> None:
    assert rank_correlation((1, 2, 3, 4), (10, 20, 30, 99)) == pytest.approx(1)
    assert rank_correlation((1, 2, 3), (3, 2, 1)) == pytest.approx(-1)
    assert rank_correlation((1, 2, 3, 4), (2, 1, 4, 3)) == pytest.approx(1 - 6 * 4 / (4 * 15))
    assert rank_correlation((1, 1, 1), (1, 2, 3)) != rank_correlation((1, 1, 1), (1, 2, 3))


def test_a_gain_counts_where_every_independent_judge_sees_it() -> None:
    control = _row("self:first", OTHER.told.own_answers, OTHER.own_gain)
    assert seen_by_all([ONE], "own")
    assert not seen_by_all([ONE, OTHER], "own")
    assert seen_by_all([ONE, control], "own")
    assert not seen_by_all([control], "own")


def test_the_comparison_has_a_column_per_judge_and_per_pair() -> None:
    lines = comparison([ONE, OTHER]).splitlines()
    assert "| explanation | one | other | every independent judge |" in lines
    assert "| explanation | one and other |" in lines
    assert sum(line.startswith("| typical | 67, 0.") for line in lines) == 2


def test_both_directions_join_the_answers() -> None:
    both = both_ways(ONE, ONE)
    assert both.judge == "one"
    assert both.told.own_answers == tuple(each + each for each in ONE.told.own_answers)
    assert equal_answers(both, both_ways(OTHER, OTHER), "own") == equal_answers(ONE, OTHER, "own")
