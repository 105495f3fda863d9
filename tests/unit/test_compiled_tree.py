"""What is compiled: in the tree that `scripts/compile` makes every module that should be, in a checkout none."""

from __future__ import annotations

from importlib.util import find_spec

# By this import the compiled stage runs this file.
import streams.worker.processor
from tests.support.compiled_tests import REPOSITORY, compiled_modules

STAMP = REPOSITORY / ".stamp"
"""What `scripts/compile` marks its tree with."""


def compiled_here() -> set[str]:
    """The modules that Python would load as machine code."""
    specs = {name: find_spec(name) for name in compiled_modules()}
    return {name for name, spec in specs.items() if spec is not None and str(spec.origin).endswith(".so")}


def test_the_compiled_tree_has_every_module_and_kernel_compiled_and_a_checkout_none() -> None:
    assert compiled_here() == (compiled_modules() if STAMP.exists() else set())


def test_the_module_that_the_tests_run_is_that_of_this_tree() -> None:
    assert str(streams.worker.processor.__file__).startswith(str(REPOSITORY))
