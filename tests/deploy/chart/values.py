"""The values of the chart: what each is for and what it may be; their defaults come from the manifests.

Settings are those of the product, so that a misspelt one is refused before anything is applied.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import yaml

from streams.settings.base import CheckedSettings
from streams.settings.edge import EdgeSettings
from streams.settings.notify import NotifySettings
from streams.settings.report import ReportSettings
from streams.settings.worker import Settings

Schema = dict[str, Any]

KINDS: Final[dict[str, type[CheckedSettings]]] = {
    "worker": Settings,
    "edge": EdgeSettings,
    "report": ReportSettings,
    "notify": NotifySettings,
}
"""The settings of each part."""
FIXED: Final = {
    "worker": ("TES_STATE_DIR", "TES_WEB_HOST", "TES_WEB_PORT"),
    "edge": (
        "TES_EDGE_ALLOW_REMOTE",
        "TES_EDGE_CONNECTORS",
        "TES_EDGE_DIR",
        "TES_EDGE_DOOR_PORT",
        "TES_EDGE_HTTP",
        "TES_EDGE_MILTER",
        "TES_EDGE_SYNC_PORT",
        "TES_EDGE_WEB_HOST",
    ),
    "report": (
        "TES_REPORT_API_HOST",
        "TES_REPORT_API_PORT",
        "TES_REPORT_DATABASE_FILE",
        "TES_REPORT_OIDC_CLIENT_SECRET_FILE",
        "TES_REPORT_PORT",
        "TES_REPORT_SESSION_KEY_FILE",
        "TES_REPORT_WEB_HOST",
    ),
    "notify": ("TES_NOTIFY_PORT", "TES_NOTIFY_WEB_HOST", "TES_REPORT_DATABASE_FILE"),
}
"""Settings that the pod decides: its ports, folders and mounted files. They are in the chart, not in its values."""
_LEFT_OUT: Final = {
    # The pod's name and the node's; what an embedded Kafka is made from; a socket that nobody else mounts.
    *("TES_INSTANCE_ID", "TES_EDGE_HOST", "TES_CACHE_DIR", "TES_EDGE_MILTER_MODE"),
    # SQLite in a folder that is gone with its pod, and a sign-in for loopback.
    *("TES_REPORT_DIR", "TES_REPORT_LOCAL_SIGN_IN"),
    # Tests and replays.
    *("TES_REPLAY_UNTIL", "TES_CRASH_AT", "TES_EDGE_CRASH_AT", "TES_REPORT_CRASH_AT", "TES_NOTIFY_CRASH_AT"),
}
"""Settings that make no sense in these pods. Those that are secrets are left out too: they come as files."""

_QUANTITY: Final = {
    "type": ["string", "number"],
    "minimum": 0,
    "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$",
}
_NAME: Final = {"type": "string", "maxLength": 253, "pattern": r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"}
_LINE: Final = 120
_FLAG: Final = {"type": "boolean"}
_TEXT: Final = {"type": "string"}
_MAPPING: Final = {"type": "object"}


def _object(properties: Mapping[str, Schema], required: Iterable[str] = ()) -> Schema:
    closed = {"type": "object", "additionalProperties": False, "properties": dict(properties)}
    return closed | ({"required": sorted(required)} if required else {})


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _count(least: int, most: int | None = None) -> Schema:
    return {"type": "integer", "minimum": least} | ({} if most is None else {"maximum": most})


_AMOUNTS: Final = {"type": "object", "additionalProperties": _QUANTITY}
_RESOURCES: Final = {"$ref": "#/definitions/resources"}
_PEERS: Final = {"$ref": "#/definitions/peers"}
_RULES: Final = {"$ref": "#/definitions/rules"}
_DEFINITIONS: Final = {
    "resources": _object({"requests": _AMOUNTS, "limits": _AMOUNTS}),
    "peers": _list(_object({"namespaceSelector": _MAPPING, "podSelector": _MAPPING, "ipBlock": _MAPPING})),
    "rules": _list(_object({"to": _PEERS, "ports": _list(_MAPPING)})),
}
"""What several values are."""


def settings_of(kind: type[CheckedSettings], part: str) -> dict[str, Schema]:
    """The settings that the values of a part may have, each with what it may be."""
    return {
        item.metadata["variable"]: {**_setting(item.default), "description": item.metadata["about"]}
        for item in sorted(fields(kind), key=lambda item: str(item.metadata["variable"]))
        if not item.metadata["is_secret"] and item.metadata["variable"] not in {*FIXED[part], *_LEFT_OUT}
    }


def shared_settings() -> dict[str, Schema]:
    """The settings that are the same in all parts that have them."""
    kinds: dict[str, list[Schema]] = {}
    for part, kind in KINDS.items():
        for name, schema in settings_of(kind, part).items():
            kinds.setdefault(name, []).append(schema)
    return {name: found[0] for name, found in sorted(kinds.items()) if len(found) > 1 and found[1:] == found[:-1]}


def _settings(part: str, names: Callable[[str], bool] = bool, *, required: Iterable[str] = ()) -> Schema:
    shared = shared_settings()
    return _object(
        {
            name: {"$ref": f"#/definitions/{name}"} if name in shared else schema
            for name, schema in settings_of(KINDS[part], part).items()
            if names(name)
        },
        required,
    )


def _is_of_both(name: str) -> bool:
    """Whether door and sync have a setting of the edge; the others are sync's."""
    return name.startswith("TES_EDGE_") or name == "TES_LOG_FORMAT"


def _setting(default: Any) -> Schema:
    if isinstance(default, bool):
        return {"enum": [True, False, 0, 1, "0", "1", "true", "false"]}
    if isinstance(default, int):
        return {"type": ["integer", "string"], "pattern": "^[0-9]+$"}
    if isinstance(default, float):
        return {"type": ["number", "string"], "pattern": r"^[0-9]+(\.[0-9]+)?$"}
    return _TEXT


@dataclass(frozen=True, slots=True)
class Value:
    """A value: what it is for, and the JSON Schema of what it may be."""

    about: str
    schema: Schema


def _pods(part: str, *, is_spread: bool = True) -> dict[str, Value]:
    """Where the pods of a part run."""
    spread = {"topologySpreadConstraints": Value("How pods are spread over nodes and zones.", _list(_MAPPING))}
    where = {
        **(spread if is_spread else {}),
        "nodeSelector": Value("Labels of the nodes that the pods may run on.", _MAPPING),
        "tolerations": Value("Taints of nodes that the pods tolerate.", _list(_MAPPING)),
        "affinity": Value("Affinity of the pods.", _MAPPING),
    }
    return {f"{part}.{name}": value for name, value in where.items()}


def _scaling(part: str) -> dict[str, Value]:
    """How many pods a part has that scales by itself."""
    return {
        f"{part}.minReplicas": Value("Fewest pods.", _count(1)),
        f"{part}.maxReplicas": Value("Most pods; each has up to 9 connections to PostgreSQL.", _count(1)),
        f"{part}.cpuPercent": Value(_METRIC, _count(1, 100)),
    }


def _secret(about: str) -> Value:
    return Value(f"Secret, made by you: {about}.", _NAME)


_KAFKA_FILES = "its keys become files in /run/secrets/kafka; it may be missing"
_METRIC = "Average CPU of the pods, in percent of what they request, by which their number is set."

VALUES: Final[dict[str, Value]] = {
    "image.repository": Value("Where the image is, without tag and digest.", {"type": "string", "minLength": 1}),
    "image.tag": Value(
        "Its tag; empty: the version of the chart.",
        {"type": "string", "pattern": "^([A-Za-z0-9_][A-Za-z0-9._-]{0,127})?$"},
    ),
    "image.digest": Value(
        "Its digest, sha256:…, in place of a tag.", {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"}
    ),
    "image.pullPolicy": Value(
        "When nodes pull it: Always, IfNotPresent or Never.", {"enum": ["Always", "IfNotPresent", "Never"]}
    ),
    "image.pullSecrets": Value(
        "Secrets for the registry, such as [{name: registry}].", _list(_object({"name": _NAME}))
    ),
    "network.dns": Value("Where DNS answers, as peers of a network policy.", _PEERS),
    "network.metrics": Value("Who may read the metrics, as peers of a network policy.", _PEERS),
    "worker.enabled": Value("The workers, which judge connections.", _FLAG),
    "worker.replicas": Value("How many; at most TES_PARTITIONS. KEDA sets the number where it is enabled.", _count(0)),
    "worker.settings": Value(
        "Settings; `tes config show` lists them all. Others restart the workers, one by one.",
        _settings("worker", required=("TES_KAFKA_BOOTSTRAP", "TES_APP_ID", "TES_PARTITIONS")),
    ),
    "worker.secrets.kafka": _secret(_KAFKA_FILES),
    "worker.resources": Value("What a worker may use; docs/how-to/capacity.md says how much it needs.", _RESOURCES),
    "worker.stateSize": Value("Size of the state's emptyDir; see pvc.", _QUANTITY),
    "worker.egress": Value("Where all pods may connect beside DNS: name your brokers here.", _RULES),
    **_pods("worker"),
    "pvc.enabled": Value(
        "The workers' state on volumes of their own. A running StatefulSet cannot be changed to it: uninstall first.",
        _FLAG,
    ),
    "pvc.size": Value("Size of each volume.", _QUANTITY),
    "pvc.storageClass": Value("Its class; empty: the cluster's default.", _TEXT),
    "pvc.accessModes": Value(
        "Its access modes.", {"type": "array", "minItems": 1, "items": {"enum": ["ReadWriteOncePod", "ReadWriteOnce"]}}
    ),
    "pvc.resources": Value("What replaces entries of worker.resources then.", _RESOURCES),
    "keda.enabled": Value("KEDA sets the number of workers by the lag of the connections.", _FLAG),
    "keda.minReplicas": Value("Fewest workers; never none: timers fire while no mail comes.", _count(1)),
    "keda.maxReplicas": Value("Most workers; at most TES_PARTITIONS.", _count(1)),
    "keda.lagThreshold": Value("Lag per worker that is worth another one.", {"type": "string", "pattern": "^[0-9]+$"}),
    "keda.authentication": Value(
        "Name of a TriggerAuthentication, if Kafka requires a user.",
        {"type": "string", "pattern": "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"},
    ),
    "topics.enabled": Value(
        "A Job that creates topics that are missing, again for each other image and setting.", _FLAG
    ),
    "topics.resources": Value("What it may use.", _RESOURCES),
    "operator.enabled": Value("A pod with the command line, the workers' settings and rights of its own.", _FLAG),
    "operator.settings": Value("Settings that differ from the workers', such as TES_KAFKA_USER.", _settings("worker")),
    "operator.secrets.kafka": _secret(_KAFKA_FILES),
    "operator.resources": Value("What it may use.", _RESOURCES),
    **_pods("operator", is_spread=False),
    "edge.enabled": Value("An edge with an HTTP door, http://tes-edge:8025, for MTAs of the cluster.", _FLAG),
    "edge.replicas": Value("How many.", _count(1)),
    "edge.settings": Value(
        "Settings of door and sync; `tes edge config` lists them all. Others restart the pods, one by one.",
        _settings("edge", _is_of_both),
    ),
    "edge.kafka": Value(
        "Settings of sync alone: the door has no business with Kafka.",
        _settings("edge", lambda name: not _is_of_both(name), required=("TES_KAFKA_BOOTSTRAP",)),
    ),
    "edge.connectors": Value(
        "Whose mail comes in, as `tes connectors check` accepts it; --set-file edge.connectors=FILE takes a file. "
        "The door reads changes without a restart.",
        _TEXT,
    ),
    "edge.secrets.kafka": _secret(_KAFKA_FILES),
    "edge.door.resources": Value("What the door may use.", _RESOURCES),
    "edge.sync.resources": Value("What sync may use.", _RESOURCES),
    "edge.stateSize": Value("Room for verdicts and for events that wait; more than TES_EDGE_SPOOL_BYTES.", _QUANTITY),
    "edge.clients": Value("MTAs that may ask the door, as peers of a network policy.", _PEERS),
    "edge.egress": Value("Where the edge may connect beside DNS: name your brokers here.", _RULES),
    **_pods("edge"),
    "report.enabled": Value("The report, http://tes-report:6070, for an ingress of yours that ends TLS.", _FLAG),
    **_scaling("report"),
    "report.settings": Value(
        "Settings; `tes report config` lists them all. Others restart the pods, one by one.",
        _settings("report", required=("TES_KAFKA_BOOTSTRAP",)),
    ),
    "report.secrets.kafka": _secret(_KAFKA_FILES),
    "report.secrets.report": _secret("its keys are database, client-secret and session-key"),
    "report.resources": Value("What a pod may use.", _RESOURCES),
    "report.clients": Value("The ingress controller, as peers of a network policy.", _PEERS),
    "report.egress": Value("Where the report may connect beside DNS: name yours here.", _RULES),
    **_pods("report"),
    "notify.enabled": Value("What tells people: mail, webhooks, chat.", _FLAG),
    **_scaling("notify"),
    "notify.settings": Value(
        "Settings; `tes notify config` lists them all. Others restart the pods, one by one.",
        _settings("notify", required=("TES_KAFKA_BOOTSTRAP",)),
    ),
    "notify.secrets.kafka": _secret(_KAFKA_FILES),
    "notify.secrets.notify": _secret("its key is database"),
    "notify.secrets.optional": _secret("its keys become files beside database; it may be missing"),
    "notify.resources": Value("What a pod may use.", _RESOURCES),
    "notify.egress": Value("Where pods may connect beside DNS: name yours here.", _RULES),
    **_pods("notify"),
    "monitoring.podMonitors.enabled": Value("PodMonitors for prometheus-operator.", _FLAG),
    "monitoring.rules.enabled": Value("Alerts for prometheus-operator.", _FLAG),
    "monitoring.dashboard.enabled": Value("A dashboard for Grafana's sidecar.", _FLAG),
    "monitoring.labels": Value(
        "Labels by which your Prometheus finds PodMonitors and alerts.",
        {"type": "object", "additionalProperties": _TEXT},
    ),
}


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Values by their dotted paths as a tree."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *folders, name = path.split(".")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[name] = value
    return tree


def schema_text() -> str:
    """`values.schema.json`: JSON Schema, of the draft that all versions of Helm read."""
    root = _of_tree(nested(VALUES))
    # What a chart gives all its dependencies; this one has nothing to do with it.
    root["properties"]["global"] = {"type": "object"}
    definitions = _DEFINITIONS | shared_settings()
    return _json({"$schema": "http://json-schema.org/draft-07/schema#", **root, "definitions": definitions}) + "\n"


def _json(content: Any, indent: str = "") -> str:
    """JSON; what fits into a line is one."""
    line = json.dumps(content, ensure_ascii=False)
    if not isinstance(content, dict | list) or len(indent) + len(line) <= _LINE:
        return line
    inner = indent + " "
    if isinstance(content, list):
        entries = [_json(item, inner) for item in content]
    else:
        entries = [f"{json.dumps(key)}: {_json(value, inner)}" for key, value in content.items()]
    opening, closing = "[]" if isinstance(content, list) else "{}"
    return f"{opening}\n{inner}" + f",\n{inner}".join(entries) + f"\n{indent}{closing}"


def _of_tree(tree: Mapping[str, Any]) -> Schema:
    properties = {
        name: {"description": node.about, **node.schema} if isinstance(node, Value) else _of_tree(node)
        for name, node in tree.items()
    }
    # A value that is set to null is one that is missing.
    return _object(properties, properties)


def values_text(defaults: Mapping[str, Any]) -> str:
    """`values.yaml`: every value with its default, and what it is for."""
    lines = [
        "# Values of the chart, with their defaults; made by scripts/k8s render. docs/how-to/helm.md shows their use."
    ]
    before: list[str] = []
    for path, value in VALUES.items():
        *folders, name = path.split(".")
        for depth, folder in enumerate(folders):
            if before[: depth + 1] != folders[: depth + 1]:
                lines += ([""] if depth == 0 else []) + [f"{'  ' * depth}{folder}:"]
                before = folders[: depth + 1]
        before = folders
        pad = "  " * len(folders)
        lines += textwrap.wrap(value.about, 110, initial_indent=f"{pad}# ", subsequent_indent=f"{pad}# ")
        lines += [f"{pad}{line}".rstrip() for line in plain_yaml({name: defaults[path]}).splitlines()]
    return "\n".join(lines) + "\n"


class _Dumper(yaml.SafeDumper):
    """YAML for people: text of several lines as it is, items of lists below their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def plain_yaml(content: Any) -> str:
    """YAML for people."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=1 << 20, allow_unicode=True)
