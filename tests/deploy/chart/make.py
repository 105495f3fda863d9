"""Makes the chart of the rendered manifests.

A field that values may change becomes an expression, and what stood there is the value's default. All else is in the
chart as kustomize renders it. A manifest that the chart does not know, or a component that changes more than is
expected of it, ends the run: nothing of `deploy/k8s` is silently missing.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from streams.kafka.topics import TOPICS
from tests.deploy.chart.template import Block, Inline, Present, Rest, Text, When, document
from tests.deploy.chart.values import FIXED, KINDS, VALUES, nested, plain_yaml, schema_text, values_text
from tests.deploy.manifests import REPOSITORY, Manifest, rendered, without_hashes

CHART: Final = REPOSITORY / "deploy" / "helm" / "tes"
VERSION: Final[str] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
BY_HAND: Final = ("templates/NOTES.txt", "templates/_helpers.tpl", "templates/checks.yaml")
LINKED: Final = ("files/dashboard.json", "files/rules.yaml")
"""Links to what the overlay `monitoring` is made of: their braces are not Helm's, so they are read as files."""
PRODUCTION: Final = "values-production.yaml"

_CHART: Final = f"""\
# Made by scripts/k8s render.
apiVersion: v2
name: tes
description: Protects everyone who receives mail from old, unpatched Exchange servers, step by step over 90 days.
type: application
version: {VERSION}
appVersion: {VERSION}
# That of the manifests.
kubeVersion: ">=1.29.0-0"
"""
_MADE: Final = "{{- /* Made by scripts/k8s render from deploy/k8s, where it is to be changed. */}}\n"
_NEW: Final[dict[str, Any]] = {
    "image.tag": "",
    "image.digest": "",
    "image.pullSecrets": [],
    "pvc.storageClass": "",
    "keda.authentication": "",
    "operator.settings": {},
    "monitoring.labels": {},
    **{
        f"{part}.{name}": empty
        for part in ("worker", "operator", "edge", "report", "notify")
        for name, empty in (("nodeSelector", {}), ("tolerations", []), ("affinity", {}))
    },
    **{path: path == "worker.enabled" for path in VALUES if path.endswith(".enabled")},
}
"""Values of which the manifests have nothing."""


class ChartError(ValueError):
    """The manifests are not those that the chart is made for."""


class _Objects:
    """The manifests of an overlay; each is taken once."""

    def __init__(self, overlay: str) -> None:
        self._overlay = overlay
        self._left = {(item["kind"], item["metadata"]["name"]): item for item in without_hashes(rendered(overlay))}

    def take(self, kind: str, name: str) -> Manifest:
        """Take one."""
        try:
            return self._left.pop((kind, name))
        except KeyError:
            raise ChartError(f"{self._overlay}: no {kind} {name}") from None

    def take_all(self, kind: str) -> list[Manifest]:
        """Take all of a kind."""
        return [self.take(*key) for key in list(self._left) if key[0] == kind]

    def end(self) -> None:
        """Refuse what was not taken."""
        if self._left:
            raise ChartError(f"{self._overlay}: the chart does not know {', '.join(map(' '.join, self._left))}")


class _Maker:
    """Puts expressions into manifests, and keeps what stood there as the defaults of values."""

    def __init__(self) -> None:
        self.defaults: dict[str, Any] = dict(_NEW)

    def value(self, path: str, default: Any) -> str:
        """The expression for a value; places that share it have to have the same default."""
        known = self.defaults.setdefault(path, copy.deepcopy(default))
        if known != default:
            raise ChartError(f"{path}: {default!r}: must be {known!r}, as it is elsewhere")
        return f".Values.{path}"

    def inline(self, tree: Any, *steps: str | int, path: str, as_: str = "{}") -> None:
        """Make a scalar an expression."""
        holder, key = _find(tree, steps)
        holder[key] = Inline(as_.format(self.value(path, holder[key])))

    def block(self, tree: Any, *steps: str | int, path: str) -> None:
        """Make a mapping or a list an expression."""
        holder, key = _find(tree, steps)
        holder[key] = Block(f"toYaml {self.value(path, holder[key])}")

    def rest(self, tree: Any, *steps: str | int, path: str) -> None:
        """Make all items of a list but the first an expression."""
        holder, key = _find(tree, steps)
        first, *others = holder[key]
        holder[key] = [first, Rest(self.value(path, others))]

    def settings(self, config: Manifest, part: str, path: str) -> str:
        """Make the data of a ConfigMap of settings an expression; returns the template that defines it."""
        fixed = {name: text for name, text in config["data"].items() if name in FIXED[part]}
        numbers = {item.metadata["variable"] for item in fields(KINDS[part]) if type(item.default) in (int, float)}
        own = {name: text for name, text in config["data"].items() if name not in fixed}
        used = self.value(path, {name: int(text) if name in numbers else text for name, text in own.items()})
        given = " ".join(f'"{name}" "{text}"' for name, text in sorted(fixed.items()))
        defined = f"tes.{path}"
        config["data"] = Block(f'include "{defined}" .')
        return (
            f'{{{{- define "{defined}" -}}}}\n'
            f'{{{{- include "tes.settings" (dict "settings" {used} "fixed" (dict{" " * bool(given)}{given})) }}}}\n'
            "{{- end }}\n"
        )

    def pod(self, workload: Manifest, part: str, *settings: str) -> dict[str, Any]:
        """What all pods have in common; returns the pod's spec. `settings` restart it."""
        template = workload["spec"]["template"]
        spec: dict[str, Any] = template["spec"]
        for container in spec["containers"]:
            if container["image"] != f"tes:{VERSION}":
                raise ChartError(f"{part}: {container['image']}: must be tes:{VERSION}")
            self.value("image.repository", "tes")
            container["image"] = Inline('include "tes.image" . | quote')
            self.inline(container, "imagePullPolicy", path="image.pullPolicy")
        if settings:
            included = " ".join(f'(include "tes.{path}" .)' for path in settings)
            digest = Inline(f"print {included} | sha256sum | quote")
            template["metadata"].setdefault("annotations", {})["checksum/settings"] = digest
        spec["imagePullSecrets"] = Present(".Values.image.pullSecrets")
        if f"{part}.nodeSelector" in VALUES:
            for name in ("nodeSelector", "tolerations", "affinity"):
                spec[name] = Present(f".Values.{part}.{name}")
        if "topologySpreadConstraints" in spec:
            self.block(spec, "topologySpreadConstraints", path=f"{part}.topologySpreadConstraints")
        return spec

    def secret(self, spec: dict[str, Any], volume: str, index: int, path: str) -> None:
        """Make the name of a projected secret an expression."""
        self.inline(
            spec, "volumes", volume, "projected", "sources", index, "secret", "name", path=path, as_="{} | quote"
        )

    def scaling(self, scaler: Manifest, part: str) -> Manifest:
        """Make the limits of an autoscaler expressions."""
        for field in ("minReplicas", "maxReplicas"):
            self.inline(scaler, "spec", field, path=f"{part}.{field}", as_="{} | int")
        self.inline(
            scaler,
            *("spec", "metrics", 0, "resource", "target", "averageUtilization"),
            path=f"{part}.cpuPercent",
            as_="{} | int",
        )
        return scaler


def _find(tree: Any, steps: tuple[str | int, ...]) -> tuple[Any, Any]:
    """The mapping or list that holds what the steps lead to, and its key there; items of lists have names."""
    *folders, last = steps
    for step in folders:
        tree = tree[_key(tree, step)]
    return tree, _key(tree, last)


def _key(tree: Any, step: str | int) -> Any:
    if isinstance(tree, list) and isinstance(step, str):
        return next(index for index, item in enumerate(tree) if item["name"] == step)
    return step


def make() -> dict[str, str]:
    """Every file of the chart that is made, by its path in the chart, with its text.

    Raises:
        ChartError: the manifests are not those that the chart is made for.
    """
    maker = _Maker()
    templates = {
        **_workers(maker),
        "edge": _edge(maker),
        "report": _served(maker, "report"),
        "notify": _served(maker, "notify"),
        "monitoring": _monitoring(),
    }
    if set(maker.defaults) != set(VALUES):
        raise ChartError(f"values without a default, or unused: {sorted(set(maker.defaults) ^ set(VALUES))}")
    return {
        "Chart.yaml": _CHART,
        "values.yaml": values_text(maker.defaults),
        "values.schema.json": schema_text(),
        PRODUCTION: _production(maker.defaults),
        **{f"templates/{name}.yaml": _MADE + text for name, text in templates.items()},
    }


def write() -> list[str]:
    """Write the files that are made; returns their paths in the chart."""
    files = make()
    for path, text in files.items():
        (CHART / path).parent.mkdir(parents=True, exist_ok=True)
        (CHART / path).write_text(text, encoding="utf-8")
    for path in set(files_of(CHART)) - {*files, *BY_HAND, *LINKED}:
        (CHART / path).unlink()
    return sorted(files)


def files_of(folder: Path) -> list[str]:
    """The files of a chart, by their paths in it."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _template(condition: str, *objects: Mapping[Any, Any]) -> str:
    return f"{{{{- if {condition} }}}}\n" + "---\n".join(map(document, objects)) + "{{- end }}\n"


def _workers(maker: _Maker) -> dict[str, str]:
    """What the base is, with what its components change of it."""
    base = _Objects("chart")
    config = base.take("ConfigMap", "tes-settings")
    defined = maker.settings(config, "worker", "worker.settings")
    dns, kafka, web = (base.take("NetworkPolicy", f"tes-{name}") for name in ("dns", "kafka", "web"))
    maker.block(dns, "spec", "egress", 0, "to", path="network.dns")
    maker.block(kafka, "spec", "egress", path="worker.egress")
    maker.block(web, "spec", "ingress", 0, "from", path="network.metrics")
    deny = base.take("NetworkPolicy", "tes-default-deny")
    others = [base.take(kind, "tes-worker") for kind in ("ServiceAccount", "Service", "PodDisruptionBudget")]
    worker = _worker(maker, base.take("StatefulSet", "tes-worker"))
    workers = (config, *others, worker, deny, dns, kafka, web)
    templates = {
        "worker": defined + _template(".Values.worker.enabled", *workers),
        "topics": _template(".Values.topics.enabled", _topics(maker, base.take("Job", "tes-topics"))),
        "operator": _template(".Values.operator.enabled", _operator(maker, base.take("Deployment", "tes-operator"))),
        "keda": _template(".Values.keda.enabled", _keda(maker)),
    }
    base.end()
    return templates


def _worker(maker: _Maker, workload: Manifest) -> Manifest:
    (with_keda,) = _Objects("keda").take_all("StatefulSet")
    (with_pvc,) = _Objects("pvc").take_all("StatefulSet")
    on_volume = copy.deepcopy(with_pvc["spec"])
    spec = workload["spec"]
    _expect_change("keda", spec, with_keda["spec"], {"replicas"})
    _expect_change("pvc", spec, on_volume, {"persistentVolumeClaimRetentionPolicy", "template", "volumeClaimTemplates"})
    (inner,), (outer,) = (one["template"]["spec"]["containers"] for one in (spec, on_volume))
    _expect_change("pvc", spec["template"]["spec"], on_volume["template"]["spec"], {"containers", "volumes"})
    _expect_change("pvc", inner, outer, {"resources"})
    fewer = {
        kind: {name: amount for name, amount in amounts.items() if inner["resources"][kind].get(name) != amount}
        for kind, amounts in outer["resources"].items()
    }

    pod = maker.pod(workload, "worker", "worker.settings")
    maker.inline(workload, "spec", "replicas", path="worker.replicas", as_="{} | int")
    spec["replicas"] = When("not .Values.keda.enabled", spec["replicas"])
    maker.value("worker.resources", inner["resources"])
    maker.value("pvc.resources", {kind: amounts for kind, amounts in fewer.items() if amounts})
    inner["resources"] = Block('include "tes.worker.resources" .')
    maker.secret(pod, "kafka-credentials", 0, "worker.secrets.kafka")
    maker.inline(pod, "volumes", "state", "emptyDir", "sizeLimit", path="worker.stateSize", as_="{} | quote")
    volumes = pod["volumes"]
    state = _key(volumes, "state")
    if [item for item in on_volume["template"]["spec"]["volumes"] if item["name"] == "state"]:
        raise ChartError("pvc: a volume state beside its claim")
    volumes[state] = When("not .Values.pvc.enabled", volumes[state])
    (claim,) = on_volume["volumeClaimTemplates"]
    maker.inline(claim, "spec", "resources", "requests", "storage", path="pvc.size", as_="{} | quote")
    maker.block(claim, "spec", "accessModes", path="pvc.accessModes")
    claim["spec"]["storageClassName"] = When(".Values.pvc.storageClass", Inline(".Values.pvc.storageClass | quote"))
    for name in ("persistentVolumeClaimRetentionPolicy", "volumeClaimTemplates"):
        spec[name] = When(".Values.pvc.enabled", on_volume[name])
    return workload


def _expect_change(component: str, before: Manifest, after: Manifest, names: set[str]) -> None:
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    if changed != names:
        raise ChartError(f"{component}: it changes {sorted(changed)}, and the chart knows of {sorted(names)}")


def _topics(maker: _Maker, job: Manifest) -> Manifest:
    job["metadata"]["name"] = Inline('include "tes.topics.name" .')
    pod = maker.pod(job, "topics")
    maker.block(pod, "containers", "topics", "resources", path="topics.resources")
    maker.secret(pod, "kafka-credentials", 0, "worker.secrets.kafka")
    for name in ("nodeSelector", "tolerations"):
        pod[name] = Present(f".Values.worker.{name}")
    return job


def _operator(maker: _Maker, workload: Manifest) -> Manifest:
    pod = maker.pod(workload, "operator", "worker.settings")
    container = pod["containers"][0]
    maker.block(container, "resources", path="operator.resources")
    container["env"] = When(".Values.operator.settings", Block('include "tes.env" .Values.operator.settings'))
    maker.secret(pod, "kafka-credentials", 0, "operator.secrets.kafka")
    return workload


def _keda(maker: _Maker) -> Manifest:
    (scaled,) = _Objects("keda").take_all("ScaledObject")
    for field in ("minReplica", "maxReplica"):
        maker.inline(scaled, "spec", f"{field}Count", path=f"keda.{field}s", as_="{} | int")
    (trigger,) = scaled["spec"]["triggers"]
    asked, settings, topic = trigger["metadata"], ".Values.worker.settings", TOPICS["inbound_connection"]
    maker.inline(asked, "lagThreshold", path="keda.lagThreshold", as_="{} | quote")
    told = maker.defaults["worker.settings"]
    for name, known, expression in (
        ("bootstrapServers", told["TES_KAFKA_BOOTSTRAP"], f"{settings}.TES_KAFKA_BOOTSTRAP"),
        ("consumerGroup", told["TES_APP_ID"], f"{settings}.TES_APP_ID"),
        ("topic", topic, f'print (default "" {settings}.TES_TOPIC_PREFIX) "{topic}"'),
    ):
        if asked[name] != known:
            raise ChartError(f"keda: {name}: {asked[name]!r}: must be {known!r}")
        asked[name] = Inline(f"{expression} | quote")
    reference = {"name": Inline(".Values.keda.authentication | quote")}
    trigger["authenticationRef"] = When(".Values.keda.authentication", reference)
    return scaled


def _edge(maker: _Maker) -> str:
    edge = _Objects("edge")
    settings, kafka, connectors = (
        edge.take("ConfigMap", f"tes-edge-{name}") for name in ("settings", "kafka", "connectors")
    )
    defined = maker.settings(settings, "edge", "edge.settings") + maker.settings(kafka, "edge", "edge.kafka")
    maker.inline(connectors, "data", "connectors.yaml", path="edge.connectors", as_="{} | quote")
    workload = edge.take("Deployment", "tes-edge")
    pod = maker.pod(workload, "edge", "edge.settings", "edge.kafka")
    maker.inline(workload, "spec", "replicas", path="edge.replicas", as_="{} | int")
    for name in ("door", "sync"):
        maker.block(pod, "containers", name, "resources", path=f"edge.{name}.resources")
    maker.inline(pod, "volumes", "edge", "emptyDir", "sizeLimit", path="edge.stateSize", as_="{} | quote")
    maker.secret(pod, "kafka-credentials", 0, "edge.secrets.kafka")
    policy = _policy(maker, edge.take("NetworkPolicy", "tes-edge"), "edge")
    others = [edge.take(kind, "tes-edge") for kind in ("Service", "PodDisruptionBudget")]
    edge.end()
    return defined + _template(".Values.edge.enabled", settings, kafka, connectors, *others, workload, policy)


def _served(maker: _Maker, part: str) -> str:
    """The report and the notices: several pods by their load, files of secrets, a database."""
    found = _Objects(part)
    config = found.take("ConfigMap", f"tes-{part}-settings")
    defined = maker.settings(config, part, f"{part}.settings")
    workload = found.take("Deployment", f"tes-{part}")
    pod = maker.pod(workload, part, f"{part}.settings")
    maker.block(pod, "containers", part, "resources", path=f"{part}.resources")
    maker.secret(pod, "kafka-credentials", 0, f"{part}.secrets.kafka")
    maker.secret(pod, f"{part}-secrets", 0, f"{part}.secrets.{part}")
    if part == "notify":
        maker.secret(pod, "notify-secrets", 1, "notify.secrets.optional")
    policy = _policy(maker, found.take("NetworkPolicy", f"tes-{part}"), part)
    scaler = maker.scaling(found.take("HorizontalPodAutoscaler", f"tes-{part}"), part)
    others = [*found.take_all("Service"), found.take("PodDisruptionBudget", f"tes-{part}")]
    found.end()
    return defined + _template(f".Values.{part}.enabled", config, *others, workload, scaler, policy)


def _policy(maker: _Maker, policy: Manifest, part: str) -> Manifest:
    *clients, _ = ingress = policy["spec"]["ingress"]
    if clients:
        maker.block(ingress, 0, "from", path=f"{part}.clients")
    maker.block(ingress, len(clients), "from", path="network.metrics")
    maker.block(policy, "spec", "egress", 0, "to", path="network.dns")
    maker.rest(policy, "spec", "egress", path=f"{part}.egress")
    return policy


def _monitoring() -> str:
    found = _Objects("monitoring")
    monitors = found.take_all("PodMonitor")
    rules, dashboard = found.take("PrometheusRule", "tes"), found.take("ConfigMap", "tes-dashboard")
    found.end()
    for item in (*monitors, rules):
        item["metadata"]["labels"] = {**item["metadata"]["labels"], Rest(".Values.monitoring.labels"): None}
    rules["spec"] = Block('toYaml (.Files.Get "files/rules.yaml" | fromYaml).spec')
    dashboard["data"] = {"dashboard.json": Text('.Files.Get "files/dashboard.json"')}
    return (
        _template(".Values.monitoring.podMonitors.enabled", *monitors)
        + "---\n"
        + _template(".Values.monitoring.rules.enabled", rules)
        + "---\n"
        + _template(".Values.monitoring.dashboard.enabled", dashboard)
    )


def _production(defaults: Mapping[str, Any]) -> str:
    """The values that give what the overlay `production` is, as an example."""
    maker = _Maker()
    found = _Objects("production")
    maker.settings(found.take("ConfigMap", "tes-settings"), "worker", "worker.settings")
    (workload,) = found.take_all("StatefulSet")
    maker.inline(workload, "spec", "replicas", path="worker.replicas")
    pod = maker.pod(workload, "worker")
    (claim,) = workload["spec"]["volumeClaimTemplates"]
    maker.inline(claim, "spec", "resources", "requests", "storage", path="pvc.size")
    resources = pod["containers"][0]["resources"]
    fewer = defaults["pvc.resources"]
    differing = {
        kind: {
            name: amount
            for name, amount in amounts.items()
            if name not in fewer.get(kind, {}) and defaults["worker.resources"][kind].get(name) != amount
        }
        for kind, amounts in resources.items()
    }
    changed: dict[str, Any] = {"worker.settings": {}, "worker.resources": differing, "pvc.enabled": True}
    known = defaults["worker.settings"]
    for name, value in maker.defaults["worker.settings"].items():
        if known.get(name) != value:
            changed["worker.settings"][name] = value
    for path in ("worker.replicas", "worker.topologySpreadConstraints", "pvc.size"):
        if maker.defaults[path] != defaults[path]:
            changed[path] = maker.defaults[path]
    return (
        "# Made by scripts/k8s render: what the overlay production is. Copy it, name your brokers, and give it to\n"
        "# helm install --values.\n" + plain_yaml(nested(dict(sorted(changed.items()))))
    )
