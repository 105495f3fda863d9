"""What the manifests of the report promise: several that serve, secrets as files, a network open for the ingress."""

from __future__ import annotations

import tomllib
from typing import Any

from streams.cli.main import build_parser
from streams.report.web.server import STOP_SECONDS
from streams.settings.report import ReportSettings, read_report_settings
from streams.telemetry.probes import LIVE, SERVING, STARTED
from tests.deploy.manifests import REPOSITORY, Manifest, of_kind, only, rendered

REPORT = {"app.kubernetes.io/name": "tes", "app.kubernetes.io/component": "report"}
OF_ACCESS = {
    "TES_REPORT_API_HOST",
    "TES_REPORT_API_PORT",
    "TES_REPORT_PUBLIC_URL",
    "TES_REPORT_OIDC_ISSUER",
    "TES_REPORT_OIDC_AUDIENCE",
    "TES_REPORT_OIDC_CLIENT_ID",
    "TES_REPORT_OIDC_CLIENT_SECRET_FILE",
    "TES_REPORT_SESSION_KEY_FILE",
}
"""Settings of API and page: looked at as soon as the product has them."""


def manifests() -> list[Manifest]:
    return rendered("report")


def workload() -> Manifest:
    spec: Manifest = only(manifests(), "Deployment")["spec"]
    return spec


def pod() -> Manifest:
    spec: Manifest = workload()["template"]["spec"]
    return spec


def container() -> dict[str, Any]:
    (found,) = pod()["containers"]
    return dict(found)


def environment() -> dict[str, str]:
    """The container's environment, as the kubelet puts it together."""
    (source,) = container()["envFrom"]
    assert "env" not in container()
    found: dict[str, str] = of_kind(manifests(), "ConfigMap")[source["configMapRef"]["name"]]["data"]
    return found


def settings() -> ReportSettings:
    # It raises for an unknown TES_ variable, and for a value that is not of its kind.
    return read_report_settings(environment())


def port(name: str) -> int:
    ports = {item["name"]: int(item["containerPort"]) for item in container()["ports"]}
    return ports[name]


def test_it_runs_the_command_with_settings_that_are_known() -> None:
    build_parser()[0].parse_args(container()["args"])
    assert settings().log_format == "json"
    assert set(environment()) >= OF_ACCESS


def test_secrets_are_files_that_are_there() -> None:
    volumes = {volume["name"]: volume for volume in pod()["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container()["volumeMounts"]}
    assert "secret" not in str(container()["envFrom"]).lower()
    files = {name: value for name, value in environment().items() if name.endswith("_FILE")}
    assert {"TES_REPORT_DATABASE_FILE", "TES_REPORT_SESSION_KEY_FILE"} <= set(files)
    for path in files.values():
        folder, _, name = path.rpartition("/")
        assert mounts[folder]["readOnly"] is True
        projected = volumes[mounts[folder]["name"]]["projected"]
        assert projected["defaultMode"] == 0o440
        (source,) = projected["sources"]
        assert name in [item["path"] for item in source["secret"]["items"]]
        # A pod without its secrets must not begin with SQLite in a folder that is gone with it.
        assert not source["secret"].get("optional")
    assert not {"TES_REPORT_DATABASE", "TES_REPORT_SESSION_KEY", "TES_REPORT_OIDC_CLIENT_SECRET"} & set(environment())


def test_several_serve_and_an_update_keeps_those_that_answer() -> None:
    scaling = only(manifests(), "HorizontalPodAutoscaler")["spec"]
    assert scaling["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "tes-report"}
    assert (scaling["minReplicas"], scaling["maxReplicas"]) == (2, 6)
    # Applying the manifests again must not undo what the autoscaler chose.
    assert "replicas" not in workload()
    assert workload()["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert "cpu" in container()["resources"]["requests"]
    disruption = only(manifests(), "PodDisruptionBudget")["spec"]
    assert (disruption["maxUnavailable"], disruption["selector"]["matchLabels"]) == (1, REPORT)


def test_one_that_does_not_read_gets_requests_too() -> None:
    probes = {kind: container()[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    # /readyz asks whether the tables are kept current, and old ones are shown nevertheless.
    assert probes == {
        "startup": {"path": STARTED, "port": "web"},
        "readiness": {"path": SERVING, "port": "web"},
        "liveness": {"path": LIVE, "port": "web"},
    }
    assert (settings().port, settings().web_host) == (port("web"), "0.0.0.0")


def test_requests_and_a_write_that_have_begun_may_end() -> None:
    (_, wait) = container()["lifecycle"]["preStop"]["exec"]["command"]
    # 20 s for the write that is under way: see kafka/timing.py.
    assert pod()["terminationGracePeriodSeconds"] > int(wait) + STOP_SECONDS + 20


def test_the_api_is_where_its_service_and_its_network_policy_say() -> None:
    assert environment()["TES_REPORT_API_PORT"] == str(port("api"))
    service = only(manifests(), "Service")["spec"]
    assert service["selector"] == REPORT
    assert service["ports"] == [{"name": "api", "port": port("api"), "targetPort": "api"}]
    policy = only(manifests(), "NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"] == REPORT
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    people, scrapes = policy["ingress"]
    assert people == {
        "from": [{"namespaceSelector": {"matchLabels": {"tes-report": "ingress"}}}],
        "ports": [{"protocol": "TCP", "port": "api"}],
    }
    assert scrapes["ports"] == [{"protocol": "TCP", "port": "web"}]
    assert scrapes["from"][0]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "prometheus"}


def test_it_reaches_what_its_settings_name() -> None:
    dns, *others = only(manifests(), "NetworkPolicy")["spec"]["egress"]
    assert {item["port"] for item in dns["ports"]} == {53}
    allowed = {item["port"] for rule in others for item in rule["ports"]}
    kafka = int(settings().bootstrap.rpartition(":")[2])
    assert {kafka, 5432, 443} <= allowed
    assert environment()["TES_REPORT_OIDC_ISSUER"].startswith("https://")


def test_pods_are_restricted() -> None:
    assert pod()["automountServiceAccountToken"] is False
    assert pod()["enableServiceLinks"] is False
    context = pod()["securityContext"] | container()["securityContext"]
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == 10001
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    resources = container()["resources"]
    assert resources["limits"]["memory"] == resources["requests"]["memory"]
    assert {mount["mountPath"] for mount in container()["volumeMounts"] if not mount.get("readOnly")} == {"/tmp"}
    for volume in pod()["volumes"]:
        assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": ""}), volume["name"]
        assert "hostPath" not in volume


def test_selectors_find_the_report() -> None:
    assert workload()["template"]["metadata"]["labels"].items() >= REPORT.items()
    assert workload()["selector"]["matchLabels"] == REPORT
    for constraint in pod()["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"] == REPORT


def test_the_image_is_of_this_version() -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert container()["image"] == f"tes:{version}"
