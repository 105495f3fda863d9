"""Shapes of real `Received` lines, of Exchange, Exchange Online and gateways, through `tes inspect --json`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from streams.cli.main import main

SHAPES = list(
    csv.DictReader((Path(__file__).parents[1] / "data" / "received_shapes.csv").open(encoding="utf-8", newline=""))
)


@pytest.mark.parametrize("row", SHAPES, ids=lambda row: row["shape"])
def test_shape(row: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = tmp_path / "header.txt"
    message.write_text(f"Received: {row['received']}\nSubject: x\n\nbody\n", encoding="utf-8", newline="")
    assert main(["inspect", "--json", "--at", "2026-10-08", str(message)]) == 0
    found = json.loads(capsys.readouterr().out)
    three_parts = row["build"].count(".") == 2
    assert (found["server"] or "", found["identity"] or "") == (row["server"], row["identity"])
    assert (found["evidence"]["protocol"] or "") == row["protocol"]
    assert (found["build"] or "") == ("" if three_parts else row["build"])
    assert (found["build_name"] or "") == row["build_name"]
    assert found["finding"] == row["finding"]
