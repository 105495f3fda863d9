"""The parts of the page on topics that are made from the code: `python -m streams.reference.page` writes them anew."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import orjson

from streams.domain.time import DAY_MS
from streams.kafka.topics import DEAD_LETTER_SUFFIX
from streams.reference.samples import REPOSITORY, schema_id, shortened
from streams.reference.topics import Topic, topics
from streams.settings.worker import Settings
from streams.wire.records import to_json
from streams.wire.schemas import SUBJECTS

PAGE: Final = REPOSITORY / "docs" / "reference" / "topics.md"
_PART = "<!-- {name}: made by python -m streams.reference.page -->\n{text}<!-- end -->\n"
_PARTS = re.compile(r"<!-- (\w+): made by .*? -->\n.*?<!-- end -->\n", re.DOTALL)


def page(text: str) -> str:
    """The page `text` with its made parts as the code has them now.

    Raises:
        ValueError: a part is missing, or there is one that nothing makes.
    """
    parts = {"table": _table, "topics": _sections}
    named = _PARTS.findall(text)
    if sorted(named) != sorted(parts):
        raise ValueError(f"the page has the parts {', '.join(named) or 'none'}: must be {', '.join(parts)}")
    made = {name: _PART.format(name=name, text="".join(f"{line}\n" for line in make())) for name, make in parts.items()}
    return _PARTS.sub(lambda found: made[found[1]], text)


def _table() -> Iterator[str]:
    yield "| topic | key | cleanup | partitions | written by | read by |"
    yield "|---|---|---|---|---|---|"
    for topic in topics():
        facts, link = topic.facts, _anchor(topic.name)
        key, cleanup = facts.key.partition(";")[0].removesuffix(", UTF-8"), _cleanup(topic)
        name = f"[`{_shown_name(topic)}`](#{link})"
        yield f"| {name} | {key} | {cleanup} | {_partitions(topic)} | {facts.writers} | {facts.readers} |"


def _sections() -> Iterator[str]:
    for topic in topics():
        facts = topic.facts
        yield f"### {_shown_name(topic)}"
        yield ""
        yield topic.says
        yield ""
        yield "| | |"
        yield "|---|---|"
        yield f"| key | {facts.key} |"
        yield f"| partition | {facts.placing} |"
        yield f"| partitions | {_partitions(topic)} |"
        if topic.schema is not None:
            subject = "" if topic.name.endswith(DEAD_LETTER_SUFFIX) else f", subject `{SUBJECTS[topic.schema]}`"
            yield f"| schema | [{topic.schema}](../../schemas/{topic.schema}.avsc){subject} |"
        yield f"| cleanup | {_cleanup(topic)} |"
        if topic.configs:
            shown = ", ".join(f"`{name}={value}`" for name, value in sorted(topic.configs.items()))
            yield f"| settings | {shown} |"
        yield f"| tombstone | {facts.tombstone} |"
        yield f"| order | {facts.order} |"
        yield f"| to tell a repetition | {facts.duplicates} |"
        yield f"| written by | {facts.writers} |"
        yield f"| read by | {facts.readers} |"
        yield ""
        yield from _shown_sample(topic)
        yield ""


def _shown_sample(topic: Topic) -> Iterator[str]:
    sample = topic.sample
    yield "```"
    yield f"key      {(sample.key or b'').decode()}"
    for name, content in sample.headers:
        yield f"header   {name}: {content.decode()}"
    if sample.value is not None:
        is_avro = topic.schema is not None
        if is_avro:
            header, size = sample.value[:5].hex(" "), len(sample.value) - 5
            yield f"value    {header}, which says schema {schema_id(sample)}, then {size} bytes of Avro:"
        else:
            yield f"value    {len(sample.value)} bytes of JSON:"
        # An operator's row is shown as it is; a moment in Avro is a number.
        record = to_json(shortened(sample.record)) if is_avro else sample.record
        yield orjson.dumps(record, option=orjson.OPT_INDENT_2).decode()
    yield "```"


def _shown_name(topic: Topic) -> str:
    settings = Settings()
    return topic.name.replace(settings.app_id, "TES_APP_ID", 1) if topic.name == settings.changelog else topic.name


def _anchor(name: str) -> str:
    settings = Settings()
    shown = name.replace(settings.app_id, "TES_APP_ID", 1) if name == settings.changelog else name
    return re.sub(r"[^\w\- ]", "", shown.lower())


def _partitions(topic: Topic) -> str:
    return "`TES_PARTITIONS`" if topic.partitions > 1 else "1"


def _cleanup(topic: Topic) -> str:
    if topic.is_compacted:
        return "compact"
    if "retention.ms" in topic.configs:
        return f"delete, after {int(topic.configs['retention.ms']) // DAY_MS} days"
    return "delete, as the broker has it"


def main(path: Path = PAGE) -> None:
    """Write the parts of the page anew."""
    path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
