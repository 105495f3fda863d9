"""The provider's public keys, fetched when needed and kept.

A token with an unknown key id causes one fetch in 30 seconds at most, whoever sends such tokens and however many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from streams.report.access.fetched import Fetched
from streams.report.access.provider import Provider

FRESH_SECONDS: Final = 600.0
"""A key that the provider withdraws is trusted so long at most, while the provider answers."""
STALE_SECONDS: Final = 24 * 3600.0
"""While it does not answer, keys are trusted so long at most."""
COOL_DOWN_SECONDS: Final = 30.0
"""Between two fetches that unknown key ids cause."""
UNKNOWN_SECONDS: Final = 120.0
"""How long a key id that a fetch did not find causes no other fetch."""
MOST_UNKNOWN: Final = 1_000
MOST_KEYS: Final = 100
LEAST_RSA_BITS: Final = 2048

_KIND_OF: Final[Mapping[str, tuple[type[Key], str | None]]] = {
    "RS256": (RSAKey, None),
    "PS256": (RSAKey, None),
    "ES256": (ECKey, "P-256"),
    "EdDSA": (OKPKey, "Ed25519"),
}
"""For each algorithm: the kind of its keys, and their curve."""
_KINDS: Final[Mapping[str, type[Key]]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
"""Symmetric keys (`oct`) are none: a public key must never become one."""

KeySet = Mapping[str, tuple[Key, ...]]
"""Keys by their ids; an id may have keys of several kinds (RFC 7517, section 4.5)."""


def read_keys(document: Mapping[str, Any]) -> KeySet:
    """The keys of a key set that can check signatures; others are passed over, as RFC 7517 asks for in section 5."""
    found: dict[str, tuple[Key, ...]] = {}
    entries = document.get("keys")
    for entry in entries[:MOST_KEYS] if isinstance(entries, list) else ():
        key = _read_key(entry) if isinstance(entry, dict) else None
        if key is not None:
            found[entry["kid"]] = (*found.get(entry["kid"], ()), key)
    return found


def _read_key(entry: dict[str, Any]) -> Key | None:
    kind, name, operations = _KINDS.get(str(entry.get("kty"))), entry.get("kid"), entry.get("key_ops", ["verify"])
    if kind is None or not isinstance(name, str) or not name or entry.get("use", "sig") != "sig":
        return None
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        key = kind.import_key(entry)
        bits = getattr(key.public_key, "key_size", LEAST_RSA_BITS)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return None if kind is RSAKey and bits < LEAST_RSA_BITS else key


class ProviderKeys:
    """Finds the key that a token names."""

    def __init__(self, provider: Provider, clock: Callable[[], float]) -> None:
        """Nothing is fetched yet; `clock` gives seconds that never go back."""
        self._provider, self._clock = provider, clock
        self._keys = Fetched(self._fetch, clock, FRESH_SECONDS, STALE_SECONDS)
        self._unknown: dict[str, float] = {}

    async def find(self, key_id: str, algorithm: str) -> Key | None:
        """The key of this id for signatures by an algorithm; None where there is none.

        Raises:
            FetchError: nothing is known of the provider's keys.
        """
        keys = await self._keys.get()
        if key_id not in keys and self._clock() >= self._unknown.get(key_id, float("-inf")):
            is_new = await self._keys.renew(COOL_DOWN_SECONDS)
            keys = await self._keys.get()
            if is_new and key_id not in keys:
                self._note_unknown(key_id)
        return next((key for key in keys.get(key_id, ()) if _fits(key, algorithm)), None)

    async def close(self) -> None:
        """End a fetch that is under way."""
        await self._keys.close()

    async def _fetch(self) -> KeySet:
        return read_keys(await self._provider.fetch_keys())

    def _note_unknown(self, key_id: str) -> None:
        if len(self._unknown) >= MOST_UNKNOWN:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[key_id] = self._clock() + UNKNOWN_SECONDS


def _fits(key: Key, algorithm: str) -> bool:
    kind, curve = _KIND_OF[algorithm]
    return (
        isinstance(key, kind)
        and (curve is None or key.get("crv") == curve)
        and key.get("alg", algorithm) in (algorithm, "Ed25519" if algorithm == "EdDSA" else algorithm)
    )
