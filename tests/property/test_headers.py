"""Any header value is parsed without an error, and neither notation nor folds change a build."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.domain.exchange import addresses
from streams.domain.exchange.any_form import LINES_PARSED, ReceivedLine, parse_received_slow
from streams.domain.exchange.build import Build, parse_build
from streams.domain.exchange.detection import detect
from streams.domain.exchange.received import parse_received

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


_NAMES = [
    "b.example",
    "by",
    "with",
    "BY",
    "id",
    "EX01",
    "a.by.example",
    "[192.0.2.7]",
    "192.0.2.7",
    "x\x01y",
    "a;b",
    "pickup",
]
_COMMENTS = [
    "",
    " (192.0.2.7)",
    " ([fe80::1%7])",
    " (a by b.example with mapi id 1.2.3.4)",
    " (\x85 \t)",
    " ((a))",
    " (",
    " )",
]
_HOSTS = [
    "MX.example.org",
    "EX01",
    "mx.example.7",
    "192.0.2.7",
    "mx.example.org.",
    "a..b",
    "-.a",
    "mx:25",
    "pickup",
    "by.with",
]
_NUMBERS = ["15.1.2507.39", "15.01.2507.061", "15.1.2507", "1.2.3.4.5", "1234567890.1.2.3", "15.1.2507.39."]
_DATES = [
    "; Mon, 1 Dec 2025 10:00:00 +0000",
    "; by a.example with mapi id 9.9.9.9",
    "",
    ";",
    "; a (b)",
    "; a; b",
    ";\n",
]


@given(
    st.tuples(
        *(st.sampled_from([" ", " ", " ", "", "  ", "\r\n\t", " by ", " with "]) for _ in range(2)),
        st.sampled_from(_NAMES),
        st.sampled_from(_COMMENTS),
        st.sampled_from(_HOSTS),
        st.sampled_from(_COMMENTS),
        st.sampled_from(["Microsoft SMTP Server", "mapi", "MAPI", "mapix", "Microsoft SMTPSVC", "ESMTP"]),
        st.sampled_from(_COMMENTS),
        st.sampled_from(_NUMBERS),
        st.sampled_from(["", " via Frontend Transport", " via mapi id 9.9.9.9", " for <a@b.example>"]),
        st.sampled_from(_DATES),
    ),
    st.sampled_from([" ", "\n ", "\r\n\t", "\n \x01"]),
)
def test_the_common_form_is_read_as_any_other_form_is(parts: tuple[str, ...], fold: str) -> None:
    first, second, name, greeting, host, address, protocol, cipher, number, way, date = parts
    line = f"from{first}{name}{greeting} by{second}{host}{address} with {protocol}{cipher} id {number}{way}{date}"
    for text in (line, line.replace(" by", f"{fold}by").replace("; ", f";{fold}")):
        assert parse_received(text) == parse_received_slow(text)


@pytest.mark.parametrize("protocol", ["Microsoft SMTP Server", "mapi"])
def test_what_exchange_writes_has_the_common_form(protocol: str) -> None:
    line = LINE.format(protocol=protocol, build="15.01.2507.039")
    before = LINES_PARSED.of_other_form
    found = parse_received(line)
    assert LINES_PARSED.of_other_form == before
    assert (
        found
        == parse_received_slow(line)
        == ReceivedLine("mx.example.org", "fe80::1", protocol, Build(15, 1, 2507, 39))
    )
    # As an MTA hands it on.
    assert parse_received(line.replace(" by ", "\n by ").replace("; ", ";\r\n ")) == found
    assert LINES_PARSED.of_other_form == before + 1
    assert parse_received(line.replace(" by ", "  by ")) == found
    assert LINES_PARSED.of_other_form == before + 2


ADDRESS_TEXT = "192.0.2.1 10.0.0.300 fe80::1 ::ffff:192.0.2.1 2001:db8:: 1.2.3 %4 % %4:x :25 [ ] IPv6: x ab::cd"
ADDRESS_PARTS = st.sampled_from((*ADDRESS_TEXT.split(), " "))


@given(st.lists(ADDRESS_PARTS, max_size=5).map("".join))
@example("[fe80::1%4]")
@example("fe80::1%4:5")
def test_a_lone_address_is_read_as_any_comment_is(comment: str) -> None:
    assert addresses.addresses_in(comment) == addresses._read_addresses(comment)
