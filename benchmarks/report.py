"""The result of a race as a Markdown table and as JSON; medians over the rounds, what was wrong in plain words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

from benchmarks.race import Figures

DISTURBED_SHARE = 0.15
"""A run is called disturbed when other processes used more than this of one core."""
_COLUMNS = (
    "engine",
    "result",
    "events/s (least to most)",
    "engine µs/event",
    "broker µs/event",
    "first 10 s: events/s",
    "µs/event",
    "steady: events/s",
    "µs/event",
    "RSS MiB",
    "runs, disturbed",
)


def is_disturbed(run: Figures) -> bool:
    """Whether something else ran beside it."""
    return run.others_share > DISTURBED_SHARE


def verdict_on(runs: Iterable[Figures]) -> str:
    """What the check says about an engine, over all its runs."""
    failures = [f"FAILED: {run.failure}" for run in runs if run.failure]
    wrong = ["WRONG: " + ", ".join(run.wrong) for run in runs if run.wrong]
    if failures or wrong:
        return "; ".join(dict.fromkeys(" ".join(text.split())[:200].replace("|", "/") for text in failures + wrong))
    return "not checked" if all(run.wrong is None for run in runs) else "equal"


def _middle(runs: list[Figures], value: Callable[[Figures], float | None], digits: int) -> str:
    values = [found for run in runs if (found := value(run)) is not None]
    return f"{median(values):,.{digits}f}" if values else "-"


def row_of(name: str, runs: list[Figures]) -> list[str]:
    """One engine's row; medians are over its undisturbed runs where there are any."""
    done = [run for run in runs if not run.failure]
    quiet = [run for run in done if not is_disturbed(run)]
    counted = quiet or done
    rates = [run.events_per_second for run in counted]
    spread = f" ({min(rates):,} to {max(rates):,})" if len(rates) > 1 else ""
    if not counted:
        return [name, verdict_on(runs), *["-"] * (len(_COLUMNS) - 3), f"{len(runs)}, 0"]
    return [
        name,
        verdict_on(runs),
        _middle(counted, lambda run: run.events_per_second, 0) + spread,
        _middle(counted, lambda run: run.engine_us, 1),
        _middle(counted, lambda run: run.broker_us, 1),
        _middle(counted, lambda run: run.first_events_per_second, 0),
        _middle(counted, lambda run: run.first_us, 1),
        _middle(counted, lambda run: run.steady_events_per_second, 0),
        _middle(counted, lambda run: run.steady_us, 1),
        _middle(counted, lambda run: run.peak_rss_mib, 0),
        f"{len(runs)}, {len(done) - len(quiet)}",
    ]


def table(runs: list[Figures]) -> str:
    """The runs as a Markdown table, engines in the order in which they first ran."""
    rows = [list(_COLUMNS), ["---"] * len(_COLUMNS)]
    for name in dict.fromkeys(run.engine for run in runs):
        rows.append(row_of(name, [run for run in runs if run.engine == name]))
    return "".join("| " + " | ".join(cells) + " |\n" for cells in rows)


def document(about: dict[str, Any], races: dict[int, list[Figures]]) -> str:
    """The whole report; `races` holds the runs by the length of their feed."""
    machine = about["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    text = (
        f"# The race of {about['date']}\n\n"
        f"`{about['command']}` at {machine['commit']}: {machine['cores']} cores of {machine['cpu']}, "
        f"{machine['memory_gib']} GiB, Linux {machine['kernel']}; broker, engine and measurement on the same cores.\n"
        f"{versions}.\n\nWhat the columns mean: [README.md](README.md).\n"
    )
    for events, runs in races.items():
        text += f"\n## {events:,} connections of {about['servers']:,} servers\n\n{table(runs)}"
        short = {run.engine: run.events for run in runs if run.events != events}
        text += "".join(f"\n{name} ran over the first {count:,} of them.\n" for name, count in short.items())
    return text
