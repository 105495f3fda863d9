# cython: language_level=3
"""The record of a plain batch, for what reads its fields without Python's attributes."""

from libc.stdint cimport int64_t


cdef class BatchRecord:
    cdef readonly object topic, partition, key, value
    cdef readonly int64_t offset, timestamp
    cdef readonly Py_ssize_t size
    cdef readonly int timestamp_type
