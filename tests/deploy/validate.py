"""Applies every overlay to a real API server: dry, then for good, each in a namespace that enforces `restricted`; then
the chart.

No kubelet and no controller runs. This shows that the server takes the objects, and admits a pod made of the
StatefulSet's template; `scripts/image` shows that what is in the pod runs.
"""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import yaml

from tests.deploy.apiserver import ApiServer
from tests.deploy.helm import validate_chart
from tests.deploy.manifests import OVERLAYS, SOURCES, Manifest, pod_of_template
from tests.deploy.pages import run_pages
from tests.deploy.tools import CACHE, ToolError, definitions, run, tool


class InvalidError(ToolError):
    """The server took what it should refuse."""


def validate(*, keep: bool) -> int:
    """Apply everything; gives 0, and raises for what the server refuses."""
    crds = definitions()
    for name in ("kustomize", "kubectl", "kube-apiserver", "etcd", "helm"):
        tool(name)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=CACHE))
    try:
        with ApiServer(folder) as server:
            version = json.loads(server.kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"]
            print(f"kube-apiserver {version}: ready")
            for path in crds:
                server.kubectl("apply", "--server-side", "-f", path)
            server.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
            print(f"definitions: {len(crds)} established")
            for overlay in OVERLAYS:
                _apply(server, overlay)
            validate_chart(server, folder, _admit)
            print(f"documents: {run_pages(server, folder)} commands of kubectl as they are written")
    finally:
        if not keep:
            shutil.rmtree(folder)
    print(f"{len(OVERLAYS)} overlays and the chart applied; no kubelet ran")
    return 0


def _apply(server: ApiServer, overlay: str) -> None:
    text = run([tool("kustomize"), "build", SOURCES / "overlays" / overlay])
    space = f"tes-{overlay}"
    server.make_namespace(space)
    # Unknown fields are errors by default; the option makes errors of what is deprecated, and of pods to be refused.
    options = ("-n", space, "--server-side", "--warnings-as-errors", "-f", "-")
    server.kubectl("apply", "--dry-run=server", *options, stdin=text)
    server.kubectl("apply", *options, stdin=text)
    kinds = Counter(item["kind"] for item in yaml.safe_load_all(text))
    found = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    print(f"{overlay}: applied {found}")
    for kind in ("StatefulSet", "Job", "Deployment"):
        listed = json.loads(server.kubectl("get", kind, "-n", space, "-o", "json"))
        for workload in listed["items"]:
            _admit(server, space, workload)


def _admit(server: ApiServer, space: str, workload: Manifest) -> None:
    pod = pod_of_template(workload)
    name = pod["metadata"]["name"]
    _kubectl_json(server, pod, "create", "-n", space)
    server.kubectl("delete", "pod", name, "-n", space, "--grace-period=0", "--force", "--wait=false")
    loose = copy.deepcopy(pod)
    loose["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    try:
        _kubectl_json(server, loose, "create", "-n", space, "--dry-run=server")
    except ToolError as error:
        if "violates PodSecurity" not in str(error):
            raise
    else:
        raise InvalidError(f"{space}: {name}: it was admitted with the right to gain privileges")
    print(f"  {name}: admitted; refused with the right to gain privileges")


def _kubectl_json(server: ApiServer, manifest: Manifest, *arguments: str) -> None:
    server.kubectl(*arguments, "-f", "-", stdin=json.dumps(manifest))
