"""The ids of records."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from streams.domain.ids import stable_id

NAMESPACE = uuid.UUID("6f7d1a52-5d0b-5c62-9a54-0d6a6b2f4c11")


@given(st.text())
def test_an_id_is_the_uuid_of_its_name(name: str) -> None:
    assert stable_id(name) == str(uuid.uuid5(NAMESPACE, name))
