"""The chart under a real helm: what it renders is what kustomize renders, wrong values are refused, and a release is
installed, upgraded, rolled back and uninstalled on a real API server.

What may differ between the two: names of ConfigMaps carry no hash, and the pods have its like in the annotation
`checksum/settings`; the Job of the topics has a hash in its name. Helm labels what it applies as its own.
"""

from __future__ import annotations

import importlib.util
import json
import re
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tests.deploy.apiserver import ApiServer
from tests.deploy.chart.make import CHART, PRODUCTION
from tests.deploy.manifests import CHART_SOURCE, REPOSITORY, SOURCES, Manifest, without_hashes
from tests.deploy.tools import ToolError, run, tool

ALONE: Final = "worker.enabled=false"
MONITORING: Final = tuple(f"monitoring.{name}.enabled=true" for name in ("podMonitors", "rules", "dashboard"))
PARTS: Final = ("edge", "report", "notify", "operator", "topics", "keda", "pvc")
EVERYTHING: Final = (*(f"{part}.enabled=true" for part in PARTS), *MONITORING)
OVERLAYS: Final = SOURCES / "overlays"
SAME_AS: Final[Mapping[str, tuple[tuple[str, ...], Path]]] = {
    "defaults": ((), SOURCES / "base"),
    "topics, operator": (("topics.enabled=true", "operator.enabled=true"), CHART_SOURCE),
    "pvc": (("pvc.enabled=true",), OVERLAYS / "pvc"),
    "keda": (("keda.enabled=true",), OVERLAYS / "keda"),
    **{part: ((ALONE, f"{part}.enabled=true"), OVERLAYS / part) for part in ("edge", "report", "notify")},
    "monitoring": ((ALONE, *MONITORING), OVERLAYS / "monitoring"),
    "production": ((), OVERLAYS / "production"),
}
"""For each choice of values the kustomization that it stands for."""
REFUSED: Final = (
    (("worker.replicas=many",), r"/worker/replicas'?: got string, want integer"),
    (("worker.replicas=null",), r"missing property 'replicas'"),
    (("worker.replica=3",), r"additional properties 'replica' not allowed"),
    (("worker.settings.TES_PARTITONS=12",), r"additional properties 'TES_PARTITONS' not allowed"),
    (("worker.settings.TES_PARTITIONS=many",), r"/worker/settings/TES_PARTITIONS'?: 'many' does not match"),
    (("worker.settings.TES_WEB_PORT=7000",), r"additional properties 'TES_WEB_PORT' not allowed"),
    (("worker.settings.TES_KAFKA_PASSWORD=secret",), r"additional properties 'TES_KAFKA_PASSWORD' not allowed"),
    (("edge.settings.TES_KAFKA_BOOTSTRAP=kafka:9092",), r"additional properties 'TES_KAFKA_BOOTSTRAP' not allowed"),
    (("image.digest=sha256:1",), r"/image/digest'?: 'sha256:1' does not match"),
    (("image.tag=one", f"image.digest=sha256:{'0' * 64}"), r"image\.tag: one: must be empty if image\.digest is set"),
    (("worker.replicas=13",), r"worker\.replicas: 13: must be at most worker\.settings\.TES_PARTITIONS, 12"),
    (("keda.enabled=true", "keda.maxReplicas=13"), r"keda\.maxReplicas: 13: must be at most .*TES_PARTITIONS, 12"),
    (("report.minReplicas=7",), r"report\.minReplicas: 7: must be at most report\.maxReplicas, 6"),
    ((ALONE, "operator.enabled=true"), r"operator\.enabled: true: needs worker\.enabled"),
)
"""Wrong values, and what is said of them."""
_KINDS: Final = (
    "configmap,service,serviceaccount,statefulset,deployment,job,networkpolicy,poddisruptionbudget,"
    "horizontalpodautoscaler,scaledobject,podmonitor,prometheusrule"
)
_OF_HELM: Final = "app.kubernetes.io/managed-by=Helm"


class Helm:
    """Runs helm with folders of its own, against an API server where there is one."""

    def __init__(self, folder: Path, server: ApiServer | None = None) -> None:
        self._environment = [f"HELM_{name}_HOME={folder / 'helm' / name}" for name in ("CACHE", "CONFIG", "DATA")]
        self._environment += [f"KUBECONFIG={server.kubeconfig if server else folder / 'none'}"]

    def __call__(self, *arguments: str | Path) -> str:
        """Run it; gives its output.

        Raises:
            ToolError: it failed.
        """
        return run(["env", *self._environment, tool("helm"), *arguments])

    def template(self, values: tuple[str, ...], *arguments: str | Path) -> list[Manifest]:
        """What the chart renders with some values."""
        text = self("template", "tes", CHART, "--namespace", "elsewhere", *_set(values), *arguments)
        return [item for item in yaml.safe_load_all(text) if item]


def validate_chart(server: ApiServer, folder: Path, admit: Callable[[ApiServer, str, Manifest], None]) -> None:
    """Try the chart in every way, the release's archive of it included.

    Raises:
        ToolError: something is not as it should be.
    """
    helm = Helm(folder, server)
    print(f"helm {helm('version', '--template', '{{.Version}}').strip()}")
    for values in ((), EVERYTHING):
        helm("lint", "--strict", CHART, *_set(values))
    print("  lint --strict: sound, by its defaults and with everything")
    for name, (values, kustomization) in SAME_AS.items():
        extra = ("--values", CHART / PRODUCTION) if name == "production" else ()
        _compare(name, helm.template(values, *extra), kustomization)
    print(f"  template: what kustomize renders, for {'; '.join(SAME_AS)}")
    for values, expected in REFUSED:
        _refuse(helm, values, expected)
    print(f"  template: {len(REFUSED)} wrong values refused by name")
    archive = folder / "tes-chart.tgz"
    release_script().pack_chart(REPOSITORY, 0, archive)
    _compare_package(helm, archive, folder)
    for name, values in (("defaults", ()), ("everything", EVERYTHING)):
        _live(helm, server, name, archive, values, admit)


def release_script() -> Any:
    """`scripts/build_release.py`, which is in no package."""
    path = REPOSITORY / "scripts" / "build_release.py"
    spec = importlib.util.spec_from_file_location("build_release", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _set(values: tuple[str, ...]) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def comparable(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    """Manifests by kind and name, without what may differ between helm and kustomize."""
    found: dict[tuple[str, str], Manifest] = {}
    for item in without_hashes(manifests):
        metadata = item["metadata"]
        if item["kind"] == "Job":
            metadata["name"] = re.sub(r"-[0-9a-f]{10}$", "", metadata["name"])
        if item["kind"] in ("StatefulSet", "Deployment"):
            item["spec"]["template"]["metadata"].get("annotations", {}).pop("checksum/settings", None)
        found[item["kind"], metadata["name"]] = item
    if len(found) != len(manifests):
        raise ToolError("two objects of one name")
    return found


def differences(one: Any, two: Any, path: str = "") -> list[str]:
    """Where two trees differ, one line for each place."""
    if isinstance(one, dict) and isinstance(two, dict):
        keys = sorted({*one, *two}, key=str)
        return [line for key in keys for line in differences(one.get(key), two.get(key), f"{path}/{key}")]
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        pairs = enumerate(zip(one, two, strict=True))
        return [line for index, (a, b) in pairs for line in differences(a, b, f"{path}/{index}")]
    return [] if one == two else [f"{path}: helm {one!r:.300}, kustomize {two!r:.300}"]


def _compare(name: str, made: list[Manifest], kustomization: Path) -> None:
    wanted = list(yaml.safe_load_all(run([tool("kustomize"), "build", kustomization])))
    if found := differences(comparable(made), comparable(wanted)):
        raise ToolError(f"chart, {name}: differs from {kustomization.relative_to(REPOSITORY)}:\n" + "\n".join(found))
    if placed := [item["metadata"]["name"] for item in made if "namespace" in item["metadata"]]:
        raise ToolError(f"chart, {name}: a namespace of their own: {', '.join(placed)}")


def _refuse(helm: Helm, values: tuple[str, ...], expected: str) -> None:
    try:
        helm.template(values)
    except ToolError as error:
        if re.search(expected, str(error)) is None:
            raise ToolError(f"chart: {', '.join(values)}: refused without {expected}:\n{error}") from None
    else:
        raise ToolError(f"chart: {', '.join(values)}: not refused")


def _compare_package(helm: Helm, archive: Path, folder: Path) -> None:
    """The release's archive has what `helm package` puts into one."""
    helm("package", CHART, "--destination", folder / "packaged")
    (packaged,) = (folder / "packaged").glob("*.tgz")
    ours, theirs = _files_of(archive), _files_of(packaged)
    # Helm writes this one anew.
    if yaml.safe_load(ours.pop("tes/Chart.yaml")) != yaml.safe_load(theirs.pop("tes/Chart.yaml")) or ours != theirs:
        names = {name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)}
        raise ToolError(f"chart: the archive differs from that of helm package: {sorted(names) or 'Chart.yaml'}")
    print(f"  package: the release's archive has the same {len(ours) + 1} files")


def _files_of(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as opened:
        members = {member.name: opened.extractfile(member) for member in opened if member.isfile()}
        return {name: member.read() for name, member in members.items() if member is not None}


def _live(
    helm: Helm,
    server: ApiServer,
    name: str,
    archive: Path,
    values: tuple[str, ...],
    admit: Callable[[ApiServer, str, Manifest], None],
) -> None:
    """Install from the archive, upgrade, roll back, uninstall; each time look at what the server has then."""
    space = f"tes-helm-{name}"
    server.make_namespace(space)
    where = ("--namespace", space)

    helm("install", "tes", archive, *where, *_set(values))
    installed = _owned(server, space)
    print(f"helm, {name}: installed {len(installed)} objects from {archive.name}")
    for (kind, _), item in installed.items():
        if kind in ("StatefulSet", "Deployment", "Job"):
            admit(server, space, item)

    _expect_refusal(helm, where, values)
    changed = (*values, "worker.settings.TES_PARTITIONS=24", "worker.settings.TES_STATE_CACHE_BYTES=268435456")
    helm("upgrade", "tes", archive, *where, *_set(changed), "--set", "notify.enabled=false")
    upgraded = _owned(server, space)
    settings = upgraded["ConfigMap", "tes-settings"]["data"]
    if (settings["TES_PARTITIONS"], settings["TES_STATE_CACHE_BYTES"]) != ("24", "268435456"):
        raise ToolError(f"helm, {name}: the settings were not changed: {settings}")
    restarted = sorted(key[1] for key in upgraded if _template(upgraded[key]) != _template(installed.get(key)))
    wanted = ["tes-worker"] if not values else ["tes-operator", "tes-worker"]
    if [item for item in restarted if not item.startswith("tes-topics")] != wanted:
        raise ToolError(f"helm, {name}: changed settings of the workers restart {restarted}")
    gone = sorted(" ".join(key) for key in {*installed} - {*upgraded})
    print(f"  upgraded: restarts {', '.join(restarted)}; deleted {', '.join(gone) or 'nothing'}")

    helm("rollback", "tes", "1", *where)
    back = _owned(server, space)
    if found := differences(_content(back), _content(installed)):
        raise ToolError(f"helm, {name}: rolled back it is not what it was:\n" + "\n".join(found))
    print("  rolled back: every object as it was installed")

    helm("uninstall", "tes", *where)
    left = json.loads(server.kubectl("get", _KINDS, *where, "-l", "app.kubernetes.io/part-of=tes", "-o", "json"))
    if left["items"] or _owned(server, space):
        raise ToolError(f"helm, {name}: uninstalled, and left {[item['metadata']['name'] for item in left['items']]}")
    print("  uninstalled: nothing left")


def _expect_refusal(helm: Helm, where: tuple[str, str], values: tuple[str, ...]) -> None:
    """A refused upgrade is no revision."""
    try:
        helm("upgrade", "tes", CHART, *where, *_set(values), "--set", "worker.settings.TES_PARTITONS=24")
    except ToolError:
        pass
    else:
        raise ToolError("helm: an upgrade with a misspelt setting was not refused")
    history = json.loads(helm("history", "tes", *where, "--output", "json"))
    if [entry["revision"] for entry in history] != [1]:
        raise ToolError(f"helm: a refused upgrade became a revision: {history}")


def _owned(server: ApiServer, space: str) -> dict[tuple[str, str], Manifest]:
    """What the release has in its namespace, by kind and name."""
    text = server.kubectl("get", _KINDS, "--namespace", space, "-l", _OF_HELM, "-o", "json")
    return {(item["kind"], item["metadata"]["name"]): item for item in json.loads(text)["items"]}


def _template(item: Manifest | None) -> Any:
    return item["spec"]["template"] if item is not None and "template" in item.get("spec", {}) else None


def _content(objects: Mapping[tuple[str, str], Manifest]) -> dict[tuple[str, str], Any]:
    """What somebody wrote of the objects, without what the server keeps of them; a Job has an id of its own in it."""
    return {
        key: item["spec"]["template"]["spec"]
        if item["kind"] == "Job"
        else {
            "labels": item["metadata"].get("labels"),
            **{name: value for name, value in item.items() if name not in ("metadata", "status")},
        }
        for key, item in objects.items()
    }
