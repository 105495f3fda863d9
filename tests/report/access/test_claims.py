"""From claims to a caller: whatever they hold, it is a bounded, visible somebody, or nobody."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.report.access.callers import AccessRole, Caller
from streams.report.access.claims import MOST_NAME_CHARS, NoAccessError, caller_of, find_claim

ISSUER = "https://id.example"
GOOD: dict[str, Any] = {"iss": ISSUER, "sub": "u-1", "tenant_id": "acme", "roles": "tenant-reader"}


def caller(**claims: Any) -> Caller:
    return caller_of({**GOOD, **claims}, "tenant_id", "roles")


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ("tenant-reader", AccessRole.TENANT_READER),
        ("operator", AccessRole.OPERATOR),
        (["tenant-reader", "tenant-admin"], AccessRole.TENANT_ADMIN),
        (["operator", "tenant-reader"], AccessRole.OPERATOR),
        (["other", 7, None, ["operator"], {"operator": 1}, "tenant-admin"], AccessRole.TENANT_ADMIN),
    ],
)
def test_the_highest_role_counts(roles: Any, expected: AccessRole) -> None:
    assert caller(roles=roles).role is expected


@pytest.mark.parametrize(
    "roles",
    [None, "", [], "Operator", "tenant-admin operator", "not operator", ["a,operator"], {"operator": True}, True, 1],
)
def test_what_names_no_role_gives_no_access(roles: Any) -> None:
    with pytest.raises(NoAccessError, match=r"^roles: "):
        caller(roles=roles)


def test_an_operators_tenant_is_not_looked_at() -> None:
    for tenant in ("acme", "*", "", None, ["x"]):
        assert caller(roles="operator", tenant_id=tenant).tenant is None


@pytest.mark.parametrize("subject", [None, "", 7, ["u"], "u" * 256])
def test_somebody_without_a_subject_is_nobody(subject: Any) -> None:
    with pytest.raises(NoAccessError, match=r"^sub: "):
        caller(sub=subject)


def test_a_subject_is_one_of_its_issuer() -> None:
    assert caller().subject == "https://id.example u-1"
    assert caller(iss="https://id2.example").subject != caller().subject


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"preferred_username": "ana", "email": "ana@acme.example"}, "ana"),
        ({"preferred_username": "  ", "email": "ana@acme.example"}, "ana@acme.example"),
        ({"email": "ana@acme.example", "email_verified": True}, "ana@acme.example"),
        ({"email": "boss@acme.example", "email_verified": False}, "u-1"),
        ({"email": "boss@acme.example", "email_verified": "false"}, "u-1"),
        ({"preferred_username": ["ana"], "email": 7}, "u-1"),
        ({"preferred_username": "Ana\n\t Ruiz"}, "Ana Ruiz"),
        ({"preferred_username": "ana\u202eadmin\x1b[31m"}, "ana\\u202eadmin\\x1b[31m"),
        ({"preferred_username": "José 田中"}, "José 田中"),
        ({"preferred_username": "n" * 5_000}, "n" * MOST_NAME_CHARS),
    ],
)
def test_a_name_is_one_that_people_know_made_visible(claims: dict[str, Any], name: str) -> None:
    assert caller(**claims).name == name


def test_a_claim_is_found_by_its_name_before_its_parts() -> None:
    claims = {"realm_access": {"roles": ["operator"], "deep": {"er": 1}}, "https://acme.example/roles": ["x"], "a.b": 2}
    assert find_claim(claims, "realm_access.roles") == ["operator"]
    assert find_claim(claims, "realm_access.deep.er") == 1
    assert find_claim(claims, "https://acme.example/roles") == ["x"]
    assert find_claim(claims, "a.b") == 2
    for missing in ("realm_access.none", "realm_access.roles.operator", "none", "none.none", ""):
        assert find_claim(claims, missing) is None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([*AccessRole, "acme", "*"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
CLAIMS = st.dictionaries(
    st.sampled_from(["sub", "tenant_id", "roles", "preferred_username", "email", "email_verified"]) | st.text(),
    ANYTHING,
)


@given(CLAIMS, st.booleans())
def test_any_claims_make_a_bounded_caller_or_none(claims: dict[str, Any], is_known: bool) -> None:
    full = {**claims, "iss": ISSUER} | ({"sub": "u-1"} if is_known else {})
    found = _caller_or_refusal(full)
    if isinstance(found, str):
        assert found.isprintable()
        assert len(found) < 300
        return
    assert found.subject == f"{ISSUER} {full['sub']}"
    assert found.name.isprintable()
    assert 1 <= len(found.name) <= MOST_NAME_CHARS
    granted = claims["roles"] if isinstance(claims["roles"], list) else [claims["roles"]]
    assert found.role in granted
    assert all(higher not in granted for higher in list(AccessRole)[list(AccessRole).index(found.role) + 1 :])
    if found.role is AccessRole.OPERATOR:
        assert found.tenant is None
    else:
        assert found.tenant == claims["tenant_id"]
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", found.tenant or "")


def _caller_or_refusal(claims: dict[str, Any]) -> Caller | str:
    try:
        return caller_of(claims, "tenant_id", "roles")
    except NoAccessError as error:
        return str(error)
