"""Unfolds a `Received` line and takes out of it what holds no clause: comments, quotations, what brackets hold."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MAX_LINE_CHARS: Final = 8192
"""Of a line that are read."""
OPENING = re.compile(r"[()\"<]")
_REST_OF_QUOTED = re.compile(r"(?:[^\"\\]|\\.)*+\"")
_COMMENT_MARK = "\0"


class Clauses(NamedTuple):
    """A line without its comments, and these with where they stood; None where the parentheses do not balance."""

    text: str
    comments: list[tuple[int, str]] | None


def unfold(line: str) -> str:
    """One line with single blanks; NUL bytes and other controls count as blanks, as a fold does."""
    text = " ".join(line[:MAX_LINE_CHARS].split())
    if text.isprintable():
        return text
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def split_comments(text: str) -> Clauses:
    """Split comments off an unfolded line; where they do not balance, they hide nothing.

    What is quoted or stands in angle brackets is an address or a name that others chose, and holds no clause either.
    """
    marked, comments = _marked(text, with_comments=True)
    if comments is None:
        return Clauses(" " + " ".join(_marked(text, with_comments=False)[0].split()), None)
    parts: list[str] = []
    placed: list[tuple[int, str]] = []
    length = 1
    for index, piece in enumerate(marked.split(_COMMENT_MARK)):
        words = " ".join(piece.split())
        if words:
            length += len(words) + (1 if parts else 0)
            parts.append(words)
        if index < len(comments):
            placed.append((length, comments[index]))
    return Clauses(" " + " ".join(parts), placed)


def _marked(text: str, with_comments: bool) -> tuple[str, list[str] | None]:
    """`text` with a mark for each comment and without what is quoted; None in place of unbalanced comments."""
    kept: list[str] = []
    comments: list[str] = []
    depth = begin = at = 0
    can_quote = can_bracket = True
    while (found := OPENING.search(text, at)) is not None:
        start = found.start()
        at = start + 1
        sign = found[0]
        if sign in "()":
            if not with_comments:
                continue
            depth += 1 if sign == "(" else -1
            if depth < 0:
                return text, None
            if sign == "(" and depth == 1:
                kept.append(text[begin:start])
                begin = at
            elif depth == 0:
                comments.append(text[begin:start])
                kept.append(_COMMENT_MARK)
                begin = at
            continue
        end = -1
        if sign == '"' and can_quote and (not depth or text[start - 1 : start] == "<"):
            quoted = _REST_OF_QUOTED.match(text, at)
            can_quote = quoted is not None
            end = quoted.end() if quoted is not None else -1
        elif sign == "<" and not depth and can_bracket and text[at : at + 1] != '"':
            end = text.find(">", at) + 1
            can_bracket = end > 0
        if end <= 0:
            continue
        if not depth:
            kept.append(text[begin:start] + sign + ('"' if sign == '"' else ">"))
            begin = end
        at = end
    if depth:
        return text, None
    kept.append(text[begin:])
    return "".join(kept), comments
