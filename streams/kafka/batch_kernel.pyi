class BatchRecord:
    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: tuple[()]
    size: int
    checksum: None
    serialized_key_size: int
    serialized_value_size: int

def read_batch(topic: str, partition: int, data: bytes, begin: int, end: int) -> list[BatchRecord] | None: ...
