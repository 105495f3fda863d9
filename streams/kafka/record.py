"""What Kafka fixes about a record: its headers, and how large it may be."""

from __future__ import annotations

from typing import Final

Headers = tuple[tuple[str, bytes], ...]

MAX_RECORD_BYTES: Final = 16 << 20
"""What an input topic takes: a record of as much is kept whole. What the client inflates may be larger."""
MAX_LETTER_BYTES: Final = MAX_RECORD_BYTES + (64 << 10)
"""Of a dead letter: the largest record, and the headers that say what is wrong with it."""
MAX_LETTER_BATCH_BYTES: Final = MAX_LETTER_BYTES + (64 << 10)
"""What the topic of dead letters has to take: a letter, the lengths of its parts, and the head of its batch."""
MAX_REQUEST_BYTES: Final = MAX_LETTER_BATCH_BYTES + (4 << 20)
"""A dead letter may hold a record as large as the source topic took."""
MAX_ROW_BYTES: Final = 900_000
"""Of one state row or output, its headers included: below the broker's default `message.max.bytes` of 1 MiB."""
