"""Changes one operator or number of a module at a time and runs tests: what survives is pinned by none of them.

Without arguments all of `domain/policy` and `domain/server`, which takes a night. `--sample` takes some of the changes,
the same for the same seed. The modules are changed in a copy of the tree, `.cache/mutate`.
"""

from __future__ import annotations

import argparse
import ast
import copy
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
COPY = REPOSITORY / ".cache" / "mutate"
PACKAGES = ("streams/domain/policy", "streams/domain/server")
TESTS = ("tests/unit", "tests/property", "tests/simulation")
BASE_SECONDS = 60.0

_SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
}


@dataclass(frozen=True)
class Mutant:
    """A module with one change."""

    path: Path
    line: int
    before: str
    after: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.before}  ->  {self.after}"


def mutants_of(path: Path) -> list[Mutant]:
    """Every change of a module that this script knows."""
    tree = ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))
    found = []
    for number, node in enumerate(_places(tree)):
        for change in range(_changes_of(node)):
            changed = copy.deepcopy(tree)
            other = list(_places(changed))[number]
            before = ast.unparse(other)
            _apply(other, change)
            found.append(Mutant(path, node.lineno, before, ast.unparse(other), ast.unparse(changed)))
    return found


def _places(tree: ast.Module) -> Iterator[ast.expr]:
    """The expressions that may be changed, in a fixed order: all but annotations and texts."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop(0)
        if isinstance(node, ast.Compare | ast.BoolOp | ast.BinOp | ast.UnaryOp | ast.Constant):
            yield node
        for name, value in ast.iter_fields(node):
            if name not in ("annotation", "returns"):
                todo += [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, ast.AST)]


def _changes_of(node: ast.expr) -> int:
    match node:
        case ast.Compare():
            return len(node.ops)
        case ast.BoolOp() | ast.BinOp():
            return int(type(node.op) in _SWAPPED)
        case ast.UnaryOp():
            return int(isinstance(node.op, ast.Not))
        case ast.Constant():
            return int(isinstance(node.value, bool | int))
    return 0


def _apply(node: ast.expr, change: int) -> None:
    match node:
        case ast.Compare():
            node.ops[change] = _SWAPPED[type(node.ops[change])]()  # type: ignore[call-overload]
        case ast.BoolOp() | ast.BinOp():
            node.op = _SWAPPED[type(node.op)]()  # type: ignore[assignment]
        case ast.UnaryOp():
            node.op = ast.UAdd()
            node.operand = ast.Call(ast.Name("bool"), [node.operand], [])
        case ast.Constant():
            node.value = not node.value if isinstance(node.value, bool) else int(str(node.value)) + 1


def copy_tree() -> None:
    """Make the copy anew."""
    shutil.rmtree(COPY, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (REPOSITORY / name).is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, COPY / name)
    (COPY / "streams" / "schemas").symlink_to("../schemas")


def survives(tests: Sequence[str], limit: float) -> bool:
    """Whether no test fails on the copy; one that hangs has failed."""
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-m", "not kafka", *tests]
    try:
        done = subprocess.run(command, cwd=COPY, capture_output=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main() -> int:
    """Run; exit code 1 where a change survives."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="*", type=Path, help="modules to change (default: all of both packages)")
    parser.add_argument("--sample", type=int, help="so many of the changes (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (default: 1)")
    parser.add_argument("--tests", nargs="+", default=list(TESTS), help="(default: unit, property and simulation)")
    arguments = parser.parse_args()
    modules = arguments.modules or [
        path.relative_to(REPOSITORY) for package in PACKAGES for path in sorted((REPOSITORY / package).glob("*.py"))
    ]
    mutants = [mutant for path in modules for mutant in mutants_of(path)]
    if arguments.sample is not None and arguments.sample < len(mutants):
        mutants = random.Random(arguments.seed).sample(mutants, arguments.sample)
    copy_tree()
    began = time.monotonic()
    if not survives(arguments.tests, 3600.0):
        print("mutate: the tests fail without any change", file=sys.stderr)
        return 2
    limit = BASE_SECONDS + 4 * (time.monotonic() - began)
    left = []
    for number, mutant in enumerate(mutants, 1):
        original = (REPOSITORY / mutant.path).read_text(encoding="utf-8")
        (COPY / mutant.path).write_text(mutant.text, encoding="utf-8")
        is_alive = survives(arguments.tests, limit)
        (COPY / mutant.path).write_text(original, encoding="utf-8")
        print(f"{number}/{len(mutants)} {'SURVIVES' if is_alive else 'killed'} {mutant}", flush=True)
        left += [mutant] * is_alive
    print(f"{len(left)} of {len(mutants)} survive")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
