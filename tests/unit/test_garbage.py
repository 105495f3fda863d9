"""When a process looks for garbage in cycles."""

from __future__ import annotations

import subprocess
import sys

from streams.garbage import COLLECTED_OBJECTS

_TOLD = """
import gc
from streams.cli.main import main
try:
    main(["worker", "--help"])
finally:
    print(gc.get_threshold()[0])
"""


def test_it_is_looked_for_seldom_while_the_modules_of_a_command_are_loaded() -> None:
    """Modules are thousands of objects that stay; walking over them again and again was a tenth of the imports."""
    ran = subprocess.run([sys.executable, "-c", _TOLD], capture_output=True, text=True, timeout=120, check=False)
    assert ran.stdout.splitlines()[-1] == str(COLLECTED_OBJECTS)
