"""What every test has: the checkout's own folder for the embedded Kafka's jars."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TES_CACHE_DIR", str(Path(__file__).resolve().parents[1] / ".cache"))
