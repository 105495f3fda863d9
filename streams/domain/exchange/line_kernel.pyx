# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Reads the `Received` line that Exchange writes nearly always, with one plain IPv4 address beside each host.

It is an option. `parse_by_pattern` in `received` is the reference: what this reads, it reads the same way, and every
other line is left to it.
"""

from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.string cimport memcmp

from streams.domain.exchange.any_form import ReceivedLine
from streams.domain.exchange.build import parse_build
from streams.domain.exchange.names import is_of_host
from streams.domain.exchange.protocols import MAPI, SMTP

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)
    const char* PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

cdef object new_tuple = tuple.__new__

cdef enum:
    MOST_CHARS = 1024
    BUILD_NUMBERS = 4
    MOST_DIGITS = 9
    ZERO = 48


cdef struct Text:
    const char* at
    Py_ssize_t size


cdef struct Scan:
    const char* at
    const char* end


cdef inline bint is_digit(char char_) noexcept:
    return b"0" <= char_ <= b"9"


cdef inline bint is_letter(char char_) noexcept:
    return b"a" <= (char_ | 0x20) <= b"z"


cdef inline char lower(char char_) noexcept:
    return char_ | 0x20 if b"A" <= char_ <= b"Z" else char_


cdef inline bint take(Scan* scan, const char* text, Py_ssize_t size) noexcept:
    """Whether a text stands here; then goes on behind it."""
    if scan.end - scan.at < size or memcmp(scan.at, text, size) != 0:
        return False
    scan.at += size
    return True


cdef inline Text take_name(Scan* scan) noexcept:
    """Letters, digits, hyphens and dots."""
    cdef Text name
    name.at = scan.at
    while scan.at < scan.end and (
        is_letter(scan.at[0]) or is_digit(scan.at[0]) or scan.at[0] == b"-" or scan.at[0] == b"."
    ):
        scan.at += 1
    name.size = scan.at - name.at
    return name


cdef inline bint is_host(Text name) noexcept:
    """Whether a name has a dot, no empty label, and a letter at the beginning of the last one."""
    cdef Py_ssize_t index, label = 0
    for index in range(name.size):
        if name.at[index] == b".":
            if index == label:
                return False
            label = index + 1
    return 0 < label < name.size and is_letter(name.at[label])


cdef inline bint has_dot(Text name) noexcept:
    cdef Py_ssize_t index
    for index in range(name.size):
        if name.at[index] == b".":
            return True
    return False


cdef inline bint take_address(Scan* scan, Text* content) noexcept:
    """Whether ` (192.0.2.1)` or ` ([192.0.2.1])` stands here, canonical; `content` has no parentheses."""
    cdef int number, value, digits
    cdef bint has_brackets
    if not take(scan, b" (", 2):
        return False
    content.at = scan.at
    has_brackets = take(scan, b"[", 1)
    for number in range(4):
        if number and not take(scan, b".", 1):
            return False
        value = digits = 0
        while scan.at < scan.end and digits < 3 and is_digit(scan.at[0]):
            if digits and not value:
                return False
            value = 10 * value + (scan.at[0] - ZERO)
            digits += 1
            scan.at += 1
        if not digits or value > 255:
            return False
    if has_brackets and not take(scan, b"]", 1):
        return False
    content.size = scan.at - content.at
    return take(scan, b")", 1)


cdef inline bint take_comment(Scan* scan) noexcept:
    """Whether what may stand behind the protocol is no comment, or a plain one; goes on behind it."""
    if not take(scan, b" (", 2):
        return True
    while scan.at < scan.end and b" " <= scan.at[0] <= b"~" and scan.at[0] not in b'"();':
        scan.at += 1
    return take(scan, b")", 1)


cdef inline bint take_build(Scan* scan, Text* build) noexcept:
    """Whether four numbers stand here."""
    cdef int number, digits
    build.at = scan.at
    for number in range(BUILD_NUMBERS):
        if number and not take(scan, b".", 1):
            return False
        digits = 0
        while scan.at < scan.end and digits < MOST_DIGITS and is_digit(scan.at[0]):
            digits += 1
            scan.at += 1
        if not digits:
            return False
    build.size = scan.at - build.at
    return True


cdef inline const char* end_of_head(const char* line, Py_ssize_t size) noexcept:
    """Where a line's plain date begins, with its semicolon and blank; NULL where it has none."""
    cdef const char* at = line + size
    cdef char before
    while at > line:
        before = (at - 1)[0]
        if not (is_letter(before) or is_digit(before) or before in b",:+ -"):
            break
        at -= 1
    return at - 1 if line < at < line + size and (at - 1)[0] == b";" and at[0] == b" " else NULL


cdef inline bint is_same_name(Text name, Text host) noexcept:
    """Whether a name is a host's, in any case and with dots around it."""
    cdef Py_ssize_t index
    while name.size and name.at[0] == b".":
        name.at += 1
        name.size -= 1
    while name.size and name.at[name.size - 1] == b".":
        name.size -= 1
    if name.size != host.size:
        return False
    for index in range(name.size):
        if lower(name.at[index]) != lower(host.at[index]):
            return False
    return True


cdef inline str text_of(Text text):
    return PyUnicode_DecodeASCII(text.at, text.size, NULL)


cdef inline Text without_brackets(Text content) noexcept:
    if content.size and content.at[0] == b"[":
        content.at += 1
        content.size -= 2
    return content


def read_common_line(str line not None):
    """A line's parts as a `ReceivedLine`; None for one in any other form than the common one."""
    cdef Scan scan
    cdef Text name, shown, host, stated, build
    cdef char[MOST_CHARS] lowered
    cdef Py_ssize_t index
    if not PyUnicode_IS_ASCII(line) or PyUnicode_GET_LENGTH(line) > MOST_CHARS:
        return None
    scan.at = PyUnicode_DATA(line)
    scan.end = end_of_head(scan.at, PyUnicode_GET_LENGTH(line))
    if scan.end == NULL or not take(&scan, b"from ", 5):
        return None
    name = take_name(&scan)
    if not has_dot(name) or not take_address(&scan, &shown) or not take(&scan, b" by ", 4):
        return None
    host = take_name(&scan)
    if not is_host(host) or not take_address(&scan, &stated) or not take(&scan, b" with ", 6):
        return None
    protocol = SMTP
    if not take(&scan, b"Microsoft SMTP Server", 21):
        if not take(&scan, b"mapi", 4):
            return None
        protocol = MAPI
    if not take_comment(&scan) or not take(&scan, b" id ", 4) or not take_build(&scan, &build):
        return None
    if not take(&scan, b" via Frontend Transport", 23):
        take(&scan, b" via Mailbox Transport", 22)
    if scan.at != scan.end:
        return None
    for index in range(host.size):
        lowered[index] = lower(host.at[index])
    host_text = PyUnicode_DecodeASCII(lowered, host.size, NULL)
    by_address = text_of(without_brackets(stated))
    is_own = is_same_name(name, host) and is_of_host(text_of(without_brackets(shown)), by_address)
    return new_tuple(ReceivedLine, (host_text, by_address, protocol, parse_build(text_of(build)), is_own))
