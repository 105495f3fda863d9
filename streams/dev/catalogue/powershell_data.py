"""Reads data that is written in PowerShell, without running any of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)|(?P<open>@\{|@\(|\()|(?P<close>[})])|"(?P<text>[^"$`\n]*)"|\$(?P<name>\w+)"""
    r"""|(?P<word>[A-Za-z]\w*)|(?P<sign>[=+,;])"""
)


class CheckoutError(ValueError):
    """A checkout that is not understood; the message has the file, where it can the line, the text, and the rule."""


@dataclass(frozen=True, slots=True)
class Call:
    """A function that is called in the data, with its arguments."""

    function: str
    arguments: list[object]


class PowerShellData:
    """Reads the expressions of PowerShell that hold the data: texts, lists, tables, calls, names, and `+`."""

    def __init__(self, path: str, text: str, start: int) -> None:
        self._path, self._text, self._at = path, text, start
        self.names: dict[str, object] = {}

    def expression(self) -> object:
        """A value, or several that `+` or commas join to a list."""
        value = self._term()
        while self._peek() in ("+", ","):
            sign = self._take()
            right = self._term()
            if sign == "+" or isinstance(right, list):
                value = [*_as_list(value), *_as_list(right)]
            else:
                value = [*_as_list(value), right]
        return value

    def _term(self) -> object:
        token = self._take()
        if token.startswith('"'):
            return token[1:]
        if token.startswith("$"):
            if token[1:] not in self.names:
                raise self._error(token, "names something that is unknown here")
            return self.names[token[1:]]
        if token == "@{":
            return self._table()
        if token in ("(", "@("):
            value = self.expression()
            self._expect(")")
            return value if token == "(" or isinstance(value, list) else [value]
        if token.isidentifier():
            return self._call(token)
        raise self._error(token, "expected a value")

    def _call(self, function: str) -> Call:
        arguments: list[object] = []
        while self._peek()[:1] in ('"', "$", "(", "@"):
            value = self._term()
            while self._peek() == ",":
                self._take()
                value = [*_as_list(value), self._term()]
            arguments.append(value)
        return Call(function, arguments)

    def _table(self) -> dict[str, object]:
        content: dict[str, object] = {}
        while self._peek() != "}":
            key = self._take()
            if not key.startswith('"'):
                raise self._error(key, "expected a name in quotes")
            if key[1:] in content:
                raise self._error(key, "is there twice")
            self._expect("=")
            content[key[1:]] = self.expression()
            if self._peek() == ";":
                self._take()
        self._expect("}")
        return content

    def _expect(self, wanted: str) -> None:
        token = self._take()
        if token != wanted:
            raise self._error(token, f"expected {wanted}")

    def _peek(self) -> str:
        at = self._at
        token = self._take()
        self._at = at
        return token

    def _take(self) -> str:
        while True:
            found = _TOKEN.match(self._text, self._at)
            if found is None:
                raise self._error(self._text[self._at : self._at + 1] or "the end", "is in no form that is read here")
            self._at = found.end()
            if found["space"] is None:
                break
        if found["text"] is not None:
            return f'"{found["text"]}'
        return found[0]

    def _error(self, token: str, rule: str) -> CheckoutError:
        line = self._text.count("\n", 0, self._at) + 1
        return CheckoutError(f"{self._path}:{line}: {token.lstrip(chr(34))[:80]}: {rule}")


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]
