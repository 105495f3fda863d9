"""What a page says was done before it was opened; an address alone does nothing."""

from __future__ import annotations

from enum import StrEnum

from streams.texts.languages import Language


class Done(StrEnum):
    """What was done about a destination or a subscription."""

    MADE = "made"
    CHANGED = "changed"
    ASKED = "asked"
    UNPARKED = "unparked"
    REMOVED = "removed"
    SUBSCRIBED = "subscribed"
    SUBSCRIPTION_CHANGED = "subscription-changed"
    ENDED = "ended"


def done_sentence(language: Language, done: str | None) -> str | None:
    """What was done; None where nothing known was."""
    match done:
        case Done.MADE:
            return language.say("The destination was made. It is asked whether it wants to be told.")
        case Done.CHANGED:
            return language.say("The destination was changed.")
        case Done.ASKED:
            return language.say("It is asked once more whether it wants to be told.")
        case Done.UNPARKED:
            return language.say("The destination is in use again. What waited goes now, together.")
        case Done.REMOVED:
            return language.say("The destination was removed. Nothing is sent there any more.")
        case Done.SUBSCRIBED:
            return language.say("The subscription was made. It begins now.")
        case Done.SUBSCRIPTION_CHANGED:
            return language.say("The subscription was changed.")
        case Done.ENDED:
            return language.say("The subscription was ended.")
        case _:
            return None
