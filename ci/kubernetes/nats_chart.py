"""Checks of the values of the NATS chart that are possible without the chart.

The chart makes a configuration and a pod from its values. This module repeats what it does with the values that we use,
according to its documentation: it merges `merge`, applies `patch` as a JSON patch, removes the quotes of `<< x >>`, and makes an include of a
key that ends in `$include`. A real nats-server checks the configuration (kubernetes.sh), and the pod gets the
same checks as all others. It is NOT CHECKED that the chart does the same.
"""

import base64
import binascii
import hashlib
import json
import re

import jsonschema
import yaml
from manifests import CHART_POD, KUBERNETES, SCHEMAS, Manifests, by_schema, pods_are_locked_down

USERS = ["INGRESS", "NORMALIZER", "SENDER", "MEDIA", "TIMELINE", "ERASER", "AICC", "PROVISIONER", "OPERATOR"]


def overlay(below, above):
    for key, value in above.items():
        below[key] = overlay(below.get(key) or {}, value) if isinstance(value, dict) else value
    return below


def patched(document, patch):
    for step in patch or []:
        *path, last = step["path"].strip("/").split("/")
        at = document
        for part in path:
            at = at[int(part) if isinstance(at, list) else part]
        if step["op"] == "remove":
            del at[last]
        elif isinstance(at, list) and last == "-":
            at.append(step["value"])
        else:
            at[last] = step["value"]
    return document


def tls(part, folder):
    found = {"cert_file": f"{folder}/tls.crt", "key_file": f"{folder}/tls.key"}
    return overlay(found, part.get("merge", {}))


def configuration(values):
    """nats.conf of the first server."""
    config = values["config"]
    jetstream, cluster = config["jetstream"], config["cluster"]
    made = {
        "server_name": "<< $POD_NAME >>",
        "lame_duck_grace_period": "10s",
        "lame_duck_duration": "30s",
        "port": 4222,
        "http_port": config["monitor"]["port"],
        "cluster": overlay({
            "name": "nats", "port": 6222, "no_advertise": True,
            "routes": [f"nats://nats-{n}.nats-headless:6222" for n in range(cluster["replicas"])],
        }, cluster.get("merge", {})),
        "jetstream": overlay({
            "store_dir": "/data",
            "max_file_store": f"<< {jetstream['fileStore']['maxSize']} >>",
            "max_memory_store": f"<< {jetstream['memoryStore']['maxSize']} >>",
        }, jetstream.get("merge", {})),
    }
    if config.get("nats", {}).get("tls", {}).get("enabled"):
        made["tls"] = tls(config["nats"]["tls"], "/etc/nats-certs/nats")
    if cluster.get("tls", {}).get("enabled"):
        made["cluster"]["tls"] = tls(cluster["tls"], "/etc/nats-certs/cluster")
    text = json.dumps(overlay(made, config.get("merge", {})), indent=2, sort_keys=True)
    text = re.sub(r'".*\$include": "(.*)",?', r"include \1;", text)
    return re.sub(r'"<<\s+(.*?)\s+>>"', r"\1", text)


def stateful_set(values):
    container = overlay({
        "name": "nats",
        "image": "nats:chart",
        "args": ["--config", "/etc/nats-config/nats.conf"],
        "ports": [{"name": n, "containerPort": p} for n, p in (("nats", 4222), ("cluster", 6222), ("monitor", 8222))],
        "env": [{"name": k, "value": v} for k, v in values["container"].get("env", {}).items()],
        "volumeMounts": [{"name": "config", "mountPath": "/etc/nats-config"}, {"name": "pid", "mountPath": "/var/run/nats"}],
        **{f"{probe}Probe": {"httpGet": {"path": "/healthz", "port": "monitor"}} for probe in ("startup", "readiness", "liveness")},
    }, values["container"].get("merge", {}))
    patched(container, values["container"].get("patch"))
    reloader = overlay({
        "name": "reloader", "image": "nats-server-config-reloader:chart",
        "volumeMounts": [v for v in container["volumeMounts"] if v["mountPath"].startswith(("/etc/", "/var/run/nats"))],
        **{f"{probe}Probe": {"exec": {"command": ["true"]}} for probe in ("startup", "readiness", "liveness")},
    }, values["reloader"].get("merge", {}))
    pod = overlay({
        "metadata": {"labels": dict(CHART_POD["labels"])},
        "spec": {
            "enableServiceLinks": False,
            "containers": [container, reloader],
            "volumes": [{"name": "config", "configMap": {"name": "nats-config"}}, {"name": "pid", "emptyDir": {}}],
            "topologySpreadConstraints": [
                {"topologyKey": key, "labelSelector": {"matchLabels": dict(CHART_POD["labels"])}, **value}
                for key, value in values["podTemplate"]["topologySpreadConstraints"].items()],
        },
    }, values["podTemplate"].get("merge", {}))
    return {
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "nats"},
        "spec": {"serviceName": "nats-headless", "replicas": values["config"]["cluster"]["replicas"],
                 "selector": {"matchLabels": dict(CHART_POD["labels"])}, "template": patched(pod, values["podTemplate"].get("patch"))},
    }


def public_key(name):
    """A well-formed public nkey that no user has: prefix, 32 bytes, and their CRC16."""
    raw = bytes([20 << 3]) + hashlib.sha256(name.encode()).digest()
    return base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")


def faults(values):
    config = values["config"]
    if config["jetstream"]["merge"].get("sync_interval") != "always":
        yield "nats/values.yaml: acknowledged messages may be only in memory (sync_interval)"
    if config["cluster"]["replicas"] != 3:
        yield "nats/values.yaml: streams have three copies, but there are not three servers"
    if values["podDisruptionBudget"]["merge"]["spec"] != {"maxUnavailable": 1}:
        yield "nats/values.yaml: more than one server may be evicted at the same time"
    made = stateful_set(values)
    yield from (f"nats/values.yaml: {fault}" for fault in by_schema(made))
    priorities = list(yaml.safe_load_all((KUBERNETES / "namespace/priority.yaml").read_text()))
    yield from (f"nats/values.yaml: {fault}" for fault in pods_are_locked_down(Manifests("nats", [made, *priorities], [], "")))
    mounts = {v["name"]: v["mountPath"] for v in made["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]}
    includes = [v for k, v in config["merge"].items() if k.endswith("$include")]
    if includes != [f"../{mounts.get('nats-files', '').removeprefix('/etc/')}/users.conf"]:
        yield "nats/values.yaml: users.conf is not included from its mount path"


def check(folder):
    schema = json.loads((SCHEMAS / "nats-values.json").read_text())
    values, found = {}, []
    for name in ("values", "values-tls"):
        part = yaml.safe_load((KUBERNETES / f"nats/{name}.yaml").read_text())
        for e in jsonschema.Draft202012Validator(schema).iter_errors(part):
            found.append(f"nats/{name}.yaml: {'.'.join(str(p) for p in e.absolute_path)}: {e.message}")
        if found:
            return found
        values = overlay(values, part)
        found += list(faults(values))
        (folder / f"nats-{name}.conf").write_text(configuration(values))
    (folder / "nats.env").write_text("".join(f"NATS_{user}_NKEY={public_key(user)}\n" for user in USERS))
    if not found:
        print("ok   values of the NATS chart (keys, pod, disruption budget)")
    return found
