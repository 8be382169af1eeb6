"""Indexing from end to end, against a slow plain-Python oracle over all activations."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.choices import Score
from pipeline.data.shard import Sample
from pipeline.errors import ActivationError, FingerprintMismatch, StoreError, TooManyBadImages, UsageError
from pipeline.images.decode import decode
from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import unit_view
from pipeline.networks.network import Network
from pipeline.runs.merge import merge_runs
from pipeline.runs.run import run_index
from pipeline.state.unit_state import UnitState
from pipeline.store.schemas import SCHEMAS
from pipeline.stream import accumulator
from pipeline.stream.accumulator import Accumulator
from pipeline.stream.compiled_probes import can_compile
from pipeline.stream.probes import Peaks, Probes, reduce_view
from tests.fixtures.runs import K, config, hashes, rows
from tests.fixtures.tiny import LAYERS, Negative, picture, tiny_network, write_tars

pytestmark = pytest.mark.slow

SIZES = [9, 14, 1, 20]


def all_activations(network: Network, count: int) -> dict[str, list[Tensor]]:
    """Every activation of every image, one image at a time, by hooks that copy."""
    kept: dict[str, list[Tensor]] = {name: [] for name in LAYERS}
    layers = {layer.name: layer for layer in choose_layers(network, LAYERS)}
    handles = [
        network.module.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: kept[name].append(
                unit_view(layers[name], output)[0].clone()
            )
        )
        for name in LAYERS
    ]
    with torch.no_grad():
        for number in range(count):
            pixels = decode(picture(number), network.preprocess)
            network.module(network.normalise(pixels[None]))
    for handle in handles:
        handle.remove()
    return kept


def oracle(network: Network, ids: list[int]) -> list[tuple[object, ...]]:
    """(layer, unit, side, rank, activation, image_id, y, x) by sorting everything."""
    table = []
    for layer, maps in all_activations(network, len(ids)).items():
        for unit in range(maps[0].shape[0]):
            peaks = []
            for image_id, activation in zip(ids, maps, strict=True):
                best = max(
                    (float(value), -y, -x)
                    for y, line in enumerate(activation[unit])
                    for x, value in enumerate(line)
                )
                peaks.append((best[0], image_id, -best[1], -best[2]))
            for side, sign in (("high", -1), ("low", 1)):
                ordered = informative(peaks, side)
                ordered.sort(key=lambda peak, sign=sign: (sign * peak[0], peak[1]))
                for rank, (value, image_id, y, x) in enumerate(ordered[:K], start=1):
                    table.append((layer, unit, side, rank, value, image_id, y, x))
    return table


def informative(peaks: list[tuple[float, int, int, int]], side: str) -> list[tuple[float, int, int, int]]:
    """The peaks that a list may contain: (activation, image_id, y, x)."""
    values = [peak[0] for peak in peaks]
    if side == "high":
        return [peak for peak in peaks if peak[0] > min(values)]
    if min(values) == 0 and values.count(0) > K:
        return []
    return [peak for peak in peaks if peak[0] < max(values)]


def image_ids(sizes: list[int]) -> list[int]:
    return [(shard << 24) | number for shard, size in enumerate(sizes) for number in range(size)]


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_tars(tmp_path_factory.mktemp("data"), SIZES)


@pytest.fixture(scope="module")
def indexed(tars: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("index")
    run_index(config(tars, out), network=tiny_network())
    return out


@pytest.mark.parametrize("batch_size", [1, 7, 32])
def test_top_k_equals_the_oracle(tars: list[Path], tmp_path: Path, batch_size: int) -> None:
    network = tiny_network()
    run_index(config(tars, tmp_path, batch_size=batch_size), network=network)
    found = [tuple(row.values()) for row in rows(tmp_path, "top")]
    wanted = oracle(network, image_ids(SIZES))
    assert found == wanted
    values = [row[4] for row in wanted]
    assert len(set(values)) < len(values) / 2, "the case must have ties"


def test_dense_updates_give_the_same_lists(
    tars: list[Path], indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Accumulator, "_update_entrants", Accumulator._update_dense)
    monkeypatch.setattr(Accumulator, "_locate_wanted", Accumulator._locate_all)
    run_index(config(tars, tmp_path), network=tiny_network())
    assert rows(tmp_path, "top") == rows(indexed, "top")


@pytest.mark.thorough
@pytest.mark.skipif(not can_compile("cpu"), reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_compiled_probes_give_the_same_lists(tars: list[Path], indexed: Path, tmp_path: Path) -> None:
    run_index(config(tars, tmp_path, compile="on", batch_size=8), network=tiny_network())
    assert rows(tmp_path, "top") == rows(indexed, "top")


def test_unit_statistics_equal_those_of_the_full_matrix(indexed: Path) -> None:
    network = tiny_network()
    units = {(row["layer"], row["unit"]): row for row in rows(indexed, "units")}
    for layer, maps in all_activations(network, sum(SIZES)).items():
        peaks = torch.stack([activation.amax((1, 2)) for activation in maps]).double().numpy()
        for unit in range(peaks.shape[1]):
            row, column = units[layer, unit], peaks[:, unit]
            assert row["images"] == len(column)
            assert row["mean"] == pytest.approx(column.mean(), rel=1e-12)
            assert row["std"] == pytest.approx(column.std(), rel=1e-9, abs=1e-12)
            assert (row["min"], row["max"]) == (column.min(), column.max())
            assert row["active_fraction"] == (column > 0).mean()
            median = np.sort(column)[int(np.ceil(0.5 * len(column))) - 1]
            assert row["p50"] == pytest.approx(median, rel=0.02, abs=1e-4)


def test_classes_hold_the_mean_peak_of_every_label(indexed: Path) -> None:
    maps = all_activations(tiny_network(), sum(SIZES))["second"]
    peaks = torch.stack([activation.amax((1, 2)) for activation in maps]).double().numpy()
    found = {
        (row["unit"], row["label"]): (row["images"], row["mean_peak"])
        for row in rows(indexed, "classes")
        if row["layer"] == "second"
    }
    for unit in range(peaks.shape[1]):
        for number, label in enumerate("abc"):
            chosen = peaks[number::3, unit]
            images, mean = found[unit, label]
            assert images == len(chosen)
            assert mean == pytest.approx(chosen.mean(), rel=1e-12)


def test_strata_cover_the_range_and_hold_true_activations(indexed: Path) -> None:
    maps = all_activations(tiny_network(), sum(SIZES))
    ids = {image_id: number for number, image_id in enumerate(image_ids(SIZES))}
    strata = rows(indexed, "strata")
    for row in strata:
        activation = maps[str(row["layer"])][ids[row["image_id"]]][row["unit"]]
        assert float(activation.amax()) == row["activation"]
        assert float(activation[row["y"], row["x"]]) == row["activation"]
    first = [row for row in strata if row["layer"] == "second" and row["unit"] == 0]
    means = [
        np.mean([row["activation"] for row in first if row["stratum"] == stratum])
        for stratum in sorted({row["stratum"] for row in first})
    ]
    assert means == sorted(means)


def test_histograms_count_every_image(indexed: Path) -> None:
    counted: dict[tuple[object, object], int] = {}
    for row in rows(indexed, "histograms"):
        unit = (row["layer"], row["unit"])
        counted[unit] = counted.get(unit, 0) + int(str(row["images"]))
    assert set(counted.values()) == {sum(SIZES)}
    assert len(counted) == len(rows(indexed, "units"))


def test_same_bytes_are_marked_as_duplicates(tmp_path: Path) -> None:
    data = write_tars(tmp_path / "a", [3, 2]) + write_tars(tmp_path / "b", [2])
    data[-1].rename(tmp_path / "b" / "tiny-zzz.tar")
    run_index(
        config([*data[:2], tmp_path / "b" / "tiny-zzz.tar"], tmp_path / "out"),
        network=tiny_network(),
    )
    marks = {row["image_id"]: row["duplicate_of"] for row in rows(tmp_path / "out", "images")}
    assert marks == {
        0: None,
        1: None,
        2: None,
        1 << 24: None,
        (1 << 24) + 1: None,
        2 << 24: 0,
        (2 << 24) + 1: 1,
    }


@pytest.mark.parametrize("shards_per_part", [1, 2, 3, 4])
def test_the_grouping_of_shards_does_not_change_a_bit(
    tars: list[Path], indexed: Path, tmp_path: Path, shards_per_part: int
) -> None:
    run_index(config(tars, tmp_path, shards_per_part=shards_per_part), network=tiny_network())
    for table in ("layers", "images", "top", "histograms", "strata", "errors"):
        assert rows(tmp_path, table) == rows(indexed, table)


def test_the_order_of_the_arguments_does_not_matter(tars: list[Path], indexed: Path, tmp_path: Path) -> None:
    run_index(config(tars[::-1], tmp_path), network=tiny_network())
    assert hashes(tmp_path) == hashes(indexed)


def test_a_finished_run_is_not_done_again(tars: list[Path], tmp_path: Path) -> None:
    first = run_index(config(tars, tmp_path), network=tiny_network())
    before = hashes(tmp_path)
    again = run_index(config(tars, tmp_path), network=tiny_network())
    assert again.resumed_shards == len(SIZES)
    assert (again.images, again.units) == (first.images, first.units)
    assert hashes(tmp_path) == before


def test_a_lost_part_is_done_again_and_gives_the_same_tables(
    tars: list[Path], indexed: Path, tmp_path: Path
) -> None:
    run_index(config(tars, tmp_path), network=tiny_network())
    commits = sorted((tmp_path / "parts").glob("*.json"))
    commits[0].unlink()
    damaged = commits[1].with_suffix("") / "state.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-7])
    summary = run_index(config(tars, tmp_path), network=tiny_network())
    assert summary.resumed_shards == len(SIZES) - 2
    assert hashes(tmp_path) == hashes(indexed)


def test_another_configuration_is_refused_with_the_differing_fields(tars: list[Path], tmp_path: Path) -> None:
    run_index(config(tars, tmp_path), network=tiny_network())
    before = hashes(tmp_path)
    with pytest.raises(FingerprintMismatch, match="top was 5, now 6"):
        run_index(config(tars, tmp_path, top=6), network=tiny_network())
    with pytest.raises(FingerprintMismatch, match="weights was"):
        run_index(config(tars, tmp_path), network=tiny_network(seed=1))
    with pytest.raises(FingerprintMismatch, match=r"another dataset: it had 4 shards, .*, now 3 shards, "):
        run_index(config(tars[1:], tmp_path), network=tiny_network())
    assert hashes(tmp_path) == before
    run_index(config(tars, tmp_path, top=6, fresh=True), network=tiny_network())
    assert max(row["rank"] for row in rows(tmp_path, "top")) == 6


def test_merging_runs_over_different_shards_equals_one_run(
    tars: list[Path], indexed: Path, tmp_path: Path
) -> None:
    a, b, c, out = (tmp_path / name for name in ("a", "b", "c", "out"))
    run_index(config(tars[:3], a), network=tiny_network())
    run_index(config(tars[1:], b), network=tiny_network())  # overlaps with a
    merge_runs(out, [b, a])
    assert hashes_without_fingerprint(out) == hashes_without_fingerprint(indexed)
    merge_runs(c, [out, a, b])  # idempotent
    assert hashes_without_fingerprint(c) == hashes_without_fingerprint(indexed)


def hashes_without_fingerprint(out: Path) -> dict[str, object]:
    return {name: rows(out, name) for name in SCHEMAS}


def test_merging_refuses_runs_of_different_networks(tars: list[Path], tmp_path: Path) -> None:
    run_index(config(tars[:1], tmp_path / "a"), network=tiny_network())
    run_index(config(tars[1:], tmp_path / "b"), network=tiny_network(seed=1))
    with pytest.raises(FingerprintMismatch, match="weights"):
        merge_runs(tmp_path / "out", [tmp_path / "a", tmp_path / "b"])


def test_merging_refuses_parts_that_cannot_be_taken_apart(tars: list[Path], tmp_path: Path) -> None:
    run_index(config(tars[:2], tmp_path / "a", shards_per_part=2), network=tiny_network())
    run_index(config(tars[1:3], tmp_path / "b", shards_per_part=2), network=tiny_network())
    with pytest.raises(StoreError, match="tiny-002"):
        merge_runs(tmp_path / "out", [tmp_path / "a", tmp_path / "b"])


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_nan_and_infinity_stop_the_run_naming_layer_unit_and_image(
    tars: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    watch = Accumulator.watch

    def poisoned(self: Accumulator, index: int, peaks: Peaks) -> None:
        if self.layers[index].name == "second":
            values = peaks.values.clone()
            for row, ref in enumerate(self._batch_samples):
                values[row, 2] = value if ref.key == "00003" else values[row, 2]
            peaks = replace(peaks, values=values)
        watch(self, index, peaks)

    monkeypatch.setattr(Accumulator, "watch", poisoned)
    message = f"layer second unit 2 gives {value} for image '00003' of shard tiny-000"
    with pytest.raises(ActivationError, match=message):
        run_index(config(tars, tmp_path), network=tiny_network())


def test_a_bad_image_becomes_a_row_and_the_run_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "cat"
    folder.mkdir(parents=True)
    for number in range(4):
        (folder / f"{number}.png").write_bytes(picture(number))
    (folder / "2.png").write_bytes(picture(2)[:60])
    summary = run_index(config([tmp_path / "data"], tmp_path / "out"), network=tiny_network())
    assert (summary.images, summary.errors) == (3, 1)
    (error,) = rows(tmp_path / "out", "errors")
    assert error["key"] == "cat/2.png"
    ids = [row["image_id"] for row in rows(tmp_path / "out", "images")]
    assert ids == [0, 1, 3], "a bad image keeps its number, so the others keep theirs"


def test_too_many_bad_images_stop_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "cat"
    folder.mkdir(parents=True)
    for number in range(30):
        (folder / f"{number:02}.png").write_bytes(picture(number)[: 50 if number % 2 else None])
    with pytest.raises(TooManyBadImages, match="15 of 30"):
        run_index(config([tmp_path / "data"], tmp_path / "out"), network=tiny_network())
    run_index(
        config([tmp_path / "data"], tmp_path / "out", max_bad_fraction=0.5),
        network=tiny_network(),
    )


def test_probes_leave_the_network_as_they_found_it() -> None:
    network = tiny_network()
    layers = choose_layers(network, LAYERS)
    batch = network.normalise(torch.zeros((1, 3, 16, 16), dtype=torch.uint8))

    def fail(index: int, peaks: Peaks) -> None:
        raise RuntimeError("the watcher failed")

    with (
        pytest.raises(RuntimeError, match="the watcher failed"),
        Probes(network.module, layers, fail) as probes,
    ):
        probes(batch)
    assert not any(module._forward_hooks for module in network.module.modules())


def test_a_pass_ends_at_the_last_probed_layer() -> None:
    network = tiny_network()
    layers = choose_layers(network, ("first",))
    ran = []
    network.module.head.register_forward_hook(lambda *_: ran.append("head"))
    batch = network.normalise(torch.zeros((1, 3, 16, 16), dtype=torch.uint8))
    with Probes(network.module, layers, lambda *_: ran.append("first")) as probes:
        probes(batch)
    assert ran == ["first"]


def test_a_layer_that_is_never_positive_has_a_full_list(indexed: Path) -> None:
    negative = [row for row in rows(indexed, "top") if row["layer"] == "negative"]
    assert isinstance(tiny_network().module.get_submodule("negative"), Negative)
    assert len(negative) == 4 * 2 * K
    assert all(float(str(row["activation"])) < 0 for row in negative)


def test_mean_score_ranks_by_the_mean_over_positions(tars: list[Path], tmp_path: Path) -> None:
    run_index(config(tars, tmp_path, score="mean"), network=tiny_network())
    maps = all_activations(tiny_network(), sum(SIZES))["first"]
    ids = image_ids(SIZES)
    for unit in range(5):
        means = [float(activation[unit].mean()) for activation in maps]
        order = sorted(range(len(ids)), key=lambda i: (-means[i], ids[i]))[:K]
        found = [
            row
            for row in rows(tmp_path, "top")
            if (row["layer"], row["unit"], row["side"]) == ("first", unit, "high")
        ]
        np.testing.assert_allclose([row["activation"] for row in found], [means[i] for i in order], rtol=1e-6)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("score", ["max", "mean"])
def test_positions_are_those_of_a_search_in_the_whole_map(
    memory_format: torch.memory_format, score: Score
) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randint(-3, 3, (4, 6, 5, 7), generator=generator).float()
    peaks = reduce_view(maps.contiguous(memory_format=memory_format), score)
    images, units = torch.cartesian_prod(torch.arange(4), torch.arange(6)).T
    wanted = maps.flatten(2).argmax(2)
    assert torch.equal(peaks.locate(images, units).view(4, 6), wanted)
    assert torch.equal(peaks.locate_all(), wanted)


def test_one_group_s_arrays_are_in_memory_at_a_time(
    tars: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: weakref.WeakSet[Accumulator] = weakref.WeakSet()
    states: list[weakref.ref[np.ndarray]] = []
    most = [0, 0]
    begin, finish = Accumulator.begin, Accumulator.finish

    def counted(self: Accumulator, samples: Sequence[Sample]) -> None:
        alive.add(self)
        most[:] = max(most[0], len(alive)), max(most[1], sum(state() is not None for state in states))
        begin(self, samples)

    def finished(self: Accumulator) -> UnitState:
        state = finish(self)
        states.append(weakref.ref(state.histogram))
        return state

    monkeypatch.setattr(Accumulator, "begin", counted)
    monkeypatch.setattr(Accumulator, "finish", finished)
    run_index(config(tars, tmp_path, shards_per_part=1), network=tiny_network())
    assert most == [1, 0], "accumulators, finished states"


def test_a_part_of_more_images_than_its_histograms_count_is_refused(
    tars: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accumulator, "MAX_GROUP_IMAGES", 20)
    with pytest.raises(UsageError, match="more than 20 images; give a smaller --shards-per-part"):
        run_index(config(tars, tmp_path, shards_per_part=2), network=tiny_network())
