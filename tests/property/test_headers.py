"""Any header value is parsed without an error, and notation never changes a build."""

from hypothesis import given
from hypothesis import strategies as st

from streams.domain.build import Build, parse_build
from streams.domain.headers import detect

NUMBER = st.integers(min_value=0, max_value=99_999)


@given(st.lists(st.text(max_size=400), max_size=12), st.text(max_size=300))
def test_any_text_gives_a_detection(received: list[str], helo: str) -> None:
    found = detect(received, helo, "192.0.2.1")
    assert 0 < len(found.server) <= 255


@given(NUMBER, NUMBER, NUMBER, NUMBER, st.integers(min_value=0, max_value=4))
def test_leading_zeros_mean_nothing(a: int, b: int, c: int, d: int, zeros: int) -> None:
    pad = "0" * zeros
    assert parse_build(f"{a}.{pad}{b}.{c}.{pad}{d}") == Build(a, b, c, d)
