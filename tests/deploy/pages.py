"""Runs every command of the documents that speaks to Kubernetes as it is written, against a real API server.

No kubelet and no controller runs: commands that need one are known by their first words, and only have to be
understood; that the server then has no pod to ask is no fault of theirs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.deploy.apiserver import ApiServer
from tests.deploy.chart.make import CHART
from tests.deploy.manifests import REPOSITORY, SOURCES, pod_of_template
from tests.deploy.tools import ToolError, tool

# The chart first: its page ends without it, and the others go on in the same namespace.
PAGES = (
    *(REPOSITORY / "docs" / "how-to" / name for name in ("helm.md", "kubernetes.md", "restart.md")),
    *sorted((REPOSITORY / "docs" / "runbooks").glob("*.md")),
)
NEEDS_A_KUBELET = ("logs", "exec", "port-forward", "top", "rollout status", "rollout undo")
FIRST_WORDS = ("kubectl ", "helm ", "kustomize ", "mkdir ", "cp ", "cd ", "(cd ")
_BLOCK = re.compile(r"(?:^ *\n)((?:^ {4,}\S.*\n)+)", re.MULTILINE)
_MISUNDERSTOOD = "unknown|flag needs|invalid argument|Examples:|See 'kubectl"

# Stands before kubectl: what needs a kubelet is asked shortly, and fails only where kubectl does not understand it.
_KUBECTL = """\
#!/usr/bin/env bash
echo "$*" >>{asked}
for words in {lenient}; do
  case " $* " in *" $words "*)
    said="$(timeout 5 {kubectl} "$@" 2>&1 >/dev/null </dev/null)"
    if grep -qE {misunderstood} <<<"$said"; then echo "$said" >&2; exit 2; fi
    exit 0
  esac
done
exec {kubectl} "$@"
"""


def run_pages(server: ApiServer, folder: Path) -> int:
    """Run the commands in a copy of the sources; gives how many times kubectl was asked.

    Raises:
        ToolError: a command failed.
    """
    checkout, programs, asked = folder / "checkout", folder / "programs", folder / "asked"
    shutil.copytree(SOURCES, checkout / "deploy" / "k8s")
    shutil.copytree(CHART, checkout / "deploy" / "helm" / "tes")
    (checkout / "connectors.yaml").write_text((SOURCES / "base" / "edge" / "connectors.yaml").read_text())
    for name in ("password", "ca.crt", "database", "client-secret", "session-key"):
        (checkout / name).write_text("secret\n")
    programs.mkdir()
    for name in ("kustomize", "helm"):
        (programs / name).symlink_to(tool(name))
    lenient = " ".join(f"'{words}'" for words in NEEDS_A_KUBELET)
    own = {"asked": asked, "lenient": lenient, "kubectl": tool("kubectl"), "misunderstood": f'"{_MISUNDERSTOOD}"'}
    (programs / "kubectl").write_text(_KUBECTL.format(**own))
    (programs / "kubectl").chmod(0o755)
    environment = os.environ | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "KUBECONFIG": str(server.kubeconfig),
        "KUBECACHEDIR": str(folder / "discovery"),
        **{f"HELM_{name}_HOME": str(folder / "helm" / name) for name in ("CACHE", "CONFIG", "DATA")},
        "USER": "ops",
    }
    for page in PAGES:
        for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
            script = _script_of(block)
            if not script:
                continue
            _have_pods(server)
            command = ["bash", "-euc", script]
            done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                said = (done.stderr or done.stdout)[-2000:]
                raise ToolError(f"{page.name}: exit code {done.returncode}:\n{script}\n{said}")
    return len(asked.read_text().splitlines())


def _script_of(block: str) -> str:
    """The lines for Kubernetes; what is cut out of an output that needs a kubelet is not looked at."""
    lines = [line.strip() for line in block.splitlines()]
    wanted = [line for line in lines if line.startswith(FIRST_WORDS)]
    return "\n".join(f"{line.partition(' | ')[0]}" for line in wanted)


def _have_pods(server: ApiServer) -> None:
    """What controllers would have made, as far as a page deletes it."""
    try:
        server.kubectl("get", "statefulset", "tes-worker", "-n", "tes")
    except ToolError:
        return  # the page that installs it has just begun
    template = json.loads(server.kubectl("get", "statefulset", "tes-worker", "-n", "tes", "-o", "json"))["spec"]
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    workload = {"kind": "StatefulSet", "metadata": {"name": "tes-worker"}, "spec": template}
    for number in (0, 2):
        pod = pod_of_template(workload)
        pod["metadata"]["name"] = pod["spec"]["hostname"] = f"tes-worker-{number}"
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": f"state-tes-worker-{number}"},
            "spec": claim,
        }
        for item in (pod, volume):
            try:
                server.kubectl("create", "-n", "tes", "-f", "-", stdin=json.dumps(item))
            except ToolError as error:
                if "AlreadyExists" not in str(error) and "object is being deleted" not in str(error):
                    raise
