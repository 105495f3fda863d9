"""What the manifests of the edge promise: a door without Kafka, restricted pods, and a network open for MTAs only."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from streams.cli.main import build_parser
from streams.edge.connectors.files import parse_connectors
from streams.settings.edge import EdgeSettings, read_edge_settings
from tests.deploy.manifests import REPOSITORY, WITH_EDGES, Manifest, all_pods_of, of_kind, only, rendered

EDGE = {"app.kubernetes.io/name": "tes", "app.kubernetes.io/component": "edge"}
NAMES = {"edge": ("door", "sync"), "edge-sidecar": ("tes-edge-door", "tes-edge-sync")}


@pytest.fixture(params=WITH_EDGES)
def overlay(request: pytest.FixtureRequest) -> str:
    """Every overlay that has an edge."""
    name: str = request.param
    return name


def pod_of(overlay: str) -> Manifest:
    (pod,) = all_pods_of(rendered(overlay))
    return pod


def container_of(overlay: str, kind: int) -> dict[str, Any]:
    pod = pod_of(overlay)
    containers = {item["name"]: item for item in (*pod.get("initContainers", ()), *pod["containers"])}
    found: dict[str, Any] = containers[NAMES[overlay][kind]]
    return found


def both_of(overlay: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The door's container and that of sync."""
    return container_of(overlay, 0), container_of(overlay, 1)


def environment_of(overlay: str, container: dict[str, Any]) -> dict[str, str]:
    """The container's environment, as the kubelet puts it together."""
    maps = of_kind(rendered(overlay), "ConfigMap")
    found: dict[str, str] = {}
    for source in container["envFrom"]:
        found |= maps[source["configMapRef"]["name"]]["data"]
    assert "env" not in container
    return found


def settings_of(overlay: str, container: dict[str, Any]) -> EdgeSettings:
    # It raises for an unknown TES_ variable, and for a value that is not of its kind.
    return read_edge_settings(environment_of(overlay, container))


def test_every_container_runs_a_command_with_settings_that_are_known(overlay: str) -> None:
    for container in both_of(overlay):
        build_parser()[0].parse_args(container["args"])
        assert settings_of(overlay, container).mode == "report"


def test_the_door_has_neither_an_address_of_kafka_nor_its_credentials(overlay: str) -> None:
    door, sync = both_of(overlay)
    assert not [name for name in environment_of(overlay, door) if "KAFKA" in name]
    assert [name for name in environment_of(overlay, sync) if "KAFKA" in name]
    secrets = {volume["name"] for volume in pod_of(overlay)["volumes"] if "secret" in str(volume)}
    assert len(secrets) == 1
    assert not secrets & {mount["name"] for mount in door["volumeMounts"]}
    (mount,) = [mount for mount in sync["volumeMounts"] if mount["name"] in secrets]
    assert mount == {"name": mount["name"], "mountPath": "/run/secrets/kafka", "readOnly": True}


def test_door_and_sync_share_a_folder_on_the_node(overlay: str) -> None:
    volumes = {volume["name"]: volume for volume in pod_of(overlay)["volumes"]}
    shared = set()
    for container in both_of(overlay):
        folder = str(settings_of(overlay, container).folder)
        (mount,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == folder]
        assert not mount.get("readOnly")
        shared.add(mount["name"])
    (name,) = shared
    # SQLite needs a file system of this machine; the spool, its log and a million verdicts must find room.
    assert volumes[name]["emptyDir"] == {"sizeLimit": "4Gi"}
    assert settings_of(overlay, container_of(overlay, 0)).spool_bytes * 2 < 4 << 30


def test_the_connectors_are_read_from_a_map_that_changes_without_a_restart(overlay: str) -> None:
    manifests = rendered(overlay)
    config = of_kind(manifests, "ConfigMap")["tes-edge-connectors"]["data"]
    for container in both_of(overlay):
        folder, _, name = settings_of(overlay, container).connectors.rpartition("/")
        assert folder in [mount["mountPath"] for mount in container["volumeMounts"]]
        assert parse_connectors(config[name], name)
    # A file that is mounted by a subPath is never replaced.
    assert "subPath" not in str(pod_of(overlay))


def test_pods_are_restricted(overlay: str) -> None:
    pod = pod_of(overlay)
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in both_of(overlay):
        context = pod["securityContext"] | container["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == 10001
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
    for volume in pod["volumes"]:
        assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": ""}), volume["name"]
        assert "hostPath" not in volume


def test_the_image_is_of_this_version(overlay: str) -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert {container["image"] for container in both_of(overlay)} == {f"tes:{version}"}


def test_probes_ask_the_web_server_of_their_process(overlay: str) -> None:
    for container, name in zip(both_of(overlay), ("door_port", "sync_port"), strict=True):
        settings = settings_of(overlay, container)
        assert settings.web_host == "0.0.0.0"
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        probes = [container[kind] for kind in container if kind.endswith("Probe")]
        assert probes
        assert {ports[probe["httpGet"]["port"]] for probe in probes} == {getattr(settings, name)}
    # Mail does not depend on sync, so it must not take the pod out of the Service.
    assert "readinessProbe" not in container_of(overlay, 1)


def test_the_http_door_is_where_its_service_and_its_network_policy_say() -> None:
    manifests = rendered("edge")
    door = container_of("edge", 0)
    ports = {port["name"]: port["containerPort"] for port in door["ports"]}
    address = environment_of("edge", door)["TES_EDGE_HTTP"]
    assert address == f"0.0.0.0:{ports['http']}"
    assert settings_of("edge", door).milter_address is None
    service = only(manifests, "Service")["spec"]
    assert service["selector"] == EDGE
    assert service["ports"] == [{"name": "http", "port": ports["http"], "targetPort": "http"}]
    policy = only(manifests, "NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"] == EDGE
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    mtas, scrapes = policy["ingress"]
    assert mtas == {
        "from": [{"podSelector": {"matchLabels": {"tes-edge": "client"}}}],
        "ports": [{"protocol": "TCP", "port": "http"}],
    }
    assert [port["port"] for port in scrapes["ports"]] == ["web", "sync-web"]
    dns, kafka = policy["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    bootstrap = settings_of("edge", container_of("edge", 1)).bootstrap
    assert int(bootstrap.rpartition(":")[2]) in {port["port"] for port in kafka["ports"]}


def test_selectors_find_the_edge_and_an_update_keeps_one_that_answers() -> None:
    manifests = rendered("edge")
    workload = only(manifests, "Deployment")["spec"]
    assert workload["template"]["metadata"]["labels"].items() >= EDGE.items()
    assert workload["selector"]["matchLabels"] == EDGE
    assert workload["replicas"] >= 2
    assert workload["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    disruption = only(manifests, "PodDisruptionBudget")["spec"]
    assert (disruption["maxUnavailable"], disruption["selector"]["matchLabels"]) == (1, EDGE)


def test_the_sidecar_shares_the_socket_with_its_mta_and_starts_first() -> None:
    pod = pod_of("edge-sidecar")
    door, sync = both_of("edge-sidecar")
    # Init containers that are restarted: they start before the MTA, and end after it.
    assert [item["name"] for item in pod["initContainers"]] == [door["name"], sync["name"]]
    assert door["restartPolicy"] == sync["restartPolicy"] == "Always"
    assert "startupProbe" in door
    assert "startupProbe" not in sync
    address = settings_of("edge-sidecar", door).milter_address
    assert address is not None
    folder = re.sub(r"^unix:(.*)/[^/]+$", r"\1", environment_of("edge-sidecar", door)["TES_EDGE_MILTER"])
    (mta,) = pod["containers"]
    (mount,) = [mount for mount in door["volumeMounts"] if mount["mountPath"] == folder]
    assert mount["name"] in [item["name"] for item in mta["volumeMounts"]]
    # Another user than the door's connects to it.
    assert pod["securityContext"]["runAsUser"] != door["securityContext"]["runAsUser"]
    assert settings_of("edge-sidecar", door).milter_mode == "0666"
