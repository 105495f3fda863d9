"""Any header value is parsed without an error, and neither notation nor folds change a build."""

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


LINE = (
    "from b.example ([fe80::1%7]) by MX.example.org ([fe80::1%7]) with {protocol} (version=TLS1_2, cipher=X) id {build}"
    " via Frontend Transport; Mon, 1 Dec 2025 10:00:00 +0800"
)


@given(
    st.sampled_from(["Microsoft SMTP Server", "mapi", "ShadowRedundancy"]),
    NUMBER,
    st.lists(st.sampled_from([" ", "\r\n ", "\n\t", "\n  \t ", "\u00a0"]), min_size=30, max_size=30),
    st.booleans(),
)
def test_a_fold_at_any_blank_changes_nothing(protocol: str, update: int, folds: list[str], is_upper: bool) -> None:
    line = LINE.format(protocol=protocol, build=f"15.01.2507.{update:03}")
    words = line.split(" ")
    folded = "".join(word + fold for word, fold in zip(words, folds, strict=False))
    found = detect([folded.upper() if is_upper else folded], "", "192.0.2.1")
    assert (found.server, found.protocol) == ("mx.example.org", protocol)
    assert found.build == Build(15, 1, 2507, update)
