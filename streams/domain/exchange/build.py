"""Exchange build numbers and the product that a number belongs to."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){2,3}")


class Product(StrEnum):
    """Generations of Exchange; the value is the name in the build catalogue."""

    EXCHANGE_2000 = "Exchange 2000 Server"
    EXCHANGE_2003 = "Exchange Server 2003"
    EXCHANGE_2007 = "Exchange Server 2007"
    EXCHANGE_2010 = "Exchange Server 2010"
    EXCHANGE_2013 = "Exchange Server 2013"
    EXCHANGE_2016 = "Exchange Server 2016"
    EXCHANGE_2019 = "Exchange Server 2019"
    EXCHANGE_SE = "Exchange Server SE"
    EXCHANGE_ONLINE = "Exchange Online"


JUDGED_PRODUCTS = tuple(product for product in Product if product is not Product.EXCHANGE_ONLINE)
"""Products that a policy decides about, oldest first: every policy names each of them."""

FIRST_SE_LINE = 2562
"""The first CU line of Exchange Server SE; 15.2 lines below it are Exchange Server 2019."""


FIRST_ONLINE_MINOR = 20
"""Exchange Online is 15.20 and, since May 2026, 15.21; products for own servers stay below."""


class Build(NamedTuple):
    """A build: `major.minor` name the product, `line` the CU, `update` the update inside that CU.

    `update` is None for a three-part number, which names a CU only. Builds order only inside one CU line
    (`cu_line`): an older CU with a recent update has a lower number than a newer CU without one.
    """

    major: int
    minor: int
    line: int
    update: int | None

    @property
    def cu_line(self) -> tuple[int, int, int]:
        """The CU line inside which updates compare."""
        return self[:3]

    @property
    def product(self) -> Product | None:
        """The product by the first parts, None where no product has such numbers."""
        match self.major, self.minor:
            case 6, 0:
                return Product.EXCHANGE_2000
            case 6, _:
                return Product.EXCHANGE_2003
            case 8, _:
                return Product.EXCHANGE_2007
            case 14, _:
                return Product.EXCHANGE_2010
            case 15, 0:
                return Product.EXCHANGE_2013
            case 15, 1:
                return Product.EXCHANGE_2016
            case 15, 2:
                return Product.EXCHANGE_SE if self.line >= FIRST_SE_LINE else Product.EXCHANGE_2019
            case 15, minor if minor >= FIRST_ONLINE_MINOR:
                return Product.EXCHANGE_ONLINE
            case _:
                return None

    def reaches(self, required: Build) -> bool:
        """Whether this build has at least the update of `required`; False in any other CU line.

        A three-part number proves the CU and no update inside it, so it counts as the lowest one.
        """
        return self.cu_line == required.cu_line and (self.update or 0) >= (required.update or 0)

    def __str__(self) -> str:
        return ".".join(str(part) for part in self if part is not None)


@lru_cache(1024)  # of a million servers there are some hundred builds
def parse_build(text: str) -> Build:
    """Read a build in either notation: `15.1.2507.39` and `15.01.2507.039` are the same build.

    Raises:
        ValueError: `text` is not three or four decimal numbers of at most nine digits.
    """
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"build {text[:64]!r}: expected three or four decimal numbers joined by dots")
    parts = [int(part) for part in text.split(".")]
    return Build(parts[0], parts[1], parts[2], parts[3] if len(parts) == 4 else None)
