"""How do the modules of `pipeline` and `viz` import each other?

    python bench/imports.py [CHECKOUT]

Prints for each package: the number of modules, the imports between modules, the length of the longest
chain of imports, the same three numbers for folders, and all circles. A package's own `__init__.py`
is not counted, because it only exports names. Imports inside functions count; those under
`if TYPE_CHECKING:` do not, because they are never executed.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import networkx

PACKAGES = ("pipeline", "viz")
ROOT = Path(__file__).resolve().parent.parent


def modules_of(root: Path, package: str) -> dict[str, Path]:
    """Map the dotted name of each module to its file."""
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name != package:
            found[name] = path
    return found


def imports_of(path: Path, names: Mapping[str, Path]) -> Iterator[str]:
    """Yield the modules among `names` that a file imports at run time."""
    skipped: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped |= {id(each) for part in node.body for each in ast.walk(part)}
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in names:
                    yield whole
                elif node.module in names:
                    yield node.module


def module_graph(root: Path, package: str) -> networkx.DiGraph:
    """Build a graph with an edge from each module to every module that it imports."""
    names = modules_of(root, package)
    graph = networkx.DiGraph()
    graph.add_nodes_from(names)
    for name, path in names.items():
        graph.add_edges_from((name, other) for other in imports_of(path, names) if other != name)
    return graph


def folder_of(module: str, root: Path) -> str:
    """Return the folder of a module; a module directly in the package is its own folder."""
    package, _, rest = module.partition(".")
    first = rest.partition(".")[0]
    return f"{package}.{first}" if (root / package / first).is_dir() else module


def folder_graph(root: Path, graph: networkx.DiGraph) -> networkx.DiGraph:
    """Build a graph with an edge from each folder to every folder that it imports from."""
    folders = networkx.DiGraph()
    folders.add_nodes_from({folder_of(module, root) for module in graph})
    pairs = ((folder_of(a, root), folder_of(b, root)) for a, b in graph.edges)
    folders.add_edges_from((a, b) for a, b in pairs if a != b)
    return folders


def longest_chain(graph: networkx.DiGraph) -> int:
    """Count the modules in the longest chain; the modules of a circle count as one."""
    return len(networkx.dag_longest_path(networkx.condensation(graph)))


def circles(graph: networkx.DiGraph) -> list[list[str]]:
    """Find the groups of modules that import each other."""
    groups = networkx.strongly_connected_components(graph)
    return [sorted(group) for group in groups if len(group) > 1]


def main(root: Path) -> None:
    """Print the numbers of both packages."""
    print(
        "| package | of | number | imports between them | longest chain | circles |\n"
        "|---|---|---|---|---|---|"
    )
    for package in PACKAGES:
        graph = module_graph(root, package)
        folders = folder_graph(root, graph)
        for kind, found in (("modules", graph), ("folders", folders)):
            rounds = "; ".join(", ".join(group) for group in circles(found)) or "none"
            print(
                f"| {package} | {kind} | {len(found)} | {found.number_of_edges()} | {longest_chain(found)} "
                f"| {rounds} |"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
