"""The English sentences of notifications about a server."""

from __future__ import annotations

from streams.domain.outputs.notification import NotificationKind
from streams.domain.policy.judgement import Finding, Judgement
from streams.domain.server.effective import EffectiveEnforcement
from streams.domain.server.state import ServerEnforcement


def effect_sentence(throttle: int, block: int) -> str:
    """What happens to a server's mail at these rates, in minutes of each hour, as the end of a sentence."""
    if block >= 60:
        return "all its mail is blocked"
    parts = [f"throttled for {throttle}" if throttle else "", f"blocked for {block}" if block else ""]
    said = " and ".join(part for part in parts if part)
    return f"its mail is {said} minutes of every hour" if said else "its mail is accepted and the server is reported"


def wording(state: ServerEnforcement, effective: EffectiveEnforcement, kind: NotificationKind) -> tuple[str, str]:
    """Title and first sentences of a notification about the server itself."""
    effect = effect_sentence(effective.throttle_minutes_per_hour, effective.block_minutes_per_hour)
    match kind:
        case NotificationKind.SERVER_DETECTED:
            return f"Exchange server {state.server} is no longer accepted", f"{state.judgement.reason} Now {effect}."
        case NotificationKind.SERVER_REGRESSED:
            return (
                f"Exchange server {state.server} is vulnerable again",
                f"{state.judgement.reason} Enforcement resumes where it stopped: {effect}.",
            )
        case NotificationKind.SERVER_MIXED:
            return (
                f"Several machines share the name {state.server}, or its build alternates",
                f"Connections show build {state.build}, which is not accepted, and {state.accepted_build}, which is. "
                f"While both appear, an accepted build does not end enforcement: {effect}. "
                "Update every machine behind this name.",
            )
        case NotificationKind.STAGE_ENTERED:
            title = f"Exchange server {state.server} entered stage {state.displayed_stage}"
            return title, f"{state.judgement.reason} From now on {effect}."
        case NotificationKind.SERVER_RESOLVED:
            done = "is accepted again" if state.finding is Finding.COMPLIANT else "is no longer subject to enforcement"
            return (
                f"Exchange server {state.server} {done}",
                f"{state.judgement.reason} Its mail is neither throttled nor blocked.",
            )
        case NotificationKind.OVERRIDE_ENDED:
            return (
                f"Exchange server {state.server} is judged by its own build again",
                "The override has expired, or a higher build was seen.",
            )
        case _:
            return (
                f"Exchange server {state.server} has not been seen for a while",
                "It has stopped connecting. A relay in front of a server hides it but does not fix it.",
            )


def remedy_sentence(judged: Judgement) -> str:
    """The sentence that names the update to install."""
    if judged.remedy is None or not judged.finding.is_enforced:
        return ""
    return f" Install {judged.remedy.name}{f' ({judged.remedy.kb})' if judged.remedy.kb else ''}."
