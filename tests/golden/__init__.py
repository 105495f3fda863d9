"""What the product decides, stores and shows today, kept so that a change of it is seen: as a difference of files.

`python -m tests.golden` writes the files of `tests/data/golden` anew, for a review to judge.
"""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "tests" / "data" / "golden"
