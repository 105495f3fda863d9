"""Reads facts from a checkout of CSS-Exchange: its health checker names builds and the vulnerabilities that they fix.

Only the forms that are written here are read. Anything else is an error with its file and line, never a fact that is
silently left out.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from streams.dev.catalogue.powershell_data import Call, CheckoutError, PowerShellData
from streams.domain.exchange.build import Build, Product, parse_build

BUILDS_FILE = "Shared/Get-ExchangeBuildVersionInformation.ps1"
CHECKS_FOLDER = "Diagnostics/HealthChecker/Analyzer/Security"
CHECKS_FILE = f"{CHECKS_FOLDER}/Invoke-AnalyzerSecurityCveCheck.ps1"

_IDENTIFIER = re.compile(r"\b(?:CVE-\d{4}-\d{4,}|ADV\d{6,})\b")
_ADDED = re.compile(r"\$cveAndOverrideCheckParamList\.Add\(")


class Checkout:
    """The files of one commit: of a git repository, with or without a work tree, or of a plain folder.

    Args:
        folder: the top of the repository or folder.
        commit, day: what a plain folder is; a repository says it itself.

    Raises:
        CheckoutError: it is no repository and nobody says what it is.
    """

    def __init__(self, folder: Path, commit: str | None = None, day: date | None = None) -> None:
        self._folder = folder
        self._is_repository = (folder / ".git").exists() or (folder / "HEAD").is_file()
        if self._is_repository:
            self.commit = self._git("rev-parse", "HEAD").strip()
            # The second last word of the committer's line is the moment; `git log` would run what its settings name.
            line = next(
                row for row in self._git("cat-file", "commit", "HEAD").splitlines() if row.startswith("committer ")
            )
            self.day = datetime.fromtimestamp(int(line.split()[-2]), UTC).date()
        elif commit and day:
            self.commit, self.day = commit, day
        else:
            raise CheckoutError(f"{folder}: is not a git repository: name its commit with --commit and --date")

    def _git(self, *arguments: str) -> str:
        command = ("git", "-C", str(self._folder), *arguments)
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)
        if done.returncode:
            raise CheckoutError(f"{self._folder}: git {arguments[0]}: {' '.join(done.stderr.split())[:300]}")
        return done.stdout

    def read(self, path: str) -> str:
        """The text of a file, without a byte order mark.

        Raises:
            CheckoutError: there is no such file.
        """
        try:
            if self._is_repository:
                return self._git("cat-file", "blob", f"HEAD:{path}").removeprefix("\ufeff")
            return (self._folder / path).read_text(encoding="utf-8-sig")
        except (CheckoutError, OSError, UnicodeDecodeError) as error:
            raise CheckoutError(f"{path}: cannot be read, so this is not a checkout of CSS-Exchange: {error}") from None

    def scripts(self, folder: str) -> list[str]:
        """The paths of the scripts in a folder, sorted."""
        if self._is_repository:
            names = self._git("ls-tree", "--name-only", "HEAD", f"{folder}/").splitlines()
        else:
            names = [f"{folder}/{file.name}" for file in (self._folder / folder).glob("*")]
        return sorted(name for name in names if name.endswith(".ps1"))


@dataclass(frozen=True, slots=True)
class NamedBuild:
    """A build of the health checker's list; `update` is empty for the CU itself, `CU23`, `RTM` is the `release`."""

    product: Product
    release: str
    update: str
    build: Build


@dataclass(frozen=True, slots=True)
class FixedBy:
    """A vulnerability, and the update (`Oct25SU`) that fixes it in a product."""

    vulnerability: str
    product: Product
    update: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What a checkout says. `named` has every vulnerability of the checks with the place that names it first."""

    commit: str
    day: date
    builds: tuple[NamedBuild, ...]
    cu_days: dict[tuple[Product, str], date]
    fixes: tuple[FixedBy, ...]
    named: dict[str, str] = field(repr=False)


def read_facts(checkout: Checkout) -> Facts:
    """Everything that the catalogue can take from a checkout.

    Raises:
        CheckoutError: a file is missing, or not in the form that is read here.
    """
    text = checkout.read(BUILDS_FILE)
    builds = tuple(_builds(text))
    cu_days = dict(_cu_days(text))
    for item in builds:
        if not item.update and (item.product, item.release) not in cu_days:
            raise CheckoutError(f"{BUILDS_FILE}: {item.product.value} {item.release}: has no release date")
    fixes = tuple(_fixes(checkout.read(CHECKS_FILE), builds))
    return Facts(checkout.commit, checkout.day, builds, cu_days, fixes, dict(_named(checkout)))


def _builds(text: str) -> Iterator[NamedBuild]:
    function = "function GetExchangeBuildDictionary"
    begin = _find(rf"{function}\b", text, BUILDS_FILE, function)
    start = _find(r"^[ \t]*(?=@\{[ \t]*$)", text, BUILDS_FILE, f"the table in {function}", begin)
    content = PowerShellData(BUILDS_FILE, text, start).expression()
    for name, lines in _entries(content, "a product with its CUs"):
        product = _product(name, BUILDS_FILE)
        for release, value in _entries(lines, f"the CUs of {name}"):
            match value:
                case Call("NewCUAndSUObject", [str(number)]):
                    updates: dict[str, object] = {}
                case Call("NewCUAndSUObject", [str(number), dict(updates)]):
                    pass
                case _:
                    raise CheckoutError(f"{BUILDS_FILE}: {name} {release}: expected NewCUAndSUObject with its builds")
            cu = _number(number, product, release)
            yield NamedBuild(product, release, "", cu)
            for update, su_number in updates.items():
                build = _number(su_number, product, f"{release} {update}")
                if build.cu_line != cu.cu_line:
                    raise CheckoutError(
                        f"{BUILDS_FILE}: {build}: {name} {release} {update}: is not of the line of {cu}"
                    )
                yield NamedBuild(product, release, update, build)  # some CUs came with the fixes of their month


def _number(text: object, product: Product, name: str) -> Build:
    try:
        build = parse_build(str(text))
    except ValueError as error:
        raise CheckoutError(f"{BUILDS_FILE}: {name}: {error}") from None
    if build.product is not product or build.update is None:
        raise CheckoutError(f"{BUILDS_FILE}: {build}: {name}: is not a four-part build of {product.value}")
    return build


def _cu_days(text: str) -> Iterator[tuple[tuple[Product, str], date]]:
    product, release = None, None
    for number, line in enumerate(text.splitlines(), 1):
        found = re.fullmatch(
            r'\s*\$(exchangeMajorVersion|cuLevel|cuReleaseDate) = ("[^"]*"|\[string\]::Empty)\s*', line
        )
        if found is None:
            if re.match(r"\s*\$cuReleaseDate\s*=", line):
                raise CheckoutError(f"{BUILDS_FILE}:{number}: {line.strip()[:80]}: expected a date as 12/31/2035")
            continue
        value = found[2].strip('"')
        if found[2].startswith("["):
            continue
        if found[1] == "exchangeMajorVersion":
            product, release = _product(value, f"{BUILDS_FILE}:{number}"), None
        elif found[1] == "cuLevel":
            release = value
        elif product is None or release is None:
            raise CheckoutError(f"{BUILDS_FILE}:{number}: {value}: expected the product and the CU before their date")
        else:
            try:
                yield (product, release), datetime.strptime(value, "%m/%d/%Y").replace(tzinfo=UTC).date()
            except ValueError:
                rule = "expected a date as 12/31/2035"
                raise CheckoutError(f"{BUILDS_FILE}:{number}: {value[:80]}: {rule}") from None
            release = None


def _fixes(text: str, builds: tuple[NamedBuild, ...]) -> Iterator[FixedBy]:
    start = _find(r"\$suNameDictionary = (?=@\{)", text, CHECKS_FILE, "$suNameDictionary = @{")
    reader = PowerShellData(CHECKS_FILE, text, start)
    for row in re.finditer(r"^[ \t]*\$(ex\w+)[ \t]*=[ \t]*(?=[@\"])", text[:start], re.MULTILINE):
        reader.names[row[1]] = PowerShellData(CHECKS_FILE, text, row.end()).expression()
    updates = {(item.product, item.update or item.release) for item in builds}
    names = {item.update for item in builds}
    for update, value in _entries(reader.expression(), "an update with its vulnerabilities"):
        if update not in names:
            raise CheckoutError(f"{CHECKS_FILE}: {update}: {BUILDS_FILE} has no such update")
        for vulnerabilities, products in _cve_entries(value, update):
            for vulnerability in vulnerabilities:
                for product in products:
                    yield FixedBy(_identifier(vulnerability), _product(product, CHECKS_FILE), update)
    for update, vulnerability in _overridable(text):
        having = [product for product in Product if (product, update) in updates]
        if not having:
            raise CheckoutError(f"{CHECKS_FILE}: {update}: {BUILDS_FILE} has no such update")
        for product in having:
            yield FixedBy(_identifier(vulnerability), product, update)


def _cve_entries(value: object, update: str) -> Iterator[tuple[list[str], list[str]]]:
    match value:
        case list():
            for item in value:
                yield from _cve_entries(item, update)
        case Call("NewCveEntry", [vulnerabilities, products]):
            yield _texts(vulnerabilities, update), _texts(products, update)
        case _:
            raise CheckoutError(f"{CHECKS_FILE}: {update}: expected NewCveEntry with vulnerabilities and products")


def _texts(value: object, about: str) -> list[str]:
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(item, str) for item in items):
        raise CheckoutError(f"{CHECKS_FILE}: {about}: expected one text or a list of texts")
    return [str(item) for item in items]


def _overridable(text: str) -> Iterator[tuple[str, str]]:
    """Vulnerabilities whose fix a setting can switch off: update and identifier of each."""
    starts = [row.end() for row in _ADDED.finditer(text)]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        part = text[start:end]
        update = re.findall(r'^\s*SUName\s*=\s*"([^"]*)"\s*$', part, re.MULTILINE)
        named = re.findall(r'^\s*CVEName\s*=\s*"([^"]*)"\s*$', part, re.MULTILINE)
        if len(update) != 1 or len(named) != 1:
            line = text.count("\n", 0, start) + 1
            raise CheckoutError(f"{CHECKS_FILE}:{line}: expected one SUName and one CVEName for each override")
        yield update[0], named[0]


def _named(checkout: Checkout) -> Iterator[tuple[str, str]]:
    known: set[str] = set()
    for path in checkout.scripts(CHECKS_FOLDER):
        for number, line in enumerate(checkout.read(path).splitlines(), 1):
            for name in _IDENTIFIER.findall(line):
                if name not in known:
                    known.add(name)
                    yield name, f"{path}:{number}"


def _identifier(text: str) -> str:
    if not _IDENTIFIER.fullmatch(text):
        raise CheckoutError(f"{CHECKS_FILE}: {text[:80]}: is neither a CVE id nor an advisory")
    return text


def _product(name: str, where: str) -> Product:
    found = next((item for item in Product if item.value == f"Exchange Server {name.removeprefix('Exchange')}"), None)
    if found is None or not name.startswith("Exchange"):
        raise CheckoutError(f"{where}: {name[:80]}: is not a known product")
    return found


def _find(pattern: str, text: str, path: str, name: str, start: int = 0) -> int:
    """Where the text after a pattern begins; `name` is what it finds, for the error."""
    found = re.compile(pattern, re.MULTILINE).search(text, start)
    if found is None:
        raise CheckoutError(f"{path}: {name}: is not in it")
    return found.end()


def _entries(value: object, expected: str) -> list[tuple[str, object]]:
    if not isinstance(value, dict):
        raise CheckoutError(f"{BUILDS_FILE}, {CHECKS_FILE}: expected {expected}")
    return list(value.items())
