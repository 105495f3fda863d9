"""A kube-apiserver with its etcd on free loopback ports, with certificates of its own; no kubelet, no controllers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

import yaml

from tests.deploy.manifests import SOURCES
from tests.deploy.tools import ToolError, run, tool

_HOST = "127.0.0.1"
_START_SECONDS = 180.0
_STOP_SECONDS = 20.0


class ApiServer:
    """Starts and ends with its `with` block; `kubectl` speaks to it as an administrator."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.kubeconfig = folder / "kubeconfig"

    def __enter__(self) -> Self:
        try:
            self._certify()
            self._start_etcd()
            self._start_api_server()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def kubectl(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """Run kubectl; gives its output.

        Raises:
            ToolError: the server refused what was asked.
        """
        # Its cache of what the server offers is kept out of the home directory of whoever runs this.
        options: list[str | Path] = ["--kubeconfig", self.kubeconfig, "--cache-dir", self._folder / "discovery"]
        return run([tool("kubectl"), *options, *arguments], stdin=stdin)

    def make_namespace(self, name: str) -> None:
        """Make a namespace as `deploy/k8s/namespace.yaml` is, with the account that a controller would put into it."""
        namespace = yaml.safe_load((SOURCES / "namespace.yaml").read_text(encoding="utf-8"))
        namespace["metadata"]["name"] = name
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}}
        for item in (namespace, account):
            self.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(item))

    def _certify(self) -> None:
        self._openssl("req", "-x509", "-nodes", "-subj", "/CN=tes-validation", "-days", "2", *self._pair("ca"))
        self._openssl("genrsa", "-out", "accounts.key", "2048")
        self._sign("etcd", "/CN=etcd")
        self._sign("server", "/CN=kube-apiserver")
        self._sign("admin", "/O=system:masters/CN=admin")

    def _pair(self, name: str) -> list[str]:
        return ["-newkey", "rsa:2048", "-keyout", f"{name}.key", "-out", f"{name}.crt"]

    def _sign(self, name: str, subject: str) -> None:
        self._openssl(
            *("req", "-x509", "-nodes", "-subj", subject, "-days", "2", "-CA", "ca.crt", "-CAkey", "ca.key"),
            *("-addext", f"subjectAltName=IP:{_HOST}", "-addext", "extendedKeyUsage=serverAuth,clientAuth"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *self._pair(name),
        )

    def _openssl(self, *arguments: str) -> None:
        run(["openssl", *arguments], cwd=self._folder)

    def _start_etcd(self) -> None:
        client, peer = _free_ports(2)
        self._etcd = f"https://{_HOST}:{client}"
        self._start(
            "etcd",
            *("--data-dir", "etcd", "--listen-client-urls", self._etcd, "--advertise-client-urls", self._etcd),
            *("--listen-peer-urls", f"http://{_HOST}:{peer}"),
            *("--initial-advertise-peer-urls", f"http://{_HOST}:{peer}"),
            *("--initial-cluster", f"default=http://{_HOST}:{peer}", "--unsafe-no-fsync"),
            *("--client-cert-auth", "--trusted-ca-file", "ca.crt", "--cert-file", "etcd.crt", "--key-file", "etcd.key"),
        )

    def _start_api_server(self) -> None:
        (port,) = _free_ports(1)
        self._start(
            "kube-apiserver",
            *("--bind-address", _HOST, "--advertise-address", _HOST, "--secure-port", str(port)),
            *("--etcd-servers", self._etcd, "--etcd-cafile", "ca.crt"),
            *("--etcd-certfile", "etcd.crt", "--etcd-keyfile", "etcd.key"),
            *("--tls-cert-file", "server.crt", "--tls-private-key-file", "server.key", "--client-ca-file", "ca.crt"),
            *("--service-account-issuer", f"https://{_HOST}:{port}", "--service-account-key-file", "accounts.key"),
            *("--service-account-signing-key-file", "accounts.key", "--service-cluster-ip-range", "10.96.0.0/16"),
            *("--authorization-mode", "RBAC", "--cert-dir", "certificates"),
            # Loopback is not an address that a Service may lead to.
            *("--endpoint-reconciler-type", "none"),
        )
        server: list[str | Path] = [
            "--server",
            f"https://{_HOST}:{port}",
            "--certificate-authority",
            self._folder / "ca.crt",
        ]
        self._kubectl_config("set-cluster", "local", *server, "--embed-certs")
        names: list[str | Path] = ["--client-certificate", self._folder / "admin.crt"]
        names += ["--client-key", self._folder / "admin.key"]
        self._kubectl_config("set-credentials", "admin", *names, "--embed-certs")
        self._kubectl_config("set-context", "local", "--cluster", "local", "--user", "admin")
        self._kubectl_config("use-context", "local")
        self._await_ready()

    def _kubectl_config(self, *arguments: str | Path) -> None:
        run([tool("kubectl"), "--kubeconfig", self.kubeconfig, "config", *arguments])

    def _start(self, name: str, *arguments: str) -> None:
        program = tool(name)
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [program, *arguments], cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._processes.append(process)

    def _await_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            for process in self._processes:
                if process.poll() is not None:
                    raise ToolError(
                        f"{process.args!r} ended with exit code {process.returncode}:\n{self._last_words()}"
                    )
            try:
                self.kubectl("get", "--raw", "/readyz")
            except ToolError as error:
                if time.monotonic() > deadline:
                    raise ToolError(f"the API server is not ready: {error}\n{self._last_words()}") from None
                time.sleep(0.5)
            else:
                return

    def _last_words(self) -> str:
        logs = sorted(self._folder.glob("*.log"))
        return "\n".join(f"{log.name}: {log.read_text('utf-8', 'replace')[-1500:]}" for log in logs)

    def _stop(self) -> None:
        # The API server first: without its etcd it would wait.
        for process in reversed(self._processes):
            if process.poll() is None:
                os.kill(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((_HOST, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
