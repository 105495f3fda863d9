"""What the manifests promise: settings that exist, pods that are restricted, a network that is closed."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml

from streams.engine.deadlines import RELEASE_SECONDS
from streams.settings.worker import SettingsError, read_settings
from tests.deploy.manifests import (
    DIGEST_FILE,
    OVERLAYS,
    RENDERED,
    REPOSITORY,
    SOURCES,
    WITH_WORKERS,
    Manifest,
    all_pods_of,
    digest_of_sources,
    environment_of,
    of_kind,
    only,
    pod_of,
    rendered,
)

WORKER = {"app.kubernetes.io/name": "tes", "app.kubernetes.io/component": "worker"}
_BYTES = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


@pytest.fixture(params=WITH_WORKERS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    """The manifests of every overlay that has workers."""
    return rendered(request.param)


def endpoints_of(monitor: Manifest) -> list[Manifest]:
    found: list[Manifest] = monitor["spec"]["podMetricsEndpoints"]
    return found


def in_bytes(quantity: str) -> int:
    found = re.fullmatch(r"(\d+)(Ki|Mi|Gi)", quantity)
    assert found is not None
    number, unit = found.groups()
    return int(number) * _BYTES[unit]


def test_the_rendered_manifests_are_those_of_the_sources() -> None:
    assert DIGEST_FILE.read_text().strip() == digest_of_sources(), "deploy/k8s changed: run scripts/k8s render"
    assert {path.stem for path in RENDERED.glob("*.yaml")} == {*OVERLAYS, "chart"}


def test_every_overlay_that_is_promised_exists() -> None:
    promised = {"dev", "edge", "edge-sidecar", "keda", "monitoring", "notify", "production", "pvc", "report", "strimzi"}
    assert set(OVERLAYS) == promised


def test_every_setting_is_known_and_of_its_kind(manifests: list[Manifest]) -> None:
    # It raises for an unknown TES_ variable, and for a value that is not of its kind.
    settings = read_settings(environment_of(manifests))
    assert settings.instance_id == "tes-worker-0"
    assert settings.web_host == "0.0.0.0"


def test_only_settings_of_the_product_are_in_the_config_map(manifests: list[Manifest]) -> None:
    for config in of_kind(manifests, "ConfigMap").values():
        assert all(key.startswith("TES_") for key in config["data"])


def test_no_secret_is_in_the_environment(manifests: list[Manifest]) -> None:
    (container,) = pod_of(manifests)["containers"]
    assert "secretKeyRef" not in str(container["env"])
    assert "secretRef" not in str(container["envFrom"])
    for key in environment_of(manifests):
        assert key.endswith("_FILE") or not re.search("PASSWORD|SECRET", key), key


def test_secrets_are_files_that_only_the_worker_reads(manifests: list[Manifest]) -> None:
    pod = pod_of(manifests)
    (volume,) = [volume for volume in pod["volumes"] if "secret" in str(volume)]
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == volume["name"]]
    assert mount["readOnly"] is True
    assert volume["projected"]["defaultMode"] == 0o440


def test_pods_are_restricted(manifests: list[Manifest]) -> None:
    assert only(manifests, "ServiceAccount")["automountServiceAccountToken"] is False
    for pod in all_pods_of(manifests):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert {"memory"} <= set(container["resources"]["limits"])
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert "hostPath" not in str(pod["volumes"])


def test_services_add_no_variables_that_the_worker_would_refuse(manifests: list[Manifest]) -> None:
    # A Service called tes-… gives TES_…_SERVICE_HOST to every pod of its namespace that has service links.
    assert all(pod["enableServiceLinks"] is False for pod in all_pods_of(manifests))


def test_only_the_state_and_tmp_can_be_written(manifests: list[Manifest]) -> None:
    workload = only(manifests, "StatefulSet")["spec"]
    pod = workload["template"]["spec"]
    mounts = pod["containers"][0]["volumeMounts"]
    writable = {mount["mountPath"]: mount["name"] for mount in mounts if not mount.get("readOnly")}
    assert set(writable) == {environment_of(manifests)["TES_STATE_DIR"], "/tmp"}
    named = {volume["name"]: volume for volume in pod["volumes"]}
    claims = {claim["metadata"]["name"] for claim in workload.get("volumeClaimTemplates", ())}
    for name in writable.values():
        assert name in claims or "sizeLimit" in named[name]["emptyDir"], name


def test_the_node_gives_the_disk_that_the_volumes_may_take(manifests: list[Manifest]) -> None:
    pod = pod_of(manifests)
    volumes = sum(in_bytes(volume["emptyDir"]["sizeLimit"]) for volume in pod["volumes"] if "emptyDir" in volume)
    assert in_bytes(pod["containers"][0]["resources"]["limits"]["ephemeral-storage"]) > volumes


def test_memory_holds_the_process_its_cache_and_what_waits(manifests: list[Manifest]) -> None:
    settings = read_settings(environment_of(manifests))
    resources = pod_of(manifests)["containers"][0]["resources"]
    assert resources["limits"]["memory"] == resources["requests"]["memory"]
    # See docs/how-to/capacity.md: the process, 4 KB a server, and 16 MiB that may wait in each partition.
    needed = (150 << 20) + settings.state_cache_bytes + settings.cached_servers * 4_000
    needed += settings.partitions * (16 << 20)
    assert in_bytes(resources["limits"]["memory"]) >= needed


def test_a_worker_has_time_to_drain_and_keeps_its_partitions_over_a_restart(manifests: list[Manifest]) -> None:
    grace = pod_of(manifests)["terminationGracePeriodSeconds"]
    settings = read_settings(environment_of(manifests))
    # Half a session for the unit in work, at most RELEASE_SECONDS for all of them, and the end of the process.
    assert settings.session_timeout_seconds / 2 < RELEASE_SECONDS
    assert grace >= RELEASE_SECONDS + 15


def test_probes_ask_the_web_port_and_leave_time_to_restore(manifests: list[Manifest]) -> None:
    (container,) = pod_of(manifests)["containers"]
    (port,) = container["ports"]
    assert port == {"name": "web", "containerPort": read_settings(environment_of(manifests)).web_port}
    for probe, path in (("startupProbe", "/startupz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")):
        assert container[probe]["httpGet"] == {"path": path, "port": "web"}
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 600


def test_a_stalled_worker_stops_itself_before_the_kubelet_does(manifests: list[Manifest]) -> None:
    # The worker's own end says why; the kubelet's only that it did not answer.
    liveness = pod_of(manifests)["containers"][0]["livenessProbe"]
    settings = read_settings(environment_of(manifests))
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= settings.stall_seconds


def test_selectors_find_the_workers(manifests: list[Manifest]) -> None:
    workload = only(manifests, "StatefulSet")
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert labels.items() >= WORKER.items()
    assert workload["spec"]["selector"]["matchLabels"] == WORKER
    assert workload["spec"]["serviceName"] == only(manifests, "Service")["metadata"]["name"]
    assert only(manifests, "Service")["spec"]["clusterIP"] == "None"
    assert only(manifests, "Service")["spec"]["selector"] == WORKER
    assert only(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == WORKER
    for constraint in workload["spec"]["template"]["spec"]["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"] == WORKER


def test_an_eviction_takes_one_worker_at_a_time(manifests: list[Manifest]) -> None:
    assert only(manifests, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_the_network_is_closed_but_for_what_the_worker_needs(manifests: list[Manifest]) -> None:
    policies = of_kind(manifests, "NetworkPolicy")
    assert set(policies) == {"tes-default-deny", "tes-dns", "tes-kafka", "tes-web"}
    deny = policies["tes-default-deny"]["spec"]
    assert deny["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "tes"}
    assert set(deny["policyTypes"]) == {"Ingress", "Egress"}
    assert not {"ingress", "egress"} & set(deny)
    (dns,) = policies["tes-dns"]["spec"]["egress"]
    assert {(port["protocol"], port["port"]) for port in dns["ports"]} == {("UDP", 53), ("TCP", 53)}
    (kafka,) = policies["tes-kafka"]["spec"]["egress"]
    allowed = {port["port"] for port in kafka["ports"]}
    named = read_settings(environment_of(manifests)).bootstrap.split(",")
    assert {int(host.rpartition(":")[2]) for host in named} <= allowed
    (web,) = policies["tes-web"]["spec"]["ingress"]
    assert web["ports"] == [{"protocol": "TCP", "port": "web"}]


def test_there_are_no_more_workers_than_partitions(manifests: list[Manifest]) -> None:
    settings = read_settings(environment_of(manifests))
    assert only(manifests, "StatefulSet")["spec"].get("replicas", 1) <= settings.partitions
    for scaled in of_kind(manifests, "ScaledObject").values():
        assert 1 <= scaled["spec"]["minReplicaCount"] <= scaled["spec"]["maxReplicaCount"] <= settings.partitions


def test_keda_watches_the_lag_of_the_group_and_no_worker_is_idle() -> None:
    manifests = rendered("keda")
    settings = read_settings(environment_of(manifests))
    (trigger,) = only(manifests, "ScaledObject")["spec"]["triggers"]
    assert trigger["metadata"]["bootstrapServers"] == settings.bootstrap
    assert trigger["metadata"]["consumerGroup"] == settings.app_id
    assert trigger["metadata"]["topic"] == settings.topic("transport.connections.v1")
    assert trigger["metadata"]["allowIdleConsumers"] == "false"
    # Applying the manifests again must not undo what KEDA chose.
    assert "replicas" not in only(manifests, "StatefulSet")["spec"]


def test_volumes_are_claimed_where_promised() -> None:
    for overlay in ("pvc", "production"):
        workload = only(rendered(overlay), "StatefulSet")["spec"]
        (claim,) = workload["volumeClaimTemplates"]
        assert claim["metadata"]["name"] == "state"
        assert "state" not in [volume["name"] for volume in workload["template"]["spec"]["volumes"]]


def test_topics_are_created_with_the_workers_settings() -> None:
    manifests = rendered("dev")
    (worker, topics) = (pod["containers"][0] for pod in all_pods_of(manifests))
    assert topics["args"] == ["topics", "create"]
    assert topics["envFrom"] == worker["envFrom"]


def test_each_of_strimzis_command_lines_comes_in_as_its_own_user() -> None:
    manifests = rendered("strimzi")
    pod = only(manifests, "Deployment")["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for container in pod["containers"]:
        (user,) = [variable["value"] for variable in container["env"]]
        settings = read_settings(environment_of(manifests) | {"TES_KAFKA_USER": user})
        assert user in of_kind(manifests, "KafkaUser")
        (mount,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == "/run/secrets/kafka"]
        secrets = volumes[mount["name"]]["projected"]["sources"]
        assert [source["secret"]["name"] for source in secrets] == [user, "tes-cluster-ca-cert"]
        files = {f"/run/secrets/kafka/{item['path']}" for source in secrets for item in source["secret"]["items"]}
        assert files == {settings.kafka_password_file, settings.kafka_ca_file}


def test_metrics_are_scraped_from_the_web_port() -> None:
    monitors = of_kind(rendered("monitoring"), "PodMonitor")
    assert {name: item["spec"]["selector"]["matchLabels"] for name, item in monitors.items()} == {
        "tes-worker": WORKER,
        "tes-report": WORKER | {"app.kubernetes.io/component": "report"},
        "tes-notify": WORKER | {"app.kubernetes.io/component": "notify"},
        "tes-edge": WORKER | {"app.kubernetes.io/component": "edge"},
        "tes-edge-sidecar": {"tes-edge": "sidecar"},
    }
    ports = {name: [item["port"] for item in endpoints_of(monitor)] for name, monitor in monitors.items()}
    assert ports == {
        "tes-worker": ["web"],
        "tes-report": ["web"],
        "tes-notify": ["web"],
        "tes-edge": ["web", "sync-web"],
        "tes-edge-sidecar": ["door-web", "sync-web"],
    }
    assert {item["path"] for monitor in monitors.values() for item in endpoints_of(monitor)} == {"/metrics"}


@pytest.mark.parametrize(("overlay", "name"), [("edge", "tes-edge"), ("edge-sidecar", "tes-edge-sidecar")])
def test_an_edge_is_scraped_at_both_of_its_containers(overlay: str, name: str) -> None:
    template = only(rendered(overlay), "Deployment")["spec"]["template"]
    monitor = of_kind(rendered("monitoring"), "PodMonitor")[name]
    assert template["metadata"]["labels"].items() >= monitor["spec"]["selector"]["matchLabels"].items()
    containers = [*template["spec"].get("initContainers", ()), *template["spec"]["containers"]]
    shown = {port["name"]: item["name"] for item in containers for port in item.get("ports", ())}
    found = [shown[item["port"]] for item in endpoints_of(monitor)]
    # The alert on doors that do not answer names them.
    assert found in (["door", "sync"], ["tes-edge-door", "tes-edge-sync"])


def test_the_image_is_of_this_version(manifests: list[Manifest]) -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    images = {container["image"] for pod in all_pods_of(manifests) for container in pod["containers"]}
    assert images == {f"tes:{version}"}


def test_the_namespace_refuses_pods_that_are_not_restricted() -> None:
    namespace = yaml.safe_load((SOURCES / "namespace.yaml").read_text())
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_production_refuses_a_network_in_the_clear_unless_told_so() -> None:
    environment = environment_of(rendered("production"))
    assert read_settings(environment).has_tls
    with pytest.raises(SettingsError, match="TES_KAFKA_SECURITY_PROTOCOL: 'PLAINTEXT': must be SSL or SASL_SSL"):
        read_settings(environment | {"TES_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"})
    told = {"TES_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT", "TES_ALLOW_PLAINTEXT": "1"}
    assert not read_settings(environment | told).has_tls
