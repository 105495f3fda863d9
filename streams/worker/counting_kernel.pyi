from collections.abc import Callable

from streams.engine.ports import Record
from streams.state.server_row import ServerRow
from streams.worker.header_cache import CachedHeader

class Ticket:
    def __init__(
        self,
        row: ServerRow,
        notes: bytearray,
        key: bytes,
        build: bytes,
        accepted: bytes,
        by_address: bytes,
        claim: bytes,
        host: bytes,
        is_from_itself: bool,
        is_enforced: bool,
        ignored_on: int,
    ) -> None: ...

class CountingKernel:
    latest: int
    taken: int
    unknown: CachedHeader | None

    def __init__(
        self,
        current: bytes,
        previous: bytes,
        change: Callable[[bytes, ServerRow], bool],
        issue: Callable[[bytes, bytes, bytes, CachedHeader | None], CachedHeader | None],
    ) -> None: ...
    def count(
        self,
        records: list[Record],
        index: int,
        latest: int,
        starts_at: int,
        ends_at: int,
        holds_ms: int,
        lines: dict[bytes, CachedHeader],
    ) -> int: ...
    def add_counts(self, counts: list[list[int]]) -> None: ...
