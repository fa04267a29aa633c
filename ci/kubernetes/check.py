"""Checks on the Kubernetes manifests. Run by ci/kubernetes.sh, in the repository's root.

    check.py rules [--write]     the PrometheusRule against deploy/prometheus/alerts.yml
    check.py manifests FOLDER    FOLDER has the output of kustomize, and secrets.yaml
    check.py nats FOLDER         the values of the NATS chart; writes the server's configuration to FOLDER

Every fault is a line; exit code 1 if there is any.
"""

import copy
import sys
from pathlib import Path

import nats_chart
import yaml
from manifests import (COMPONENT, KUBERNETES, NAME, VERSION, Manifests, by_schema, documents, faults,
                                  settings_known, template)


def find(m, kind, name):
    return next(d for d in m.docs if d["kind"] == kind and d["metadata"]["name"] == name)


def misspelt_probe(m):
    c = template(find(m, "Deployment", "media"))["spec"]["containers"][0]
    c["readinesProbe"] = c.pop("readinessProbe")


def wrong_budget(m):
    find(m, "PodDisruptionBudget", "media")["spec"]["selector"]["matchLabels"][COMPONENT] = "medai"


def wrong_policy(m):
    find(m, "NetworkPolicy", "webhooks")["spec"]["podSelector"]["matchLabels"][COMPONENT] = "ingres"


def open_policy(m):
    del find(m, "NetworkPolicy", "webhooks")["spec"]["ingress"][0]["from"]


def misspelt_setting(m):
    template(find(m, "Deployment", "sender"))["spec"]["containers"][0]["env"] = [{"name": "IMCHANNEL_GRACE", "value": "1"}]


def missing_key(m):
    m.data[("Secret", "sender-secrets")].pop("redis.password")


def short_grace(m):
    template(find(m, "Deployment", "media"))["spec"]["terminationGracePeriodSeconds"] = 30


def writable_root(m):
    del template(find(m, "Job", "setup"))["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"]


def misspelt_trigger(m):
    find(m, "ScaledObject", "normalizer")["spec"]["triggers"][0]["metadata"]["lagTreshold"] = "1"


def wrong_target(m):
    find(m, "HorizontalPodAutoscaler", "ingress")["spec"]["scaleTargetRef"]["name"] = "ingres"


def misspelt_monitor(m):
    find(m, "PodMonitor", "imchannel")["spec"]["podMetricsEndpoints"][0]["intervall"] = "15s"


def claims_that_are_deleted(m):
    del find(m, "StatefulSet", "ingress")["spec"]["persistentVolumeClaimRetentionPolicy"]


def small_claims(m):
    claim = find(m, "StatefulSet", "ingress")["spec"]["volumeClaimTemplates"][0]
    claim["spec"]["resources"]["requests"]["storage"] = "1Gi"


def spool_on_the_root(m):
    c = template(find(m, "StatefulSet", "ingress"))["spec"]["containers"][0]
    c["volumeMounts"] = [v for v in c["volumeMounts"] if v["name"] != "spool"]


def timeline_on_the_root(m):
    c = template(find(m, "StatefulSet", "timeline"))["spec"]["containers"][0]
    c["volumeMounts"] = [v for v in c["volumeMounts"] if v["name"] != "timeline"]


def two_timelines(m):
    find(m, "StatefulSet", "timeline")["spec"]["replicas"] = 2


def timelines_with_their_own_keys(m):
    for (kind, name), data in m.data.items():
        if kind == "ConfigMap" and name.startswith("settings-timeline"):
            data.pop("IMCHANNEL_TIMELINE_KEY_FILE")


# With every component.
WRONG = [claims_that_are_deleted, small_claims, spool_on_the_root, misspelt_probe, wrong_budget, wrong_policy, open_policy,
         misspelt_setting, missing_key, short_grace, writable_root, misspelt_trigger, wrong_target, misspelt_monitor,
         timelines_with_their_own_keys]
# With a timeline that keeps its rows in its folder.
WRONG_IN_PRODUCTION = [timeline_on_the_root, two_timelines]


def check_manifests(folder):
    readme = (KUBERNETES / "README.md").read_text()
    secrets, known, found = documents(folder / "secrets.yaml"), settings_known(), []
    for d in secrets:
        found += [f"secrets: {fault}" for fault in by_schema(d)]
    for name in ("base", "dev", "production", "everything"):
        m = Manifests(name, documents(folder / f"{name}.yaml"), secrets, readme)
        wrong = list(faults(m, known))
        found += [f"{name}: {fault}" for fault in wrong]
        if not wrong:
            print(f"ok   manifests {name} ({len(m.docs)} documents, Kubernetes {VERSION} strictly)")
    if found:
        return found
    # Prove that the check can fail: it must find each of these faults.
    spoils = [("everything", spoil) for spoil in WRONG] + [("production", spoil) for spoil in WRONG_IN_PRODUCTION]
    for name, spoil in spoils:
        m = Manifests(name, copy.deepcopy(documents(folder / f"{name}.yaml")), copy.deepcopy(secrets), readme)
        spoil(m)
        if not list(faults(m, known)):
            found.append(f"a manifest that is wrong on purpose passes: {spoil.__name__}")
    if not found:
        print(f"ok   {len(spoils)} manifests that are wrong on purpose are refused")
    return found


def check_rules(write):
    """The PrometheusRule contains exactly alerts.yml."""
    source = Path("deploy/prometheus/alerts.yml")
    target = KUBERNETES / "components/prometheus-operator/prometheusrule.yaml"
    wrapped = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule",
               "metadata": {"name": "imchannel", "labels": {NAME: "imchannel"}},
               "spec": {"groups": yaml.safe_load(source.read_text())["groups"]}}
    if write:
        text = yaml.safe_dump(wrapped, sort_keys=False, allow_unicode=True, width=120)
        target.write_text(f"# Written by `ci/kubernetes.sh --write` from {source}. Change that file.\n{text}")
    if not target.exists() or yaml.safe_load(target.read_text()) != wrapped:
        return [f"{target} is not what {source} says: run ci/kubernetes.sh --write"]
    rules = [r for g in wrapped["spec"]["groups"] for r in g["rules"]]
    print(f"ok   PrometheusRule is {source} ({len(rules)} rules)")
    return []


def main(arguments):
    found = {
        "rules": lambda: check_rules("--write" in arguments),
        "manifests": lambda: check_manifests(Path(arguments[1])),
        "nats": lambda: nats_chart.check(Path(arguments[1])),
    }[arguments[0]]()
    for fault in found:
        print(f"FAIL {fault}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
