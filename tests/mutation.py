"""Would the tests notice? Changes one expression of a module at a time, and runs the module's tests.

    python -m tests.mutation --list
    python -m tests.mutation --sample 20 --seed 0
    python -m tests.mutation --only pipeline/state/topk.py --sample 0      # every mutant

Prints each mutant that no test noticed, and a table: mutants, and how many of them were noticed. A mutant is
a module with one operator, comparison, number, condition or call changed; annotations, decorators, messages
and imports are left alone. Tests run in a forked process that loads the changed module in place of the real
one, so that no file is touched. Tests that start other processes run the real module there.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.machinery
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]

TARGETS: Mapping[str, Sequence[str]] = {
    "pipeline/state/topk.py": ("state/test_topk.py", "state/test_part.py"),
    "pipeline/state/statistics.py": ("state/test_statistics.py", "state/test_count_types.py"),
    "pipeline/state/histogram.py": ("state/test_histogram.py", "state/test_count_types.py"),
    "pipeline/state/label_sums.py": ("state/test_label_sums.py", "runs/test_write_index.py"),
    "pipeline/state/sample.py": ("state/test_sample.py", "state/test_part.py"),
    "pipeline/state/unit_state.py": ("state/test_unit_state.py",),
    "pipeline/state/merging.py": ("state/test_merging.py", "runs/test_write_index.py"),
    "pipeline/state/part_blocks.py": ("state/test_merging.py", "state/test_label_sums.py"),
    "pipeline/state/stored_labels.py": ("state/test_merging.py", "state/test_label_sums.py"),
    "pipeline/state/stored_sample.py": ("state/test_merging.py",),
    "pipeline/state/part_tables.py": (
        "state/test_part.py",
        "state/test_label_sums.py",
        "state/test_merging.py",
    ),
    "pipeline/state/part_folder.py": ("state/test_part_folder.py", "state/test_commit.py"),
    "pipeline/state/commit.py": ("state/test_commit.py", "state/test_part.py"),
    "pipeline/state/commit_file.py": ("state/test_commit.py", "state/test_part.py"),
    "pipeline/store/files.py": ("store/test_files.py",),
    "pipeline/store/digests.py": ("store/test_seals.py",),
    "pipeline/store/inside.py": ("store/test_inside.py",),
    "pipeline/store/leftovers.py": ("store/test_leftovers.py",),
    "pipeline/store/rows.py": ("store/test_rows.py",),
    "pipeline/store/peak_files.py": ("store/test_peak_files.py",),
    "pipeline/store/seals.py": ("store/test_seals.py",),
    "pipeline/store/tables.py": ("store/test_tables.py", "store/test_seals.py"),
    "pipeline/store/table_files.py": ("store/test_tables.py",),
    "pipeline/store/trust.py": ("store/test_trust.py",),
    "pipeline/store/run_record.py": ("store/test_run_record.py",),
    "pipeline/images/preprocess.py": ("images/test_preprocess.py", "query/test_patch_boxes.py"),
    "pipeline/layers/margin_search.py": ("layers/test_margin_search.py",),
    "pipeline/layers/receptive_field.py": ("layers/test_receptive_field.py",),
    "pipeline/layers/layer.py": ("layers/test_choose.py",),
    "viz/planning/cone.py": ("../viz/planning/test_cone.py",),
    "viz/canvas.py": ("../viz/test_canvas.py", "../viz/planning/test_cone.py"),
}
"""Modules, and their tests below tests/pipeline."""

_SWAPPED: Mapping[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.And: ast.Or,
    ast.Or: ast.And,
}

_RENAMED = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "minimum": "maximum",
    "maximum": "minimum",
}

_TIMES_LONGER, _MORE_S = 10, 30
"""So many times as long as no mutant, and seconds more, may a mutant take before it counts as noticed."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed module.

    Args:
        line: of the change.
        before, after: its source.
        tree: of the module.
    """

    line: int
    before: str
    after: str
    tree: ast.Module


def mutants(source: str) -> Iterator[Mutant]:
    """All mutants of a module, in the order of its nodes."""
    tree = ast.parse(source)
    skipped = {id(node) for root in _left_alone(tree) for node in ast.walk(root)}
    for place, node in enumerate(ast.walk(tree)):
        if id(node) in skipped or not (change := _change_of(node)):
            continue
        changed = copy.deepcopy(tree)
        twin = next(each for number, each in enumerate(ast.walk(changed)) if number == place)
        before = ast.unparse(twin)
        change(twin)
        yield Mutant(node.lineno, before, ast.unparse(twin), ast.fix_missing_locations(changed))


def _left_alone(tree: ast.Module) -> Iterator[ast.AST]:
    """The roots of what is not changed."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield from node.decorator_list
            yield from filter(
                None,
                [
                    node.returns,
                    *(each.annotation for each in ast.walk(node.args) if isinstance(each, ast.arg)),
                ],
            )
        elif isinstance(node, ast.ClassDef):
            yield from (*node.decorator_list, *node.bases)
        elif isinstance(node, ast.AnnAssign):
            yield node.annotation
        elif (
            isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr)
            or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
            or (isinstance(node, ast.Call) and ast.unparse(node.func) in ("cast", "TypeVar"))
        ):
            yield node


def _change_of(node: ast.AST) -> Callable[[Any], None] | None:
    """What changes a node of this kind, if anything does."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        return lambda twin: twin.ops.__setitem__(0, _SWAPPED[type(node.ops[0])]())
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in _SWAPPED:
        return lambda twin: setattr(twin, "op", _SWAPPED[type(node.op)]())
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return lambda twin: setattr(twin, "value", not node.value)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return lambda twin: setattr(twin, "value", node.value + 1)
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        return lambda twin: setattr(twin, "test", ast.UnaryOp(ast.Not(), twin.test))
    if isinstance(node, ast.UnaryOp):  # twice is nothing
        return lambda twin: setattr(twin, "operand", ast.UnaryOp(type(node.op)(), twin.operand))
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return lambda twin: setattr(twin, "value", ast.Constant(None))
    if isinstance(node, ast.Name) and node.id in _RENAMED:
        return lambda twin: setattr(twin, "id", _RENAMED[node.id])
    if isinstance(node, ast.Attribute) and node.attr in _RENAMED:
        return lambda twin: setattr(twin, "attr", _RENAMED[node.attr])
    return None


class _Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads a changed module in place of the real one."""

    def __init__(self, path: str, tree: ast.Module) -> None:
        self.name, self.path, self.tree = path.removesuffix(".py").replace("/", "."), path, tree

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> Any:
        if name != self.name:
            return None
        return importlib.machinery.ModuleSpec(name, self, origin=self.path)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.tree, str(ROOT / self.path), "exec"), module.__dict__)


def run_tests(path: str, tree: ast.Module | None, timeout: float | None) -> bool:
    """Whether the tests of a module pass with it; False as well when they take too long."""
    child = os.fork()
    if not child:
        _run_here(path, tree)
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == 0
        if end is not None and time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        time.sleep(0.02)


def _run_here(path: str, tree: ast.Module | None) -> None:
    """Run the tests in this process, and end it."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    if tree is not None:
        sys.meta_path.insert(0, _Loader(path, tree))
    tests = [str(ROOT / "tests/pipeline" / name) for name in TARGETS[path]]
    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not thorough", "--hypothesis-seed=0"]
    code: int = 1
    try:
        code = int(pytest.main([*options, *tests]))
    finally:
        os._exit(code)


def measure(path: str, sample: int, seed: int) -> tuple[int, int]:
    """Try mutants of a module; returns how many were tried and noticed, and prints the others."""
    found = list(mutants((ROOT / path).read_text(encoding="utf-8")))
    if sample and len(found) > sample:
        found = random.Random(f"{seed} {path}").sample(found, sample)
    started = time.monotonic()
    if not run_tests(path, None, None):
        raise SystemExit(f"the tests of {path} fail without any change")
    timeout = _TIMES_LONGER * (time.monotonic() - started) + _MORE_S
    noticed = 0
    for mutant in sorted(found, key=lambda each: each.line):
        if run_tests(path, mutant.tree, timeout):
            print(f"    {path}:{mutant.line}: {mutant.before}  ->  {mutant.after}", flush=True)
        else:
            noticed += 1
    return len(found), noticed


def main() -> None:
    """Read the arguments, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--only", nargs="+", choices=sorted(TARGETS), metavar="MODULE", help="modules to change"
    )
    parser.add_argument("--sample", type=int, default=20, help="mutants of each module; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--list", action="store_true", help="print the modules and how many mutants they have"
    )
    asked = parser.parse_args()
    chosen = asked.only or list(TARGETS)
    if asked.list:
        for path in chosen:
            count = len(list(mutants((ROOT / path).read_text(encoding="utf-8"))))
            print(f"{count:5} {path}")
        return
    for name in ("torch", "numpy", "pyarrow.parquet", "duckdb", "PIL.Image"):
        __import__(name)  # once, and not in every process
    rows = []
    for path in chosen:
        rows.append((path, *measure(path, asked.sample, asked.seed)))
        print(f"{path}: {rows[-1][2]} of {rows[-1][1]} noticed", flush=True)
    print("\n| module | mutants | noticed |\n|---|---|---|")
    for path, tried, noticed in rows:
        print(f"| {path} | {tried} | {noticed} |")
    print(f"| all | {sum(row[1] for row in rows)} | {sum(row[2] for row in rows)} |")


if __name__ == "__main__":
    main()
