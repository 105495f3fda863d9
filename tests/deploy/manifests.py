"""The Kubernetes manifests as kustomize renders them, and what they were rendered from.

Rendered manifests are committed, so that tests need no kustomize and a change shows what it changes; `scripts/k8s
render` writes them.
"""

from __future__ import annotations

import copy
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
SOURCES = REPOSITORY / "deploy" / "k8s"
CHART_SOURCE = REPOSITORY / "deploy" / "helm" / "source"
"""What the chart is made from beside the overlays; it is rendered as `chart`."""
RENDERED = Path(__file__).parent / "rendered"
DIGEST_FILE = RENDERED / "sources.sha256"
OVERLAYS = tuple(sorted(path.parent.name for path in SOURCES.glob("overlays/*/kustomization.yaml")))
WITH_EDGES = ("edge", "edge-sidecar")
WITH_WORKERS = tuple(name for name in OVERLAYS if name not in ("monitoring", "notify", "report", *WITH_EDGES))

_HASH = re.compile(r"-[bcdfghkmt2456789]{10}$")

Manifest = dict[str, Any]


def digest_of_sources() -> str:
    """A hash over everything that kustomize reads."""
    digest = hashlib.sha256()
    folders = (*(SOURCES / part for part in ("base", "components", "overlays")), CHART_SOURCE)
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(REPOSITORY)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def rendered(overlay: str) -> list[Manifest]:
    """The manifests of an overlay, in the order of kustomize."""
    return copy.deepcopy(_parsed(overlay))


@cache
def _parsed(overlay: str) -> list[Manifest]:
    return list(yaml.safe_load_all((RENDERED / f"{overlay}.yaml").read_text(encoding="utf-8")))


def without_hashes(manifests: list[Manifest]) -> list[Manifest]:
    """Manifests with the names of ConfigMaps as the sources have them, without the hash of their content."""
    names = [item["metadata"]["name"] for item in manifests if item["kind"] == "ConfigMap"]
    plain = {name: _HASH.sub("", name) for name in names}

    def renamed(content: Any) -> Any:
        if isinstance(content, dict):
            return {key: renamed(value) for key, value in content.items()}
        if isinstance(content, list):
            return [renamed(item) for item in content]
        return plain.get(content, content) if isinstance(content, str) else content

    return [renamed(item) for item in manifests]


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    """The manifests of one kind, by name."""
    return {item["metadata"]["name"]: item for item in manifests if item["kind"] == kind}


def only(manifests: list[Manifest], kind: str) -> Manifest:
    """The one manifest of its kind."""
    (found,) = of_kind(manifests, kind).values()
    return found


def pod_of(manifests: list[Manifest]) -> Manifest:
    """What the workers' pods are made of."""
    spec: Manifest = only(manifests, "StatefulSet")["spec"]["template"]["spec"]
    return spec


def all_pods_of(manifests: list[Manifest]) -> list[Manifest]:
    """Every kind of pod that the manifests make, the workers' first."""
    workloads = [item for kind in ("StatefulSet", "Job", "Deployment") for item in of_kind(manifests, kind).values()]
    return [item["spec"]["template"]["spec"] for item in workloads]


def environment_of(manifests: list[Manifest], pod_name: str = "tes-worker-0") -> dict[str, str]:
    """The environment of a worker's container, as the kubelet puts it together."""
    (container,) = pod_of(manifests)["containers"]
    found: dict[str, str] = {}
    for source in container["envFrom"]:
        found |= of_kind(manifests, "ConfigMap")[source["configMapRef"]["name"]]["data"]
    for variable in container["env"]:
        assert variable["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}, variable
        found[variable["name"]] = pod_name
    return found


def pod_of_template(workload: Manifest) -> Manifest:
    """The first pod of a workload, as its controller would make it."""
    template = copy.deepcopy(workload["spec"]["template"])
    name = f"{workload['metadata']['name']}-0"
    spec = template["spec"]
    if workload["kind"] == "StatefulSet":
        spec |= {"hostname": name, "subdomain": workload["spec"]["serviceName"]}
    for claim in workload["spec"].get("volumeClaimTemplates", ()):
        kind = claim["metadata"]["name"]
        spec["volumes"].append({"name": kind, "persistentVolumeClaim": {"claimName": f"{kind}-{name}"}})
    kept = {key: template["metadata"][key] for key in ("labels", "annotations") if key in template["metadata"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **kept}, "spec": spec}
