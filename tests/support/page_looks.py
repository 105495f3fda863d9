"""How a page looks in a browser, and whether everybody can use it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

_AXE = Path(__file__).parents[1] / "report" / "browser" / "axe" / "axe.min.js"
SCREENSHOTS = Path(os.environ["TES_CACHE_DIR"]) / "screenshots"
WIDTHS = (390, 820, 1280)


def shot(page: Page, *names: object) -> None:
    """Keep a picture of a page."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{'-'.join(map(str, names))}.png", full_page=True)


def flaws(page: Page) -> list[str]:
    """What axe finds serious, and where."""
    page.evaluate(_AXE.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = page.evaluate("axe.run().then((found) => found.violations)")
    return [
        f"{one['id']}: {node['html']}: {node['failureSummary']}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def sideways(page: Page) -> int:
    """By how many pixels a page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def focused(page: Page) -> dict[str, Any]:
    """What has the focus: its text, and whether one sees that it has it."""
    found: dict[str, Any] = page.evaluate(
        """() => { const one = document.activeElement, style = getComputedStyle(one);
        return {text: (one.textContent || one.id).trim(), tag: one.tagName, id: one.id,
                seen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
                dialog: !!one.closest('dialog')}; }"""
    )
    return found


def tab_to(page: Page, text: str, most: int = 80) -> None:
    """Press Tab until what says this has the focus; everything on the way shows that it has it."""
    for _ in range(most):
        page.keyboard.press("Tab")
        found = focused(page)
        assert found["seen"] or found["tag"] == "BODY", found
        if found["text"].startswith(text):
            return
    raise AssertionError(f"{text!r} cannot be reached by the keyboard")
