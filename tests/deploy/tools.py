"""Builds kustomize, kubectl, kube-apiserver, etcd and helm from their Go modules, and brings the definitions of
Strimzi, KEDA and prometheus-operator; all of it stays in `.cache/k8s`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.deploy.manifests import REPOSITORY, SOURCES

CACHE = REPOSITORY / ".cache" / "k8s"
TOOLS = SOURCES / "tools"

PACKAGES = {
    "kustomize": "sigs.k8s.io/kustomize/kustomize/v5",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "etcd": "go.etcd.io/etcd/server/v3",
    "helm": "helm.sh/helm/v4/cmd/helm",
}
GO_DEFINITIONS = (
    (
        "github.com/kedacore/keda/v2@v2.21.0",
        "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
        ("config/crd/bases/keda.sh_scaledobjects.yaml", "config/crd/bases/keda.sh_triggerauthentications.yaml"),
    ),
    (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        (
            "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        ),
    ),
)
_STRIMZI = "io.strimzi.api.kafka.model"
STRIMZI_KINDS = {
    "kafkas": f"{_STRIMZI}.kafka.Kafka",
    "kafkanodepools": f"{_STRIMZI}.nodepool.KafkaNodePool",
    "kafkatopics": f"{_STRIMZI}.topic.KafkaTopic",
    "kafkausers": f"{_STRIMZI}.user.KafkaUser",
}


class ToolError(RuntimeError):
    """A tool is missing or could not be brought; the message says which, and what was said."""


def run(command: Iterable[str | Path], *, cwd: Path | None = None, stdin: str | None = None) -> str:
    """Run a command to its end; gives what it wrote to stdout.

    Raises:
        ToolError: it is not installed, or failed.
    """
    arguments = list(map(str, command))
    if shutil.which(arguments[0]) is None:
        raise ToolError(f"{arguments[0]}: is not installed")
    done = subprocess.run(arguments, cwd=cwd, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-4000:]
        raise ToolError(f"{' '.join(arguments[:4])} …: exit code {done.returncode}:\n{said}")
    return done.stdout


def say(text: str) -> None:
    """Tell what goes on, on stderr."""
    print(text, file=sys.stderr, flush=True)


def digest_of(*paths: Path) -> str:
    """A short hash over files."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def tool(name: str) -> Path:
    """The program of that name, built once for each content of go.mod and go.sum."""
    # Helm is on its own, so that it does not change what the others are built from.
    module = TOOLS / "helm" if name == "helm" else TOOLS
    target = CACHE / f"bin-{digest_of(module / 'go.mod', module / 'go.sum')}" / name
    if not target.exists():
        say(f"building {name}")
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f"{name}.unfinished")
        flags = ["-trimpath", "-buildvcs=false", "-mod=readonly", f"-ldflags=-s -w {_stamps()}"]
        run(["env", "CGO_ENABLED=0", "go", "build", *flags, "-o", unfinished, PACKAGES[name]], cwd=module)
        unfinished.rename(target)
    return target


def _stamps() -> str:
    """What tells the programs of Kubernetes which release they are: modules, unlike a checkout, do not say it."""
    version = re.search(r"k8s\.io/kubernetes (v1\.\d+\.\d+)", (TOOLS / "go.mod").read_text())
    if version is None:
        raise ToolError(f"{TOOLS / 'go.mod'}: it does not require k8s.io/kubernetes")
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(f"-X {package}.gitVersion={version[1]}" for package in packages)


def definitions() -> list[Path]:
    """The custom resource definitions that the overlays need."""
    return [*_go_definitions(), *_strimzi_definitions()]


def _go_definitions() -> Iterable[Path]:
    for module, expected, names in GO_DEFINITIONS:
        found = json.loads(run(["go", "mod", "download", "-json", module], cwd=CACHE))
        if found["Sum"] != expected:
            raise ToolError(f"{module}: its hash is {found['Sum']}, not {expected}")
        yield from (Path(found["Dir"]) / name for name in names)


def _strimzi_definitions() -> Iterable[Path]:
    pom = TOOLS / "strimzi" / "pom.xml"
    target = CACHE / f"strimzi-{digest_of(pom)}"
    if not target.exists():
        say("making Strimzi's definitions")
        jars, unfinished = CACHE / "strimzi-jars", CACHE / "strimzi-unfinished"
        for folder in (jars, unfinished):
            shutil.rmtree(folder, ignore_errors=True)
        unfinished.mkdir(parents=True)
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
        run(["mvn", "-q", "-B", "-f", pom, *goal])
        # The generator's jar brings older classes of its own, which must not come first.
        order = sorted(jars.glob("*.jar"), key=lambda jar: (jar.name.startswith("crd-generator"), jar.name))
        options = ["--target-kube", "1.16+", "--crd-api-version", "v1", "--api-versions", "v1"]
        files = [f"{kind}={unfinished / name}.yaml" for name, kind in STRIMZI_KINDS.items()]
        main = "io.strimzi.crdgenerator.CrdGenerator"
        path = os.pathsep.join(map(str, order))
        run(["java", "-cp", path, main, *options, "--storage-version", "v1", "--yaml", *files])
        unfinished.rename(target)
    return sorted(target.glob("*.yaml"))
