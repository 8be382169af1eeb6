"""What a run can be asked for: single values, words, ranges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import EngineConfig, RunConfig
from pipeline.errors import UsageError

OUT = Path("out")


def test_a_single_text_or_path_is_one_value() -> None:
    config = RunConfig(data="photos", out=OUT, layers="layer4*", input="size=64", directions="d.safetensors")
    assert (config.data, config.layers) == (("photos",), ("layer4*",))
    assert (config.input, config.directions) == (("size=64",), ("d.safetensors",))
    assert RunConfig(data=Path("photos"), out=OUT).data == ("photos",)
    assert RunConfig(data=[Path("a"), "b"], out=OUT).data == ("a", "b")


def test_a_config_can_be_compared_hashed_and_written() -> None:
    one, other = RunConfig(data="a", out=OUT), RunConfig(data=["a"], out="out")  # type: ignore[arg-type]
    assert one == other
    assert hash(one) == hash(other)
    assert json.loads(json.dumps(one.as_json()))["data"] == ["a"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": "sum"}, "--score must be max or mean, got 'sum'"),
        ({"precision": "fp16"}, "--precision must be auto or fp32 or bf16"),
        ({"memory_format": "x"}, "--memory-format must be channels_last or contiguous"),
        ({"compile": "yes"}, "--compile must be auto or on or off"),
        ({"decoder": "cv2"}, "--decoder must be auto or pil or simplejpeg"),
        ({"device": "tpu"}, "--device must be auto or cpu or cuda or mps"),
        ({"kind": "cube"}, "--kind must be map or map_last or tokens or vector"),
        ({"top": 1025}, "--top must be in 1..1024, got 1025"),
        ({"shards_per_part": 0}, "--shards-per-part must be in"),
        ({"max_bad_fraction": -0.1}, "--max-bad-fraction must be in 0..1"),
        ({"data": ()}, "no dataset given"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RunConfig(**{"data": "a", "out": OUT, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "slurm"}, "--engine must be local or ray, got 'slurm'"),
        ({"address": "auto"}, "--address is for --engine ray; add it, or leave this out"),
        ({"gpus_per_task": 0.5}, "--gpus-per-task is for --engine ray"),
        ({"name": "ray", "cpus_per_task": 0}, "--cpus-per-task must be in"),
        ({"name": "ray", "gpus_per_task": 1.5}, r"--gpus-per-task must be 0\.\.1, or a whole number to 64"),
        ({"name": "ray", "gpus_per_task": 65}, r"--gpus-per-task must be 0\.\.1, or a whole number to 64"),
        ({"name": "ray", "address": "no host"}, "--address must be auto, ray://HOST:PORT or HOST:PORT"),
    ],
)
def test_what_no_engine_can_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EngineConfig(**change)


def test_an_engine_may_be_given_by_its_name() -> None:
    config = RunConfig(data="a", out=OUT, engine="ray")
    assert config.engine == EngineConfig("ray")
    with pytest.raises(UsageError, match="--engine must be local or ray"):
        RunConfig(data="a", out=OUT, engine="spark")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("engine", "change", "message"),
    [
        ({}, {"device": "cuda:all"}, "--device cuda:all is not for --engine ray"),
        ({"gpus_per_task": 0}, {"device": "cuda"}, "--device cuda needs --gpus-per-task above 0"),
        ({"gpus_per_task": 2}, {"device": "cpu"}, "--device cpu needs no GPU, got --gpus-per-task 2"),
        ({"shards_per_task": 2}, {"shards_per_part": 2}, "--shards-per-task and --shards-per-part both say"),
    ],
)
def test_what_contradicts_the_engine_is_refused(
    engine: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        RunConfig(data="a", out=OUT, engine=EngineConfig("ray", **engine), **change)
