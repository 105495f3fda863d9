# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Counts routine connections in the bytes of their values and of their servers' packed rows.

It is an option. `RoutinePath.count` is the reference: what this counts, it counts the same way, and whatever is not
plainly routine here is left to it. Kept out are lines that name no known server with a build, and values that
`decode_fast` does not take.

Nothing is read beyond the end of a value or a row: every length is checked where it is read.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memmove
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from streams.kafka.batch_kernel cimport BatchRecord
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE

from zlib import crc32

from streams.domain.bounds import MAX_TEXT_CHARS as _MAX_TEXT_CHARS
from streams.domain.server.connection import MAX_EVENT_ID_CHARS as _MAX_EVENT_ID_CHARS
from streams.domain.server.state import MOST_COUNTED as _MOST_COUNTED
from streams.domain.server.state import RECENT_EVENTS
from streams.domain.time import DAY_MS as _DAY_MS
from streams.domain.time import EARLIEST_MS as _EARLIEST_MS
from streams.state.server_row import CHANGED as _CHANGED
from streams.worker.counters import REJECTED as _REJECTED
from streams.worker.header_cache import MAX_CACHED_CHARS as _MAX_CACHED_CHARS
from streams.worker.header_cache import MAX_DATE_CHARS as _MAX_DATE_CHARS

ctypedef const unsigned char* Bytes

cdef:
    Py_ssize_t MAX_TEXT_CHARS = _MAX_TEXT_CHARS
    Py_ssize_t MAX_EVENT_ID_CHARS = _MAX_EVENT_ID_CHARS
    Py_ssize_t MAX_CACHED_CHARS = _MAX_CACHED_CHARS
    Py_ssize_t MAX_DATE_CHARS = _MAX_DATE_CHARS
    int64_t EARLIEST_MS = _EARLIEST_MS
    int64_t DAY_MS = _DAY_MS
    int64_t MOST_COUNTED = _MOST_COUNTED
    Py_ssize_t MARKS_BYTES = 8 * RECENT_EVENTS
    int REJECTED = _REJECTED
    unsigned char CHANGED = _CHANGED

cdef enum:
    # Where a value has its fields: see `fast_connection`.
    MOMENT_AT = 5
    CONNECTOR_AT = 11
    TENANT_AT = 12
    MOST_LINES = 63
    # Where a row has its fields: see `server_row`.
    LAST_SEEN_AT = 9
    JUDGED_AT = 17
    CLOCK_AT = 25
    REPORTED_AT = 33
    EXCHANGE_SEEN_AT = 49
    CONNECTIONS_AT = 57
    ACCEPTED_AT = 65
    DEFERRED_AT = 73
    REJECTED_AT = 81
    FLAGS_AT = 89
    LAST_CONNECTOR_AT = 90
    JUDGED_OVER_AT = 91
    FINDING_AT = 92
    BUILD_AT = 93
    LENGTHS_AT = 109
    TEXTS_AT = 116
    REPORT_DUE = 2
    HAS_BUILD = 32
    MIXED = 64
    # Of a stamp in a row, and where it has its fields: see `stamp_row`.
    STAMP_BYTES = 26
    STAMP_BUILD_AT = 8
    BUILD_BYTES = 16
    CU_LINE_BYTES = 12
    MARK_BYTES = 8
    # Of what is noted of a mixed server, see `MixedNotes`.
    REFUSED_NOTED_AT = 0
    ACCEPTED_NOTED_AT = 8
    NOTES_BYTES = 16
    FINDINGS = 6
    OUTCOMES = 4


cdef enum Answer:
    LEFT
    COUNTED
    COUNTED_AND_FULL


cdef struct Text:
    Bytes at
    Py_ssize_t size


cdef struct Connection:
    int64_t observed_at
    int connector
    int outcome
    int refused_before
    int line_count
    Text tenant_id
    Text event_id
    Text connector_id
    Text source_ip
    Text[MOST_LINES] lines


cdef inline int64_t number_at(Bytes row, Py_ssize_t at) noexcept:
    cdef uint64_t number = 0
    cdef int index
    for index in range(8):
        number = number << 8 | row[at + index]
    return <int64_t>number


cdef inline void set_number(unsigned char* row, Py_ssize_t at, int64_t number) noexcept:
    cdef int index
    for index in range(8):
        row[at + index] = <unsigned char>(<uint64_t>number >> (56 - 8 * index))


cdef inline int32_t update_of(Bytes build) noexcept:
    """The last part of a build, 0 where it has none."""
    cdef Bytes at = build + CU_LINE_BYTES
    cdef int32_t update = <int32_t>(<uint32_t>at[0] << 24 | <uint32_t>at[1] << 16 | <uint32_t>at[2] << 8 | at[3])
    return update if update > 0 else 0


cdef inline Py_ssize_t length_at(Bytes row, Py_ssize_t at) noexcept:
    return <Py_ssize_t>row[at] << 8 | row[at + 1]


cdef inline bint is_ascii(Text text) noexcept:
    cdef Py_ssize_t at = 0
    cdef uint64_t eight, found = 0
    while at + 8 <= text.size:
        memcpy(&eight, text.at + at, 8)
        found |= eight
        at += 8
    while at < text.size:
        found |= text.at[at]
        at += 1
    return not found & 0x8080808080808080


cdef inline bint are_equal(Text one, Bytes other, Py_ssize_t size) noexcept:
    return one.size == size and memcmp(one.at, other, size) == 0


cdef inline Text text_of(bytes value) noexcept:
    cdef Text text
    text.at, text.size = <Bytes>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)
    return text


cdef inline bint begins_with(Bytes value, bytes header) noexcept:
    return PyBytes_GET_SIZE(header) == MOMENT_AT and memcmp(value, PyBytes_AS_STRING(header), MOMENT_AT) == 0


cdef inline Py_ssize_t read_text(Bytes value, Py_ssize_t size, Py_ssize_t at, Text* text) noexcept:
    """Where the ASCII text ends whose length stands at `at`; -1 where `decode_fast` would not take it."""
    cdef Py_ssize_t length
    if at < 0 or at >= size:
        return -1
    length = value[at]
    at += 1
    if length >= 0x80:
        if at >= size or value[at] >= 0x80 or not value[at]:
            return -1
        length = length & 0x7F | <Py_ssize_t>value[at] << 7
        at += 1
    if length & 1 or (length >> 1) > size - at:
        return -1
    text.at, text.size = value + at, length >> 1
    return at + text.size if is_ascii(text[0]) else -1


cdef inline Py_ssize_t read_optional(Bytes value, Py_ssize_t size, Py_ssize_t at) noexcept:
    """Where the text or null ends whose branch stands at `at`; -1 as of `read_text`."""
    cdef Text text
    if at < 0 or at >= size:
        return -1
    if value[at] == 0:
        return at + 1
    return read_text(value, size, at + 1, &text) if value[at] == 2 else -1


cdef bint read_connection(Bytes value, Py_ssize_t size, bint has_refused_before, Connection* found) noexcept:
    """Read a value behind its header, as `decode_fast` does; whether that would take it, and it has lines."""
    cdef Py_ssize_t at
    cdef int index
    cdef uint64_t moment = 0
    if size <= TENANT_AT:
        return False
    for index in range(5):
        if value[MOMENT_AT + index] < 0x80:
            return False
        moment |= <uint64_t>(value[MOMENT_AT + index] & 0x7F) << (7 * index)
    if value[MOMENT_AT + 5] >= 0x80 or value[MOMENT_AT] & 1:
        return False
    found.observed_at = <int64_t>((moment | <uint64_t>value[MOMENT_AT + 5] << 35) >> 1)
    if value[CONNECTOR_AT] > 4 or value[CONNECTOR_AT] & 1:
        return False
    found.connector = value[CONNECTOR_AT] >> 1
    at = read_text(value, size, TENANT_AT, &found.tenant_id)
    if at < 0 or at >= size or value[at] & 1 or value[at] >= 0x80 or not value[at]:
        return False
    found.line_count = value[at] >> 1
    at += 1
    for index in range(found.line_count):
        at = read_text(value, size, at, &found.lines[index])
    if at < 0 or at >= size or value[at]:
        return False
    at = read_text(value, size, at + 1, &found.event_id)
    at = read_text(value, size, at, &found.connector_id)
    at = read_text(value, size, at, &found.source_ip)
    cdef Text helo
    at = read_text(value, size, at, &helo)
    at = read_optional(value, size, at)
    at = read_optional(value, size, at)
    if at < 0 or at >= size:
        return False
    found.outcome = -1
    if value[at] == 2:
        at += 1
        if at >= size or value[at] > 6 or value[at] & 1:
            return False
        found.outcome = value[at] >> 1
    elif value[at]:
        return False
    at += 1
    if at >= size or value[at] & 0x81:  # the recipients
        return False
    found.refused_before = 0
    if has_refused_before:
        at += 1
        if at >= size or value[at] & 0x81:
            return False
        found.refused_before = value[at] >> 1
    return at + 1 == size


cdef inline Py_ssize_t date_at(Text line) noexcept:
    """Where the line's plain date begins, with its semicolon; -1 where it has none: see `header_cache`."""
    cdef Py_ssize_t at = line.size
    cdef Py_ssize_t first = line.size - MAX_DATE_CHARS
    cdef unsigned char char
    if first < 0:
        first = 0
    while at > first:
        at -= 1
        char = line.at[at]
        if char == b";":
            return at
        if char in b'()<>"\\.':
            return -1
    return -1


cdef bint has_number(Bytes text, Py_ssize_t size) noexcept:
    """Whether there is a dot between two digits."""
    cdef Bytes end = text + size - 1
    cdef Bytes at = text + 1
    while at < end:
        at = <Bytes>memchr(at, b".", end - at)
        if at == NULL:
            return False
        if b"0" <= at[1] <= b"9" and b"0" <= (at - 1)[0] <= b"9":
            return True
        at += 1
    return False


cdef bint has_name(Text line, Text name) noexcept:
    """Whether a line has a name, in any case of the line's letters; true of an empty one."""
    cdef Py_ssize_t start, index
    cdef unsigned char char, lower
    for start in range(line.size - name.size + 1):
        index = 0
        while index < name.size:
            char = line.at[start + index]
            lower = char + 32 if b"A" <= char <= b"Z" else char
            if char != name.at[index] and lower != name.at[index]:
                break
            index += 1
        if index == name.size:
            return True
    return False


cdef class Ticket:
    """What a topmost line tells, and the row of its server; good as long as the row has bytes.

    `build`, `accepted` and `by_address` are as a row has them, `claim` and `host` as `CachedHeader` has them.
    `accepted` and `notes` are the accepted build of a mixed server and what is noted of it, else empty. `is_enforced`
    is whether the server's finding is, `ignored_on` a day (since 1970) on which the build tells nothing of an episode,
    -1 for none.
    """

    cdef object row
    cdef bytearray packed, notes
    cdef bytes key, build, accepted, by_address, claim, host
    cdef bint is_from_itself, is_enforced
    cdef int64_t routine_until, ignored_on

    def __init__(
        self,
        row,
        bytearray notes,
        bytes key,
        bytes build,
        bytes accepted,
        bytes by_address,
        bytes claim,
        bytes host,
        bint is_from_itself,
        bint is_enforced,
        int64_t ignored_on,
    ):
        if len(build) != BUILD_BYTES or len(accepted) not in (0, BUILD_BYTES) or len(notes) not in (0, NOTES_BYTES):
            raise ValueError(f"a build of {len(build)}, {len(accepted)} or notes of {len(notes)} bytes")
        self.row, self.packed, self.routine_until = row, row.packed, row.routine_until
        self.key, self.build, self.accepted, self.by_address = key, build, accepted, by_address
        self.claim, self.host, self.is_from_itself = claim, host, is_from_itself
        self.notes, self.is_enforced, self.ignored_on = notes, is_enforced, ignored_on

    cdef bint may_claim_higher_build(self, Text line) noexcept:
        """Whether a line below may name the host with a higher build; true in more cases than the reference's."""
        cdef Py_ssize_t end = date_at(line)
        cdef Text claim = text_of(self.claim)
        if end < 0:
            end = line.size
        if claim.size:
            if end >= claim.size and memcmp(line.at + end - claim.size, claim.at, claim.size) == 0:
                if not has_number(line.at, end - claim.size):
                    return False
            elif not has_number(line.at, line.size):
                return False
        return has_name(line, text_of(self.host))


cdef Py_ssize_t stamp_of(
    Bytes row,
    Py_ssize_t size,
    Py_ssize_t at,
    Bytes believed,
    Ticket shown,
    Connection* found,
    int64_t holds_ms,
) noexcept:
    """Where the row has the stamp that a connection repeats, -1 for nowhere: see `repeated_stamp`.

    The first stamp of the row is at `at`.
    """
    cdef Bytes highest = text_of(shown.build).at
    cdef Text by_address = text_of(shown.by_address)
    cdef Text source_ip = found.source_ip
    cdef Py_ssize_t repeated = -1
    cdef Py_ssize_t by_at, ip_at, end
    cdef Bytes build
    cdef bint is_same_ip, is_same_by
    cdef int _
    for _ in range(row[TEXTS_AT - 1]):
        by_at = at + STAMP_BYTES
        if by_at > size:
            return -1
        ip_at = by_at + row[by_at - 2]
        end = ip_at + row[by_at - 1]
        if end > size:
            return -1
        build = row + at + STAMP_BUILD_AT
        is_same_by = are_equal(by_address, row + by_at, ip_at - by_at)
        is_same_ip = are_equal(source_ip, row + ip_at, end - ip_at)
        if is_same_by and is_same_ip and memcmp(build, text_of(shown.build).at, BUILD_BYTES) == 0:
            repeated = at
        elif (
            update_of(build) > update_of(highest)
            and memcmp(build, highest, CU_LINE_BYTES) == 0
            and found.observed_at - number_at(row, at) < holds_ms
            and (is_same_ip or is_same_by or not by_address.size or by_at == ip_at)
        ):
            highest = build
        at = end
    return repeated if memcmp(highest, believed, BUILD_BYTES) == 0 else -1


cdef inline unsigned char* noted_on_that_day(Ticket known, Py_ssize_t which, int64_t at, int64_t starts_at) noexcept:
    """Where a moment of a mixed server is noted that lets one at `at` be routine, NULL where none does.

    See `may_be_routine_of_mixed`.
    """
    if PyByteArray_GET_SIZE(known.notes) != NOTES_BYTES:
        return NULL
    cdef unsigned char* note = <unsigned char*>PyByteArray_AS_STRING(known.notes) + which
    cdef int64_t noted_at = number_at(note, 0)
    return note if noted_at >= starts_at and noted_at >= 0 and noted_at // DAY_MS == at // DAY_MS else NULL


cdef inline bint has_mark(Bytes marks, Py_ssize_t size, Bytes mark) noexcept:
    cdef Py_ssize_t at
    for at in range(0, size, MARK_BYTES):
        if memcmp(marks + at, mark, MARK_BYTES) == 0:
            return True
    return False


cdef inline void add(unsigned char* row, Py_ssize_t at, int64_t more) noexcept:
    cdef int64_t count = number_at(row, at) + more
    set_number(row, at, count if count < MOST_COUNTED else MOST_COUNTED)


cdef int set_texts(bytearray packed, Py_ssize_t size, Text connector_id, Text source_ip) except -1:
    """Replace both texts of a row, which take `size` bytes together."""
    cdef Py_ssize_t end = TEXTS_AT + connector_id.size + source_ip.size
    cdef Py_ssize_t more = end - TEXTS_AT - size
    cdef Py_ssize_t row_size = PyByteArray_GET_SIZE(packed)
    cdef unsigned char* row
    if more > 0:
        PyByteArray_Resize(packed, row_size + more)
    row = <unsigned char*>PyByteArray_AS_STRING(packed)
    memmove(row + end, row + end - more, row_size - (end - more))
    if more < 0:
        PyByteArray_Resize(packed, row_size + more)
        row = <unsigned char*>PyByteArray_AS_STRING(packed)
    memcpy(row + TEXTS_AT, connector_id.at, connector_id.size)
    memcpy(row + TEXTS_AT + connector_id.size, source_ip.at, source_ip.size)
    row[LENGTHS_AT] = <unsigned char>(connector_id.size >> 8)
    row[LENGTHS_AT + 1] = <unsigned char>connector_id.size
    row[LENGTHS_AT + 2] = <unsigned char>(source_ip.size >> 8)
    row[LENGTHS_AT + 3] = <unsigned char>source_ip.size
    return 0


cdef class CountingKernel:
    """The kernel of one partition.

    `current` and `previous` begin the values that it reads, see `FastHeaders`. `change` is called with the key of a
    row and the row once it has changed in a unit, and says whether the unit is full. `issue` gives a topmost line
    without a good ticket a new one, see `RoutinePath`. `latest` is the latest moment that was counted (UTC
    milliseconds), `taken` how many were, `unknown` the topmost line of the connection that was left, if its ticket was
    not enough.
    """

    cdef bytes current, previous
    cdef object change, issue
    cdef int64_t[FINDINGS][OUTCOMES] counts
    cdef readonly int64_t latest, taken
    cdef readonly object unknown

    def __init__(self, bytes current, bytes previous, change, issue):
        self.current, self.previous, self.change, self.issue = current, previous, change, issue
        self.latest = self.taken = 0

    def count(
        self,
        list records,
        Py_ssize_t index,
        int64_t latest,
        int64_t starts_at,
        int64_t ends_at,
        int64_t holds_ms,
        dict lines,
    ):
        """Count routine connections from `records[index]` on; gives the index of the first that is left to others.

        Args:
            records: connections as they were fetched.
            index: the first one that is looked at.
            latest: none after this moment is counted.
            starts_at: when the policies in force began to be; this and all moments in UTC milliseconds.
            ends_at: when others will be in force.
            holds_ms: how long a stamp holds under them.
            lines: the topmost lines that are cached, see `HeaderCache`.
        """
        cdef Connection found
        cdef object record, key, value, text, line, header, ticket
        cdef Bytes at
        cdef Py_ssize_t size, end
        cdef bint has_refused_before
        cdef Answer answer
        self.unknown = None
        while index < PyList_GET_SIZE(records):
            record = <object>PyList_GET_ITEM(records, index)
            if type(record) is BatchRecord:
                key, value = (<BatchRecord>record).key, (<BatchRecord>record).value
            else:
                key, value = record.key, record.value
            if type(key) is not bytes or type(value) is not bytes:
                break
            at, size = <Bytes>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)
            if size < MOMENT_AT:
                break
            has_refused_before = begins_with(at, self.current)
            if not has_refused_before and not begins_with(at, self.previous):
                break
            if not read_connection(at, size, has_refused_before, &found):
                break
            if not EARLIEST_MS <= found.observed_at <= latest or not starts_at <= found.observed_at < ends_at:
                break
            if not are_equal(found.tenant_id, <Bytes>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key)):
                break
            end = date_at(found.lines[0])
            if end < 0 or end > MAX_CACHED_CHARS:
                break
            end += found.lines[0].at - at
            text = PyBytes_FromStringAndSize(<char*>at + TENANT_AT, end - TENANT_AT)
            header = lines.get(text)
            ticket = None if header is None else header.ticket
            if type(ticket) is not Ticket or not PyByteArray_GET_SIZE((<Ticket>ticket).packed):
                line = PyBytes_FromStringAndSize(<char*>found.lines[0].at, found.lines[0].size)
                header = self.issue(key, text, line, header)
                if header is None:
                    break
                ticket = header.ticket
            answer = self.take(<Ticket>ticket, &found, starts_at, holds_ms)
            if answer == LEFT:
                self.unknown = header
                break
            index += 1
            if answer == COUNTED_AND_FULL:
                break
        return index

    cdef Answer take(self, Ticket known, Connection* found, int64_t starts_at, int64_t holds_ms) except *:
        """Count one connection if it is routine; its conditions are those of `RoutinePath.count`."""
        cdef unsigned char* row = <unsigned char*>PyByteArray_AS_STRING(known.packed)
        cdef Py_ssize_t size = PyByteArray_GET_SIZE(known.packed)
        cdef int64_t at = found.observed_at
        cdef int64_t seen_at = number_at(row, LAST_SEEN_AT)
        cdef int64_t judged_at = number_at(row, JUDGED_AT)
        cdef bint is_late = at <= seen_at
        if not number_at(row, REPORTED_AT) < at < known.routine_until or judged_at < starts_at:
            return LEFT
        if found.connector != row[JUDGED_OVER_AT]:
            return LEFT
        if row[FLAGS_AT] & (HAS_BUILD | REPORT_DUE) != HAS_BUILD | REPORT_DUE:
            return LEFT
        if at == seen_at >= judged_at or seen_at < at < judged_at:
            return LEFT
        if not 1 <= found.event_id.size <= MAX_EVENT_ID_CHARS or found.connector_id.size > MAX_TEXT_CHARS:
            return LEFT
        cdef Py_ssize_t ip_at = TEXTS_AT + length_at(row, LENGTHS_AT)
        cdef Py_ssize_t marks_at = ip_at + length_at(row, LENGTHS_AT + 2)
        cdef Py_ssize_t marks_bytes = length_at(row, LENGTHS_AT + 4)
        cdef Py_ssize_t stamps_at = marks_at + marks_bytes
        if stamps_at > size or marks_bytes > MARKS_BYTES or marks_bytes % MARK_BYTES:
            return LEFT
        cdef bint is_same_ip = are_equal(found.source_ip, row + ip_at, marks_at - ip_at)
        cdef bint has_same_texts = is_same_ip and are_equal(found.connector_id, row + TEXTS_AT, ip_at - TEXTS_AT)
        cdef uint32_t id_sum = crc32(PyBytes_FromStringAndSize(<char*>found.event_id.at, found.event_id.size))
        cdef unsigned char[MARK_BYTES] mark
        # See `fingerprint`.
        set_number(mark, 0, (at >> 10 & 0xFFFFFFFF) << 32 | (at & 0x3FF) << 22 | (id_sum & 0x3FFFFF))
        if is_late and has_mark(row + marks_at, marks_bytes, mark):
            return LEFT
        cdef Py_ssize_t stamp_at = -1
        cdef unsigned char* noted = NULL
        cdef bint is_judged = at >= judged_at
        if is_judged:
            # As `RoutinePath` does: the build that is believed, one of the two of a mixed server, or one to ignore.
            stamp_at = stamp_of(row, size, stamps_at, row + BUILD_AT, known, found, holds_ms)
            if stamp_at >= 0:
                if row[FLAGS_AT] & MIXED:
                    noted = noted_on_that_day(known, REFUSED_NOTED_AT, at, starts_at)
                    if noted == NULL:
                        return LEFT
            else:
                if not known.is_enforced:
                    return LEFT
                if row[FLAGS_AT] & MIXED and known.accepted:
                    noted = noted_on_that_day(known, ACCEPTED_NOTED_AT, at, starts_at)
                    if noted != NULL:
                        stamp_at = stamp_of(row, size, stamps_at, text_of(known.accepted).at, known, found, holds_ms)
                if stamp_at < 0:
                    noted = NULL
                    is_judged = False
                    stamp_at = stamp_of(row, size, stamps_at, text_of(known.build).at, known, found, holds_ms)
                    if stamp_at < 0 or at // DAY_MS != known.ignored_on:
                        return LEFT
        elif not is_same_ip:
            return LEFT  # it may have another spelling than its own, which those of stamps have not
        cdef int index
        if known.is_from_itself:
            for index in range(1, found.line_count):
                if known.may_claim_higher_build(found.lines[index]):
                    return LEFT
        cdef int finding = row[FINDING_AT]
        if finding >= FINDINGS or found.outcome >= OUTCOMES:
            return LEFT

        # From here on it is counted.
        self.counts[finding][found.outcome if found.outcome >= 0 else OUTCOMES - 1] += 1
        self.counts[finding][REJECTED] += found.refused_before
        self.taken += 1
        if at > self.latest:
            self.latest = at
        add(row, CONNECTIONS_AT, 1 + found.refused_before)
        add(row, REJECTED_AT, (found.outcome == 2) + found.refused_before)
        if found.outcome == 0:
            add(row, ACCEPTED_AT, 1)
        elif found.outcome == 1:
            add(row, DEFERRED_AT, 1)
        if is_judged:
            set_number(row, JUDGED_AT, at)
        if noted != NULL:
            set_number(noted, 0, at)
        if not is_late:
            set_number(row, LAST_SEEN_AT, at)
            row[LAST_CONNECTOR_AT] = row[JUDGED_OVER_AT]
            if at > number_at(row, CLOCK_AT):
                set_number(row, CLOCK_AT, at)
        if at > number_at(row, EXCHANGE_SEEN_AT) or not is_late:
            set_number(row, EXCHANGE_SEEN_AT, at)
        if stamp_at >= 0 and (not is_late or at > number_at(row, stamp_at)):
            set_number(row, stamp_at, at)
        if marks_bytes == MARKS_BYTES:
            memmove(row + marks_at, row + marks_at + MARK_BYTES, MARKS_BYTES - MARK_BYTES)
            memcpy(row + stamps_at - MARK_BYTES, mark, MARK_BYTES)
        else:
            PyByteArray_Resize(known.packed, size + MARK_BYTES)
            row = <unsigned char*>PyByteArray_AS_STRING(known.packed)
            memmove(row + stamps_at + MARK_BYTES, row + stamps_at, size - stamps_at)
            memcpy(row + stamps_at, mark, MARK_BYTES)
            row[LENGTHS_AT + 4] = <unsigned char>((marks_bytes + MARK_BYTES) >> 8)
            row[LENGTHS_AT + 5] = <unsigned char>(marks_bytes + MARK_BYTES)
        if not is_late and not has_same_texts:
            set_texts(known.packed, marks_at - TEXTS_AT, found.connector_id, found.source_ip)
            row = <unsigned char*>PyByteArray_AS_STRING(known.packed)
        if row[0] != CHANGED and self.change(known.key, known.row):
            return COUNTED_AND_FULL
        return COUNTED

    def add_counts(self, list counts):
        """Add what was counted to `counts`, by number of finding, then of outcome; begins again."""
        cdef int finding, outcome
        for finding in range(FINDINGS):
            for outcome in range(OUTCOMES):
                if self.counts[finding][outcome]:
                    counts[finding][outcome] += self.counts[finding][outcome]
                    self.counts[finding][outcome] = 0
