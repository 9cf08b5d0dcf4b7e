"""What stands in compose.yaml and deploy/: readable, pinned, as the tools that read it want it, and true of the bot."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.__main__ import CLOSE_SECONDS, LINGER_SECONDS, REQUESTS_CLOSE_SECONDS
from bot.attempts import Finished
from bot.metrics import Kept, Metrics
from orchestrator.operator_config import parse_operator_config
from orchestrator.telemetry import Telemetry

TOP = Path(__file__).parents[2]
DEPLOY = TOP / "deploy"
PINNED = re.compile(r"@sha256:[0-9a-f]{64}\Z")
PROMQL = re.compile(r"[a-z_]*orchestrator_[a-z_]+")


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((TOP / "compose.yaml").read_text())
    return loaded


def objects() -> dict[str, dict[str, Any]]:
    """Return the Kubernetes objects by kind."""
    return {it["kind"]: it for it in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}


def test_every_foreign_image_is_pinned_by_its_digest() -> None:
    services = compose()["services"]
    foreign = {name: it["image"] for name, it in services.items() if "build" not in it}
    assert sorted(foreign) == ["balancer", "database"]
    (container,) = objects()["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert all(PINNED.search(image) for image in [*foreign.values(), container["image"]])


def test_sec_38_every_container_has_a_read_only_root_and_no_capability_that_it_does_not_name() -> None:
    services = compose()["services"]
    assert sorted(services) == ["balancer", "bot-1", "bot-2", "database"]
    assert all(it["read_only"] and it["cap_drop"] == ["ALL"] for it in services.values())
    assert [name for name, it in services.items() if "cap_add" in it] == ["database"]
    pod = objects()["Deployment"]["spec"]["template"]["spec"]
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 10001)
    held = pod["containers"][0]["securityContext"]
    assert (held["readOnlyRootFilesystem"], held["capabilities"]) == (True, {"drop": ["ALL"]})


def test_sec_21_the_sandbox_may_make_its_namespaces_and_mounts_and_what_it_leaves_is_reaped() -> None:
    pod = objects()["Deployment"]["spec"]["template"]["spec"]
    held = pod["securityContext"]
    assert held["seccompProfile"] == held["appArmorProfile"] == {"type": "Unconfined"}
    assert (pod["hostUsers"], pod["containers"][0]["securityContext"]["procMount"]) == (False, "Unmasked")
    assert 'ENTRYPOINT ["tini", "-s", "--", "python", "-m", "bot"]' in (TOP / "Dockerfile").read_text()
    for name in ("bot-1", "bot-2"):
        assert {"apparmor=unconfined", "systempaths=unconfined"} <= set(compose()["services"][name]["security_opt"])


def test_every_bot_reads_the_operator_s_file_that_is_mounted_and_can_be_read() -> None:
    (container,) = objects()["Deployment"]["spec"]["template"]["spec"]["containers"]
    named = {it["name"]: it.get("value") for it in container["env"]}
    assert named["ORCHESTRATOR_CONFIG"] == "/config/config.yaml"
    assert {"name": "config", "mountPath": "/config", "readOnly": True} in container["volumeMounts"]
    for name in ("bot-1", "bot-2"):
        bot = compose()["services"][name]
        assert bot["environment"] == {"ORCHESTRATOR_CONFIG": "/config/config.yaml"}
        assert "./config:/config:ro" in bot["volumes"]
    examples = [(DEPLOY / "config.yaml.example").read_text(), objects()["ConfigMap"]["data"]["config.yaml"]]
    assert {parse_operator_config(text, "config.yaml").max_usd for text in examples} == {10.0}


def test_nothing_but_the_balancer_is_published_and_that_on_loopback_only() -> None:
    published = {name: it["ports"] for name, it in compose()["services"].items() if "ports" in it}
    assert published == {"balancer": ["127.0.0.1:8080:8080"]}
    assert compose()["networks"]["inside"] == {"internal": True}
    assert compose()["services"]["database"]["networks"] == ["inside"]


def test_no_secret_stands_in_a_file_that_is_committed() -> None:
    for path in (TOP / "compose.yaml", *DEPLOY.iterdir()):
        for line in path.read_text().splitlines():
            if found := re.match(r"\s*([A-Z_]*(?:KEY|SECRET|TOKEN|PASSWORD))\s*[:=]\s*(.*)", line):
                assert found[2].partition("#")[0].strip() in ("", '""'), (path.name, found[1])
    assert {it["env_file"] for it in compose()["services"].values() if "env_file" in it} == {"bot.env", "database.env"}
    assert {"bot.env", "database.env"} <= set((TOP / ".gitignore").read_text().split())


def test_kubernetes_asks_what_the_bot_answers_and_waits_longer_than_it_takes_to_leave() -> None:
    found = objects()
    pod = found["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    probes = {name: container[name]["httpGet"]["path"] for name in container if name.endswith("Probe")}
    assert probes == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    stays = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert stays >= 5
    assert pod["terminationGracePeriodSeconds"] > stays + CLOSE_SECONDS
    # A balancer that looks every second, and believes the second look, has seen it by then.
    assert LINGER_SECONDS > 3
    assert CLOSE_SECONDS > LINGER_SECONDS + REQUESTS_CLOSE_SECONDS
    assert found["Deployment"]["spec"]["replicas"] == 2
    assert found["PodDisruptionBudget"]["spec"]["minAvailable"] == 1
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels


def test_alerts_name_metrics_that_the_bot_exports_with_labels_that_they_have() -> None:
    exported = Metrics(Telemetry).render(Kept({}, 0.0, 0, 0), working=0, finished=Finished()).decode()
    rules = [
        rule for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
    ]
    assert len(rules) == 6
    for rule in rules:
        named = PROMQL.findall(rule["expr"])
        assert named
        for name in named:
            assert re.search(rf"^{name}[ {{]", exported, re.MULTILINE), name
        for label, value in re.findall(r'(\w+)=~?"([^"]+)"', rule["expr"]):
            for one in value.split("|"):
                assert f'{label}="{one}"' in exported


def test_compose_yaml_is_as_docker_s_own_schema_wants_it() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    judged = subprocess.run(
        [Path(sys.executable).parent / "check-jsonschema", *schema, TOP / "compose.yaml"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (judged.returncode, judged.stdout.strip()) == (0, "ok -- validation done")


@pytest.mark.slow
@pytest.mark.haproxy
def test_haproxy_takes_the_balancer_s_configuration_without_a_warning() -> None:
    places = {"LISTEN": "127.0.0.1:8080", "BOT_1": "127.0.0.1:1", "BOT_2": "127.0.0.1:2"}
    checked = subprocess.run(
        ["haproxy", "-c", "-dW", "-f", DEPLOY / "haproxy.cfg"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **places},
    )
    assert checked.returncode == 0, checked.stderr


ALERTS = """
rule_files: [%s]
evaluation_interval: 1m
tests:
  - interval: 1m
    name: the database is gone, and then everything
    input_series:
      - {series: 'orchestrator_database_up{instance="a"}', values: '1x10 0x110 _x30'}
      - {series: 'orchestrator_database_up{instance="b"}', values: '1x120 _x30'}
      - {series: 'orchestrator_deliveries_total{instance="a",answer="unstored"}', values: '0x10 1+1x110 _x30'}
      - {series: 'orchestrator_deliveries_total{instance="a",answer="queued"}', values: '0+9x10 90x110 _x30'}
      - {series: 'orchestrator_deliveries_in_flight{instance="a"}', values: '1x120 _x30'}
      - {series: 'orchestrator_queue_length{instance="b"}', values: '1x150'}
    alert_rule_test:
      - {eval_time: 9m, alertname: OrchestratorDatabaseDown}
      - {eval_time: 9m, alertname: OrchestratorDeliveriesLost}
      - {eval_time: 120m, alertname: OrchestratorDown}
      - eval_time: 20m
        alertname: OrchestratorDatabaseDown
        exp_alerts: [{exp_labels: {severity: critical}}]
      - eval_time: 20m
        alertname: OrchestratorDeliveriesLost
        exp_alerts: [{exp_labels: {severity: critical}}]
      - eval_time: 140m
        alertname: OrchestratorDown
        exp_alerts: [{exp_labels: {severity: critical}}]
  - interval: 1m
    name: a stranger sends what is not signed, and a delivery pauses after a failure
    input_series:
      - {series: 'orchestrator_deliveries_total{answer="unsigned"}', values: '0+5x100'}
      - {series: 'orchestrator_deliveries_total{answer="ignored"}', values: '0x30 1x30 2x40'}
      - {series: 'orchestrator_queue_length', values: '0x100'}
      - {series: 'orchestrator_deliveries_pausing', values: '1x100'}
      - {series: 'orchestrator_deliveries_in_flight', values: '0x100'}
    alert_rule_test:
      - {eval_time: 40m, alertname: OrchestratorSecretDiffers}
      - {eval_time: 80m, alertname: OrchestratorSecretDiffers}
      - {eval_time: 80m, alertname: OrchestratorQueueStands}
      - {eval_time: 80m, alertname: OrchestratorDown}
  - interval: 1m
    name: the secret differs, the queue stands, and work is given up
    input_series:
      - {series: 'orchestrator_deliveries_total{answer="unsigned"}', values: '0x10 1+1x30'}
      - {series: 'orchestrator_deliveries_total{answer="queued"}', values: '7x40'}
      - {series: 'orchestrator_queue_length{instance="a"}', values: '0x10 3x30'}
      - {series: 'orchestrator_deliveries_in_flight{instance="a"}', values: '0x10 0x30'}
      - {series: 'orchestrator_deliveries_in_flight{instance="b"}', values: '1x10 0x30'}
      - {series: 'orchestrator_attempts_total{outcome="given_up"}', values: '0x10 1x30'}
    alert_rule_test:
      - {eval_time: 9m, alertname: OrchestratorSecretDiffers}
      - {eval_time: 9m, alertname: OrchestratorQueueStands}
      - {eval_time: 9m, alertname: OrchestratorGivesUp}
      - eval_time: 30m
        alertname: OrchestratorSecretDiffers
        exp_alerts: [{exp_labels: {severity: warning}}]
      - eval_time: 30m
        alertname: OrchestratorQueueStands
        exp_alerts: [{exp_labels: {severity: critical}}]
      - eval_time: 30m
        alertname: OrchestratorGivesUp
        exp_alerts: [{exp_labels: {severity: warning}}]
"""


@pytest.mark.slow
@pytest.mark.haproxy
def test_each_alert_is_raised_by_what_it_is_about_and_by_nothing_else(tmp_path: Path) -> None:
    # promtool compares annotations as well: they are texts, and not what is tried here.
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())
    for rule in rules["groups"][0]["rules"]:
        assert set(rule.pop("annotations")) == {"summary", "description"}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    (tmp_path / "tests.yaml").write_text(ALERTS % (tmp_path / "rules.yaml"))
    for what, file in (("check", DEPLOY / "alerts.yaml"), ("test", tmp_path / "tests.yaml")):
        tried = subprocess.run(["promtool", what, "rules", str(file)], check=False, capture_output=True, text=True)
        assert tried.returncode == 0, tried.stdout + tried.stderr
