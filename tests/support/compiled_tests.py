"""Which test files use a compiled module themselves: what the compiled stage runs.

`python -m tests.support.compiled_tests` prints them. The others, of the command line for example, meet compiled code
only behind what is not compiled.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FOLDERS = ("compiled", "property", "simulation", "unit", "contract")


def compiled_modules() -> set[str]:
    """The names of all modules that are compiled: those that `compiled.txt` has, and the kernels."""
    patterns = [f"{line}.py" for line in (REPOSITORY / "compiled.txt").read_text().split()]
    return {name_of(path) for pattern in patterns for path in (REPOSITORY / "streams").glob(pattern)} | set(kernels())


def kernels() -> list[str]:
    """The names of the modules in Cython: a tree that is not compiled has none of them."""
    return sorted(name_of(path) for path in (REPOSITORY / "streams").rglob("*.pyx"))


def name_of(path: Path) -> str:
    """By which name a module of the product is imported."""
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)


def imported(file: Path) -> Iterator[str]:
    """All that a file could import by the statements in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def compiled_tests() -> list[Path]:
    """The test files, in the order of their names."""
    modules = compiled_modules()
    # What helps tests uses compiled modules for them.
    modules |= {
        f"tests.support.{path.stem}"
        for path in (REPOSITORY / "tests" / "support").glob("*.py")
        if not modules.isdisjoint(imported(path))
    }
    files = (path for folder in FOLDERS for path in (REPOSITORY / "tests" / folder).rglob("test_*.py"))
    return sorted(path for path in files if not modules.isdisjoint(imported(path)))


if __name__ == "__main__":
    print(*(path.relative_to(REPOSITORY) for path in compiled_tests()))
