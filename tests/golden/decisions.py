"""What `tes simulate` decides about the sample feed: of each file its lines, checksum, counts and first lines."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from streams.cli.main import main
from tests.golden import REPOSITORY

POLICIES = ("microsoft-2026-09", "tests/data/golden/day-dependent.yaml")
FIRST_LINES = 2
COUNTED = ("kind", "status", "action", "stage", "finding")
"""Of the fields of a record, those whose values are counted."""
Golden = dict[str, Any]


def simulated(policy: str) -> Golden:
    """What `tes simulate` writes over the sample feed under a policy, by file."""
    with TemporaryDirectory() as out:
        path = str(REPOSITORY / policy) if policy.endswith(".yaml") else policy
        feed = str(REPOSITORY / "examples" / "feed.jsonl")
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            code = main(["simulate", "--feed", feed, "--policy", path, "--until", "2026-10-01", "--out", out])
        assert code == 0
        return {file.name: _summary(file.read_bytes()) for file in sorted(Path(out).glob("*.jsonl"))}


def _summary(content: bytes) -> Golden:
    records = [json.loads(line) for line in content.splitlines()]
    counts = {name: Counter(str(record[name]) for record in records if name in record) for name in COUNTED}
    return {
        "lines": len(records),
        "sha256": hashlib.sha256(content).hexdigest(),
        "counts": {name: dict(sorted(found.items())) for name, found in counts.items() if found},
        "first": records[:FIRST_LINES],
    }


def simulations() -> Golden:
    """By policy, what `simulated` gives."""
    return {policy: simulated(policy) for policy in POLICIES}
