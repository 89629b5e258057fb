"""The modules form a hierarchy: no import, at whatever depth or for whomever, closes a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from .conftest import REPOSITORY

ROOTS = {"streamasr": REPOSITORY, "persistent_lstm": REPOSITORY / "kernels"}


def modules_of(package: str, root: Path) -> dict[str, Path]:
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(source: str, package: str, modules: Mapping[str, object]) -> Iterator[str]:
    """Yield what a module of ``package`` imports, in functions and for type checkers, too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".") if node.level else []
            kept = parts[: len(parts) - node.level + 1]
            target = ".".join([*kept, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{target}.{alias.name}"
                yield whole if whole in modules else target


def graph_of(sources: Mapping[str, tuple[str, str]]) -> dict[str, set[str]]:
    """Return what each module imports, of ``sources``: a module's package and text."""
    return {
        module: {name for name in imports_of(text, package, sources) if name in sources}
        for module, (package, text) in sources.items()
    }


def circle_in(graph: Mapping[str, set[str]]) -> list[str]:
    """Return the modules of a circle, or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return []


@pytest.mark.smoke
@pytest.mark.parametrize("package", ROOTS)
def test_no_import_closes_a_circle(package):
    modules = modules_of(package, ROOTS[package])
    sources = {
        name: (
            name if path.name == "__init__.py" else name.rpartition(".")[0],
            path.read_text(encoding="utf-8"),
        )
        for name, path in modules.items()
    }
    graph = graph_of(sources)
    assert sum(map(len, graph.values())) > len(graph)
    # The package itself offers names that are imported once they are asked for.
    graph[package] = set()
    assert circle_in(graph) == []


def test_packages_are_a_hierarchy_too():
    """What one package needs of another, that one needs nothing of it for."""
    modules = modules_of("streamasr", REPOSITORY)
    rooms: dict[str, set[str]] = {}
    for name, path in modules.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        own = ".".join(name.split(".")[:2])
        for needed in imports_of(path.read_text(encoding="utf-8"), package, modules):
            other = ".".join(needed.split(".")[:2])
            if other in modules and other not in (own, "streamasr") and own != "streamasr":
                rooms.setdefault(own, set()).add(other)
    assert circle_in(rooms) == []


@pytest.mark.parametrize(
    "back", ["from .a import x", "from . import a", "def f():\n    import p.a", "import p.a"]
)
def test_a_circle_is_found(back):
    sources = {"p": ("p", ""), "p.a": ("p", "from .b import y"), "p.b": ("p", back)}
    assert sorted({*circle_in(graph_of(sources))}) == ["p.a", "p.b"]
    assert circle_in(graph_of({**sources, "p.b": ("p", "")})) == []
