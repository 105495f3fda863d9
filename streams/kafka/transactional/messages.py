"""Requests of transactions that aiokafka does not have: of `transaction.version` 2 (KIP-890), and one of KIP-664.

The partitions that a Produce of this version names, and that of the group in a TxnOffsetCommit, belong to the
transaction from then on; an EndTxn of this version is answered with the producer's id and epoch for the next one.
"""

from __future__ import annotations

from typing import Any, Final

from aiokafka.protocol.api import Request, RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactBytes,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

_Text: Final = CompactString("utf-8")
NO_TAGS: Final[dict[int, bytes]] = {}


class ApiVersionsResponse(Response):  # type: ignore[misc]
    """What a broker can do; `tags` has the features of its cluster."""

    API_KEY, API_VERSION = 18, 3
    SCHEMA = Schema(
        ("error_code", Int16),
        ("api_versions", CompactArray(("key", Int16), ("first", Int16), ("last", Int16), ("tags", TaggedFields))),
        ("throttle_time_ms", Int32),
        ("tags", TaggedFields),
    )


class ApiVersionsStruct(RequestStruct):  # type: ignore[misc]
    """See `ApiVersionsRequest`."""

    API_KEY, API_VERSION = 18, 3
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = ApiVersionsResponse
    SCHEMA = Schema(("name", _Text), ("version", _Text), ("tags", TaggedFields))

    def parse_response_header(self, read_buffer: Any) -> ResponseHeader_v0:
        """Read the old header, which this answer has in every version."""
        return ResponseHeader_v0.decode(read_buffer)


class ApiVersionsRequest(Request[ApiVersionsStruct]):  # type: ignore[misc]
    """Asks what a broker can do."""

    API_KEY = 18

    def build(self, request_struct_class: type[ApiVersionsStruct]) -> ApiVersionsStruct:
        """See `Request`."""
        return request_struct_class("tes", "1", NO_TAGS)


FINALIZED_FEATURES_TAG: Final = 2
FINALIZED_FEATURES: Final = CompactArray(("name", _Text), ("most", Int16), ("least", Int16), ("tags", TaggedFields))


class InitProducerIdResponse(Response):  # type: ignore[misc]
    """The producer's id and epoch; those with a lower epoch are fenced."""

    API_KEY, API_VERSION = 22, 5
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("tags", TaggedFields),
    )


class InitProducerIdStruct(RequestStruct):  # type: ignore[misc]
    """See `InitProducerIdRequest`."""

    API_KEY, API_VERSION = 22, 5
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = InitProducerIdResponse
    SCHEMA = Schema(
        ("transactional_id", _Text),
        ("transaction_timeout_ms", Int32),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("tags", TaggedFields),
    )


class InitProducerIdRequest(Request[InitProducerIdStruct]):  # type: ignore[misc]
    """Takes a transactional id over."""

    API_KEY = 22

    def __init__(self, transactional_id: str, timeout_ms: int) -> None:
        self._fields = (transactional_id, timeout_ms, -1, -1, NO_TAGS)

    def build(self, request_struct_class: type[InitProducerIdStruct]) -> InitProducerIdStruct:
        """See `Request`."""
        return request_struct_class(*self._fields)


class ProduceResponse(Response):  # type: ignore[misc]
    """For each batch an error, or its first offset."""

    API_KEY, API_VERSION = 0, 12
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic", _Text),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("offset", Int64),
                        ("log_append_time_ms", Int64),
                        ("log_start_offset", Int64),
                        (
                            "record_errors",
                            CompactArray(("index", Int32), ("message", _Text), ("tags", TaggedFields)),
                        ),
                        ("message", _Text),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("throttle_time_ms", Int32),
        ("tags", TaggedFields),
    )


class ProduceStruct(RequestStruct):  # type: ignore[misc]
    """See `ProduceRequest`."""

    API_KEY, API_VERSION = 0, 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = ProduceResponse
    SCHEMA = Schema(
        ("transactional_id", _Text),
        ("required_acks", Int16),
        ("timeout_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", _Text),
                (
                    "partitions",
                    CompactArray(("partition", Int32), ("records", CompactBytes), ("tags", TaggedFields)),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class ProduceRequest(Request[ProduceStruct]):  # type: ignore[misc]
    """Appends one batch to each of some partitions, and these to the transaction."""

    API_KEY = 0

    def __init__(self, transactional_id: str, timeout_ms: int, batches: dict[str, list[tuple[int, bytes]]]) -> None:
        """Append `batches`, by topic with their partitions, to all replicas that are in sync."""
        topics = [
            (topic, [(partition, batch, NO_TAGS) for partition, batch in rows], NO_TAGS)
            for topic, rows in batches.items()
        ]
        self._fields = (transactional_id, -1, timeout_ms, topics, NO_TAGS)

    def build(self, request_struct_class: type[ProduceStruct]) -> ProduceStruct:
        """See `Request`."""
        return request_struct_class(*self._fields)


class TxnOffsetCommitResponse(Response):  # type: ignore[misc]
    """An error for each partition, or none."""

    API_KEY, API_VERSION = 28, 5
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", _Text),
                ("partitions", CompactArray(("partition", Int32), ("error_code", Int16), ("tags", TaggedFields))),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class TxnOffsetCommitStruct(RequestStruct):  # type: ignore[misc]
    """See `TxnOffsetCommitRequest`."""

    API_KEY, API_VERSION = 28, 5
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = TxnOffsetCommitResponse
    SCHEMA = Schema(
        ("transactional_id", _Text),
        ("group_id", _Text),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("generation_id", Int32),
        ("member_id", _Text),
        ("group_instance_id", _Text),
        (
            "topics",
            CompactArray(
                ("topic", _Text),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", _Text),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class TxnOffsetCommitRequest(Request[TxnOffsetCommitStruct]):  # type: ignore[misc]
    """Commits offsets of a group with the transaction, as one who is no member of the group."""

    API_KEY = 28

    def __init__(
        self, transactional_id: str, group: str, producer: tuple[int, int], offsets: dict[str, list[tuple[int, int]]]
    ) -> None:
        """Commit `offsets`, by topic with their partitions, as the producer with this id and epoch."""
        topics = [
            (topic, [(partition, offset, -1, "", NO_TAGS) for partition, offset in rows], NO_TAGS)
            for topic, rows in offsets.items()
        ]
        self._fields = (transactional_id, group, *producer, -1, "", None, topics, NO_TAGS)

    def build(self, request_struct_class: type[TxnOffsetCommitStruct]) -> TxnOffsetCommitStruct:
        """See `Request`."""
        return request_struct_class(*self._fields)


class EndTxnResponse(Response):  # type: ignore[misc]
    """The producer's id and epoch for the next transaction."""

    API_KEY, API_VERSION = 26, 5
    SCHEMA = InitProducerIdResponse.SCHEMA


class EndTxnStruct(RequestStruct):  # type: ignore[misc]
    """See `EndTxnRequest`."""

    API_KEY, API_VERSION = 26, 5
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = EndTxnResponse
    SCHEMA = Schema(
        ("transactional_id", _Text),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("is_commit", Boolean),
        ("tags", TaggedFields),
    )


class EndTxnRequest(Request[EndTxnStruct]):  # type: ignore[misc]
    """Commits or aborts the transaction."""

    API_KEY = 26

    def __init__(self, transactional_id: str, producer: tuple[int, int], is_commit: bool) -> None:
        self._fields = (transactional_id, *producer, is_commit, NO_TAGS)

    def build(self, request_struct_class: type[EndTxnStruct]) -> EndTxnStruct:
        """See `Request`."""
        return request_struct_class(*self._fields)


class DescribeTransactionsResponse(Response):  # type: ignore[misc]
    """What the coordinator knows of each transactional id; an error where it does not."""

    API_KEY, API_VERSION = 65, 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "transactions",
            CompactArray(
                ("error_code", Int16),
                ("transactional_id", _Text),
                ("state", _Text),
                ("timeout_ms", Int32),
                ("started_at_ms", Int64),
                ("producer_id", Int64),
                ("producer_epoch", Int16),
                (
                    "topics",
                    CompactArray(("topic", _Text), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class DescribeTransactionsStruct(RequestStruct):  # type: ignore[misc]
    """See `DescribeTransactionsRequest`."""

    API_KEY, API_VERSION = 65, 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = DescribeTransactionsResponse
    SCHEMA = Schema(("transactional_ids", CompactArray(_Text)), ("tags", TaggedFields))


class DescribeTransactionsRequest(Request[DescribeTransactionsStruct]):  # type: ignore[misc]
    """Asks how the last transaction of an id ended, or is going on."""

    API_KEY = 65

    def __init__(self, transactional_id: str) -> None:
        self._fields = ([transactional_id], NO_TAGS)

    def build(self, request_struct_class: type[DescribeTransactionsStruct]) -> DescribeTransactionsStruct:
        """See `Request`."""
        return request_struct_class(*self._fields)
