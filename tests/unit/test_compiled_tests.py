"""Which tests run again compiled."""

from __future__ import annotations

import pytest

from tests.support.compiled_tests import REPOSITORY, compiled_modules, compiled_tests

CHOSEN = {path.relative_to(REPOSITORY / "tests").as_posix() for path in compiled_tests()}


def test_each_line_of_the_list_is_found() -> None:
    modules = compiled_modules()
    for line in (REPOSITORY / "compiled.txt").read_text().split():
        name = f"streams.{line}".replace("/", ".").removesuffix(".**.*")
        assert any(module == name or module.startswith(f"{name}.") for module in modules), line


@pytest.mark.parametrize(
    "path",
    [
        "compiled/test_counting_kernel.py",
        "property/test_processor.py",
        "unit/test_compiled_tree.py",
        "unit/test_routine.py",
        "unit/test_effects.py",
        "simulation/test_engine_work.py",
    ],
)
def test_what_uses_compiled_modules_runs_again(path: str) -> None:
    assert (REPOSITORY / "tests" / path).exists()
    assert path in CHOSEN


def test_what_meets_them_only_behind_other_code_does_not() -> None:
    assert "unit/test_command_line_help.py" not in CHOSEN
