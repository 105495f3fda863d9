# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Reads the records of an uncompressed batch at once.

It is an option: `FetchedRecord` over aiokafka's own parser is the reference, and gets every batch that is not plain
here: a damaged one, one with a record that has headers, and one whose offsets do not rise. Nothing is read beyond the
end of a batch.
"""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint64_t
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

ctypedef const unsigned char* Bytes

cdef enum:
    # Where a batch has its fields: Kafka's protocol, message format 2.
    BASE_OFFSET_AT = 0
    ATTRIBUTES_AT = 21
    FIRST_TIMESTAMP_AT = 27
    MAX_TIMESTAMP_AT = 35
    COUNT_AT = 57
    RECORDS_AT = 61
    LOG_APPEND_TIME = 8


@cython.final
@cython.no_gc
@cython.freelist(1024)
cdef class BatchRecord:
    """A record as `FetchedRecord` is one, without headers; `batch_kernel.pxd` has its fields."""

    checksum = None
    headers = ()

    @property
    def serialized_key_size(self):
        return -1 if self.key is None else len(self.key)

    @property
    def serialized_value_size(self):
        return -1 if self.value is None else len(self.value)


cdef inline int64_t number_at(Bytes data, int size) noexcept:
    cdef uint64_t number = 0
    cdef int index
    for index in range(size):
        number = number << 8 | data[index]
    return <int64_t>number


cdef inline int64_t sum_of(int64_t base, int64_t delta) noexcept:
    """Their sum; one that is too large begins again at the other end, as aiokafka's does."""
    return <int64_t>(<uint64_t>base + <uint64_t>delta)


cdef inline Py_ssize_t read_number(Bytes data, Py_ssize_t at, Py_ssize_t end, int64_t* number) noexcept:
    """Where the zigzag varint ends that stands at `at`; -1 where it does not end, or is too large."""
    cdef uint64_t found = 0
    cdef int shift = 0
    if at < 0:
        return -1
    while at < end and shift < 63:
        found |= <uint64_t>(data[at] & 0x7F) << shift
        if data[at] < 0x80:
            number[0] = <int64_t>(found >> 1) ^ -<int64_t>(found & 1)
            return at + 1
        at += 1
        shift += 7
    return -1


cdef inline Py_ssize_t read_bytes(Bytes data, Py_ssize_t at, Py_ssize_t end, Bytes* begin, int64_t* size) noexcept:
    """Where the nullable bytes end whose length stands at `at`, a negative one for null; -1 where they do not end."""
    at = read_number(data, at, end, size)
    if at < 0 or size[0] > end - at:
        return -1
    begin[0] = data + at
    return at + size[0] if size[0] > 0 else at


def read_batch(str topic, partition, bytes batch_data, Py_ssize_t begin, Py_ssize_t batch_end):
    """The records of the uncompressed batch at these places of what was fetched; None where it is not plain."""
    cdef Bytes data = <Bytes>PyBytes_AS_STRING(batch_data)
    cdef Py_ssize_t end = batch_end
    if not 0 <= begin <= end - RECORDS_AT or end > PyBytes_GET_SIZE(batch_data):
        return None
    cdef Bytes batch = data + begin
    cdef int64_t base_offset = number_at(batch + BASE_OFFSET_AT, 8)
    cdef int64_t first_timestamp = number_at(batch + FIRST_TIMESTAMP_AT, 8)
    cdef int64_t max_timestamp = number_at(batch + MAX_TIMESTAMP_AT, 8)
    cdef bint is_log_append_time = (batch[ATTRIBUTES_AT + 1] & LOG_APPEND_TIME) != 0
    cdef int32_t count = <int32_t>number_at(batch + COUNT_AT, 4)
    cdef Py_ssize_t at = begin + RECORDS_AT
    cdef Py_ssize_t started_at
    cdef int64_t length, attributes, timestamp, offset, header_count, key_size, value_size
    cdef Bytes key
    cdef Bytes value
    cdef BatchRecord record
    cdef int64_t last = -1
    cdef list records = []
    while count > 0:
        started_at = at = read_number(data, at, end, &length)
        at = read_number(data, at, end, &attributes)
        at = read_number(data, at, end, &timestamp)
        at = read_number(data, at, end, &offset)
        at = read_bytes(data, at, end, &key, &key_size)
        at = read_bytes(data, at, end, &value, &value_size)
        at = read_number(data, at, end, &header_count)
        if at < 0 or header_count or at - started_at != length:
            return None
        record = BatchRecord.__new__(BatchRecord)
        record.topic, record.partition = topic, partition
        record.offset = sum_of(base_offset, offset)
        if record.offset <= last:
            return None  # they are not in order
        last = record.offset
        record.timestamp = max_timestamp if is_log_append_time else sum_of(first_timestamp, timestamp)
        record.timestamp_type = is_log_append_time
        record.key = PyBytes_FromStringAndSize(<char*>key, key_size) if key_size >= 0 else None
        record.value = PyBytes_FromStringAndSize(<char*>value, value_size) if value_size >= 0 else None
        record.size = (key_size if key_size > 0 else 0) + (value_size if value_size > 0 else 0)
        records.append(record)
        count -= 1
    return records if at == end else None
