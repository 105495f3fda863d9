"""What the manifests of `tes notify` promise: several that send, secrets as files, no way to addresses inside."""

from __future__ import annotations

import tomllib
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from streams.cli.main import build_parser
from streams.notify.process import END_SECONDS
from streams.settings.notify import NotifySettings, read_notify_settings
from streams.telemetry.probes import LIVE, READY, STARTED
from tests.deploy.manifests import REPOSITORY, Manifest, of_kind, only, rendered

NOTIFY = {"app.kubernetes.io/name": "tes", "app.kubernetes.io/component": "notify"}


def manifests() -> list[Manifest]:
    return rendered("notify")


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


def settings() -> NotifySettings:
    # It raises for an unknown TES_ variable, and for a value that is not of its kind.
    return read_notify_settings(environment())


def egress() -> list[Manifest]:
    found: list[Manifest] = only(manifests(), "NetworkPolicy")["spec"]["egress"]
    return found


def test_it_runs_the_command_with_settings_that_are_known() -> None:
    build_parser()[0].parse_args(container()["args"])
    assert settings().log_format == "json"


def test_secrets_are_files_that_are_there() -> None:
    volumes = {volume["name"]: volume for volume in pod()["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container()["volumeMounts"]}
    assert "secret" not in str(container()["envFrom"]).lower()
    folder, _, name = environment()["TES_REPORT_DATABASE_FILE"].rpartition("/")
    assert mounts[folder]["readOnly"] is True
    projected = volumes[mounts[folder]["name"]]["projected"]
    assert projected["defaultMode"] == 0o440
    needed, _ = projected["sources"]
    assert name in [item["path"] for item in needed["secret"]["items"]]
    # A pod without its database must not begin with SQLite in a folder that is gone with it.
    assert not needed["secret"].get("optional")
    assert "TES_REPORT_DATABASE" not in environment()


def test_several_send_and_an_update_keeps_those_that_work() -> None:
    scaling = only(manifests(), "HorizontalPodAutoscaler")["spec"]
    assert scaling["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "tes-notify"}
    assert (scaling["minReplicas"], scaling["maxReplicas"]) == (2, 4)
    # Applying the manifests again must not undo what the autoscaler chose.
    assert "replicas" not in workload()
    assert workload()["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert "cpu" in container()["resources"]["requests"]
    disruption = only(manifests(), "PodDisruptionBudget")["spec"]
    assert (disruption["maxUnavailable"], disruption["selector"]["matchLabels"]) == (1, NOTIFY)


def test_probes_ask_what_the_process_answers() -> None:
    probes = {kind: container()[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    assert probes == {
        "startup": {"path": STARTED, "port": "web"},
        "readiness": {"path": READY, "port": "web"},
        "liveness": {"path": LIVE, "port": "web"},
    }
    (port,) = container()["ports"]
    assert (port["name"], port["containerPort"]) == ("web", settings().port)
    assert settings().web_host == "0.0.0.0"


def test_what_is_being_sent_may_end() -> None:
    assert pod()["terminationGracePeriodSeconds"] > END_SECONDS + 20


def test_only_prometheus_comes_in() -> None:
    policy = only(manifests(), "NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"] == NOTIFY
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    (scrapes,) = policy["ingress"]
    assert scrapes["ports"] == [{"protocol": "TCP", "port": "web"}]
    assert scrapes["from"][0]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "prometheus"}
    assert not of_kind(manifests(), "Service")


def test_it_reaches_kafka_registry_database_and_relay() -> None:
    dns, *others = egress()
    assert {item["port"] for item in dns["ports"]} == {53}
    allowed = {item["port"] for rule in others if "to" not in rule for item in rule["ports"]}
    kafka = int(settings().bootstrap.rpartition(":")[2])
    assert allowed == {kafka, 9093, 5432, 8081, 25, 465, 587}


@pytest.mark.parametrize(
    ("address", "is_reached"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("10.96.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("127.0.0.1", False),
        ("100.64.0.1", False),
        ("fd00::1", False),
        ("fe80::1", False),
        ("::1", False),
    ],
)
def test_webhooks_reach_public_addresses_only(address: str, is_reached: bool) -> None:
    (rule,) = [rule for rule in egress() if any("ipBlock" in item for item in rule.get("to", ()))]
    assert rule["ports"] == [{"protocol": "TCP", "port": 443}]
    found = ip_address(address)
    blocks = [item["ipBlock"] for item in rule["to"]]
    assert is_reached == any(
        found in ip_network(block["cidr"]) and not any(found in ip_network(one) for one in block["except"])
        for block in blocks
    )


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


def test_selectors_find_the_pods() -> None:
    assert workload()["template"]["metadata"]["labels"].items() >= NOTIFY.items()
    assert workload()["selector"]["matchLabels"] == NOTIFY
    for constraint in pod()["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"] == NOTIFY


def test_the_image_is_of_this_version() -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert container()["image"] == f"tes:{version}"
