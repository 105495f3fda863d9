"""Tokens of the provider (JWT, RFC 7519 and 8725), checked: who signed them, for whom, for which time."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any, Final

from joserfc.errors import ClaimError, ExpiredTokenError, JoseError, MissingClaimError, UnsupportedAlgorithmError
from joserfc.jwa import JWSAlgModel
from joserfc.jws import CompactSignature, JWSRegistry, extract_compact, validate_compact
from joserfc.jwt import JWTClaimsRegistry

from streams.report.access.keys import ProviderKeys

MOST_TOKEN_BYTES: Final = 16 << 10
SKEW_SECONDS: Final = 60
"""By how much the clocks of provider and report may differ."""
_MOST_KEY_ID_CHARS: Final = 256
_BRINGS_KEYS: Final = ("jwk", "jku", "x5c", "x5u")
"""By these a token would bring the key that it is checked by."""
_TYPES: Final = frozenset(("jwt", "at+jwt"))
"""Logout tokens and others are signed by the same keys, and have a type of their own (RFC 8725, section 3.11)."""


class TokenError(Exception):
    """A token that is refused; the message says why, and holds nothing of it."""


class TokenChecker:
    """Checks tokens of one issuer."""

    def __init__(
        self, issuer: str, algorithms: Collection[str], keys: ProviderKeys, clock_ms: Callable[[], int]
    ) -> None:
        """Nothing is fetched yet.

        Args:
            issuer: whose tokens are accepted.
            algorithms: by which they may be signed.
            keys: the issuer's.
            clock_ms: UTC milliseconds.
        """
        self._issuer, self._keys, self._clock_ms = issuer, keys, clock_ms
        self._registry = _PinnedAlgorithms(algorithms)

    async def check(self, token: str, audience: str) -> dict[str, Any]:
        """The claims of a token that was issued for an audience.

        Raises:
            TokenError: it is refused.
            FetchError: nothing is known of the issuer's keys.
        """
        if len(token) > MOST_TOKEN_BYTES:
            raise TokenError(f"it has more than {MOST_TOKEN_BYTES} bytes")
        try:
            signed = extract_compact(token.encode(), registry=self._registry)
            key_id, algorithm = self._named_key(signed.headers())
        except (JoseError, ValueError, RecursionError):
            raise TokenError("it is no signed JSON web token") from None
        key = await self._keys.find(key_id, algorithm)
        if key is None:
            raise TokenError("the issuer has no such key")
        return self._claims_of(signed, key, audience)

    def _named_key(self, header: dict[str, Any]) -> tuple[str, str]:
        """The id of the key that a token is signed by, and the algorithm; nothing in it is trusted yet."""
        algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
        if not isinstance(algorithm, str) or algorithm not in self._registry.pinned:
            raise TokenError("its algorithm is not allowed")
        if any(name in header for name in _BRINGS_KEYS):
            raise TokenError("it brings a key of its own")
        if "crit" in header or "b64" in header:
            raise TokenError("its header needs what is not supported")
        if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _TYPES:
            raise TokenError("it is a token for something else")
        if not isinstance(key_id, str) or not 1 <= len(key_id) <= _MOST_KEY_ID_CHARS:
            raise TokenError("it names no key")
        return key_id, self._registry.pinned[algorithm]

    def _claims_of(self, signed: CompactSignature, key: Any, audience: str) -> dict[str, Any]:
        try:
            if not validate_compact(signed, key, registry=self._registry):
                raise TokenError("its signature is wrong")
            claims = json.loads(signed.payload)
        except (JoseError, ValueError, RecursionError):
            raise TokenError("its signature or its content is malformed") from None
        if not isinstance(claims, dict) or "events" in claims:  # a logout token has events
            raise TokenError("it is a token for something else")
        rules = JWTClaimsRegistry(
            now=self._clock_ms() // 1000,
            leeway=SKEW_SECONDS,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": audience},
            sub={"essential": True},
            exp={"essential": True},
        )
        try:
            rules.validate({name: claims[name] for name in _CHECKED if name in claims})
        except ExpiredTokenError:
            raise TokenError("it has expired") from None
        except MissingClaimError as error:
            raise TokenError(f"it lacks {error.claim}") from None
        except ClaimError as error:
            raise TokenError(f"its {error.claim} is refused") from None
        return claims


_CHECKED: Final = ("iss", "aud", "sub", "exp", "nbf", "iat")


class _PinnedAlgorithms(JWSRegistry):
    """Only algorithms with a public key that the settings allow; `pinned` has their spellings in headers."""

    max_header_length = 2048

    def __init__(self, algorithms: Collection[str]) -> None:
        # Headers that nobody knows are to be ignored (RFC 7515, section 4); those that matter are refused by name.
        super().__init__(strict_check_header=False)
        self.pinned = {name: name for name in algorithms}
        if "EdDSA" in self.pinned:
            self.pinned["Ed25519"] = "EdDSA"  # RFC 9864

    def get_alg(self, name: str) -> JWSAlgModel:
        """The algorithm of this name; the base class would allow others where none is named."""
        if name not in self.pinned:
            raise UnsupportedAlgorithmError(name)
        return self.algorithms[name]
