"""Why a server stands where it does, in one sentence, and which vulnerabilities it still has."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple

from streams.domain.exchange.build import parse_build
from streams.domain.exchange.catalogue import Catalogue
from streams.domain.outputs.server_report import ServerStatus
from streams.domain.policy.judgement import Finding
from streams.texts.languages import Language
from streams.visible import visible


class Vulnerability(NamedTuple):
    """A vulnerability that a build has; `fixed_on` is when its fix came out, None where the catalogue has it not."""

    cve: str
    fixed_on: date | None
    is_known_exploited: bool


def why(language: Language, report: Mapping[str, Any]) -> str:
    """Why, from the fields of a server's report."""
    build = visible(report.get("build_name") or report.get("build") or "")
    required = ", ".join(report["recommended_build_versions"])
    if report["status"] == ServerStatus.MIXED:
        name = visible(report["server"])
        return language.say("One of the machines that call themselves %(server)s is out of date.", server=name)
    match report["finding"]:
        case Finding.COMPLIANT:
            return language.say("%(build)s is accepted.", build=build)
        case Finding.OUT_OF_DATE if required:
            return language.say(
                "%(build)s is out of date: at least build %(required)s is needed.", build=build, required=required
            )
        case Finding.OUT_OF_DATE:
            return language.say("%(build)s is out of date.", build=build)
        case Finding.UNSUPPORTED:
            return language.say("%(build)s is no longer accepted, with whatever update.", build=build)
        case Finding.NOT_EXCHANGE:
            return language.say("Its mail passes through a gateway, or is Exchange Online's; it is not judged.")
        case Finding.OUT_OF_SCOPE:
            return language.say("%(build)s is not judged under the policy in force.", build=build)
        case _:
            return language.say("None of its header lines tells a build; it is not judged.")


def vulnerabilities(report: Mapping[str, Any], catalogue: Catalogue) -> list[Vulnerability]:
    """What a server's build misses, known exploited ones first, then the newest."""
    fixes = {}
    if report.get("build"):
        fixes = {fix.cve: fix for fix in catalogue.missing_fixes(parse_build(report["build"]))}
    found = []
    for cve in report["cves"]:
        fix = fixes.get(cve)
        found.append(Vulnerability(cve, None if fix is None else fix.fixed_on, bool(fix and fix.is_known_exploited)))
    return sorted(found, key=lambda one: (one.is_known_exploited, one.fixed_on or date.min, one.cve), reverse=True)


def article_path(kb: str | None) -> str | None:
    """Where Microsoft describes an update; None for what is no number of an article."""
    digits = (kb or "").removeprefix("KB")
    is_number = kb is not None and kb.startswith("KB") and digits.isascii() and digits.isdigit()
    return f"https://support.microsoft.com/help/{digits}" if is_number else None
