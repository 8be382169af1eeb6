"""What a run can be asked for: single values, words, ranges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import RunConfig
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
