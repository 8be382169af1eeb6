from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.networks.hooks import ForwardHook, StopForward, add_hooks, run_until_stopped

BATCH = torch.ones(1, 2)


def chain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))


def hooks_of(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


def note(seen: list[str], name: str) -> ForwardHook:
    return lambda module, inputs, output: seen.append(name)


def stop(module: nn.Module, inputs: Any, output: Any) -> None:
    raise StopForward


def test_hooks_see_inputs_and_outputs_in_order_and_are_removed() -> None:
    module, seen = chain(), []
    before = module[1].register_forward_hook(note(seen, "not ours"))
    with add_hooks(
        pre=[(module[2], lambda module, inputs: seen.append("input of 2"))],
        forward=[
            (module[2], note(seen, "2")),
            (module[0], note(seen, "0")),
            (module[2], note(seen, "2 again")),
        ],
    ):
        module(BATCH)
    assert seen == ["0", "not ours", "input of 2", "2", "2 again"]
    assert hooks_of(module) == 1
    before.remove()


def test_hooks_are_gone_after_an_exception() -> None:
    module = chain()

    def fail(module: nn.Module, inputs: Any, output: Any) -> None:
        raise ZeroDivisionError

    def run() -> None:
        with add_hooks(forward=[(module[0], fail)]):
            assert hooks_of(module) == 1
            run_until_stopped(module, BATCH)

    with pytest.raises(ZeroDivisionError):
        run()
    assert not hooks_of(module)


def test_hooks_are_gone_when_one_of_them_cannot_be_registered() -> None:
    module = chain()

    def some() -> Iterator[tuple[nn.Module, ForwardHook]]:
        yield module[0], stop
        assert hooks_of(module) == 1
        raise KeyError("the second module")

    with pytest.raises(KeyError, match="the second module"):
        add_hooks(forward=some())
    assert not hooks_of(module)


def test_a_hook_can_replace_the_output() -> None:
    module = chain()
    with add_hooks(forward=[(module, lambda module, inputs, output: output * 0)]):
        assert torch.equal(module(BATCH), torch.zeros(1, 2))
    assert not torch.equal(module(BATCH), torch.zeros(1, 2))


def test_stopping_ends_the_pass() -> None:
    module, seen = chain(), []
    hooks = [(part, note(seen, name)) for name, part in module.named_children()]
    with add_hooks(forward=hooks):
        assert not run_until_stopped(module, BATCH)
        assert seen == ["0", "1", "2"]
        with add_hooks(forward=[(module[1], stop)]):
            assert run_until_stopped(module, BATCH)
        assert seen == ["0", "1", "2", "0", "1"]


def test_contexts_can_be_nested_and_closed_in_any_order() -> None:
    module, seen = chain(), []
    outer = add_hooks(forward=[(module[0], note(seen, "outer"))])
    inner = add_hooks(forward=[(module[0], note(seen, "inner"))])
    module(BATCH)
    outer.close()
    module(BATCH)
    inner.close()
    module(BATCH)
    assert seen == ["outer", "inner", "inner"]
    assert not hooks_of(module)


def test_a_pass_inside_a_hook_stops_only_itself() -> None:
    outer, inner, seen = chain(), chain(), []

    def run_inner(module: nn.Module, inputs: Any, output: Tensor) -> None:
        with add_hooks(forward=[(inner[0], stop), (inner[2], note(seen, "inner"))]):
            assert run_until_stopped(inner, output)

    with add_hooks(forward=[(outer[0], run_inner), (outer[2], note(seen, "outer"))]):
        assert not run_until_stopped(outer, BATCH)
    assert seen == ["outer"]
    assert not hooks_of(inner)
