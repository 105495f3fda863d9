"""What is told of servers is what was told: `python -m tests.golden` writes the file anew, for a review to judge."""

from __future__ import annotations

import json

from tests.golden import FOLDER
from tests.golden.lives import lives


def test_what_is_told_of_servers_over_a_year_is_what_was_told() -> None:
    expected, found = json.loads((FOLDER / "lives.json").read_text(encoding="utf-8")), lives()
    for name in expected:
        assert found[name]["first"] == expected[name]["first"], name
    assert found == expected
