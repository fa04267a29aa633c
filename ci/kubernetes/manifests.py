"""Checks of the output of kustomize: schemas, and everything that schemas cannot check. check.py runs it.

Every check yields its faults as lines of text, and nothing if there is none.
"""

import json
import re
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

SCHEMAS = Path("ci/kubernetes/schemas")
KUBERNETES = Path("deploy/kubernetes")
VERSION = "1.37.0"
OWN_KINDS = {"ScaledObject": "scaledobject", "PodMonitor": "podmonitor", "PrometheusRule": "prometheusrule"}
NAME, COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/component"
SERVICES = ["ingress", "normalizer", "sender", "media", "timeline"]

# The pods that the NATS chart makes from deploy/kubernetes/nats/values.yaml, as seen by policies.
CHART_POD = {
    "labels": {NAME: "nats", COMPONENT: "nats", "app.kubernetes.io/instance": "nats"},
    "ports": {4222, 6222, 8222},
}

# The allowed connections, by port. Any other connection that the policies allow is a fault, and so is one of these that they refuse.
OBSERVED = {("timeline", who, 9090) for who in ["ingress", "normalizer", "sender", "media"]}
PODS_MAY = {
    "production": {(who, "nats", 4222) for who in [*SERVICES, "setup"]} | {("nats", "nats", 6222)} | OBSERVED,
    "dev": {(who, "nats", 4222) for who in [*SERVICES, "setup"]} | {(who, "redis", 6379) for who in ["setup", "sender", "media"]} | OBSERVED,
}
PODS_MAY["everything"] = PODS_MAY["production"] | {("doctor", "nats", 4222), ("doctor", "media", 8081)}
NAMESPACES_MAY = {
    "production": {("ingress-controller", "ingress", 8080), ("ingress-controller", "media", 8081),
                   ("aicc", "nats", 4222), ("aicc", "media", 8081), ("keda", "nats", 8222), ("console", "timeline", 8082)}
                  | {("prometheus", who, 9090) for who in SERVICES},
}
NAMESPACES_MAY["everything"] = NAMESPACES_MAY["production"]
NAMESPACES_MAY["dev"] = NAMESPACES_MAY["production"] - {("keda", "nats", 8222)}
LEAVES_MAY = {
    "production": {("sender", "internet", 443)} | {(who, "redis", 6379) for who in ["setup", "sender", "media"]},
    "dev": {("sender", "internet", 443)},
}
LEAVES_MAY["everything"] = (LEAVES_MAY["production"] | {(who, "telemetry", 4318) for who in SERVICES}
                            | {("doctor", "internet", 443), ("doctor", "redis", 6379), ("timeline", "postgres", 5432), ("timeline", "redis", 6379)})
# What is outside and in no namespace, by its port.
OUTSIDE = {6379: "redis", 5432: "postgres"}


def documents(path):
    return [d for d in yaml.safe_load_all(Path(path).read_text()) if d]


def title(d):
    return f"{d.get('kind')} {d.get('metadata', {}).get('name')}"


def by_schema(d):
    """Faults of one document against the schema of its kind."""
    kind = d.get("kind")
    if kind in OWN_KINDS:
        schema = json.loads((SCHEMAS / f"{OWN_KINDS[kind]}.json").read_text())
        for e in jsonschema.Draft202012Validator(schema).iter_errors(d):
            yield f"{title(d)}: {'.'.join(str(p) for p in e.absolute_path)}: {e.message}"
        return
    try:
        kubernetes_validate.validate(d, VERSION, strict=True)
    except kubernetes_validate.ValidationError as e:
        yield f"{title(d)}: {'.'.join(str(p) for p in e.path)}: {e.message}"
    except kubernetes_validate.utils.SchemaNotFoundError:
        yield f"{title(d)}: no schema for {d.get('apiVersion')} {kind}"


def template(d):
    """The pod template of a workload, or None."""
    spec = d.get("spec") or {}
    if d["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
        return spec.get("template")
    if d["kind"] == "CronJob":
        return spec["jobTemplate"]["spec"]["template"]
    return None


def matches(selector, labels):
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for e in selector.get("matchExpressions") or []:
        held = labels.get(e["key"])
        good = {"In": held in e.get("values", []), "NotIn": held not in e.get("values", []),
                "Exists": held is not None, "DoesNotExist": held is None}[e["operator"]]
        if not good:
            return False
    return True


class Manifests:
    """One rendered set, with indexes for the checks."""

    def __init__(self, name, docs, secrets, readme):
        self.name, self.docs, self.readme = name, docs, readme
        self.workloads = [d for d in docs if template(d)]
        self.pods = [{"labels": template(d)["metadata"]["labels"], "ports": {
            p["containerPort"]: p.get("name") for c in template(d)["spec"]["containers"] for p in c.get("ports", [])
        }, "of": d} for d in self.workloads]
        if name != "dev":
            self.pods.append({"labels": CHART_POD["labels"], "ports": dict.fromkeys(CHART_POD["ports"]), "of": None})
        # Kind and name to the keys: of the set's own objects, and of those from secrets.sh.
        self.data = {(d["kind"], d["metadata"]["name"]): d.get("data") or {}
                     for d in [*docs, *secrets] if d["kind"] in ("ConfigMap", "Secret")}

    def of(self, *kinds):
        return [d for d in self.docs if d["kind"] in kinds]

    def replicas(self, d):
        """The minimum number of replicas, and whether a scaler sets it instead of the Deployment."""
        for s in self.of("HorizontalPodAutoscaler", "ScaledObject"):
            if s["spec"]["scaleTargetRef"]["name"] == d["metadata"]["name"]:
                return s["spec"].get("minReplicas", s["spec"].get("minReplicaCount", 1)), True
        return d["spec"].get("replicas", 1), False

    def environment(self, d, container):
        found = {}
        for source in container.get("envFrom", []):
            found.update(self.data.get(("ConfigMap", (source.get("configMapRef") or {}).get("name")), {}))
        found.update({e["name"]: e.get("value") for e in container.get("env", [])})
        return found


def pods_are_locked_down(m):
    for d in m.workloads:
        t, where = template(d), title(d)
        spec, security = t["spec"], t["spec"].get("securityContext") or {}
        ours = t["metadata"]["labels"].get(NAME) == "imchannel"
        if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
            yield f"{where}: may run as root"
        if ours and security.get("runAsUser") != 65532:
            yield f"{where}: runs as another user than the image's"
        if (security.get("seccompProfile") or {}).get("type") != "RuntimeDefault":
            yield f"{where}: no seccomp profile"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{where}: has a service account token"
        if spec.get("enableServiceLinks") is not False:
            yield f"{where}: gets the addresses of services as environment variables"
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(key):
                yield f"{where}: {key}"
        for v in spec.get("volumes", []):
            if "hostPath" in v:
                yield f"{where}: volume {v['name']} is of the node"
        priorities = {p["metadata"]["name"] for p in m.of("PriorityClass")}
        if m.name != "base" and spec.get("priorityClassName") not in priorities:
            yield f"{where}: no such priority class: {spec.get('priorityClassName')}"
        for label in ("name", "component", "part-of", "managed-by"):
            if m.name != "base" and ours and f"app.kubernetes.io/{label}" not in t["metadata"]["labels"]:
                yield f"{where}: pods lack the label app.kubernetes.io/{label}"
        for c in [*spec["containers"], *spec.get("initContainers", [])]:
            yield from container_is_locked_down(m, d, c, f"{where}, container {c['name']}")


def container_is_locked_down(m, d, c, where):
    security, resources = c.get("securityContext") or {}, c.get("resources") or {}
    if security.get("allowPrivilegeEscalation") is not False:
        yield f"{where}: may gain privileges"
    if security.get("readOnlyRootFilesystem") is not True:
        yield f"{where}: can write to its root"
    if (security.get("capabilities") or {}).get("drop") != ["ALL"] or (security["capabilities"].get("add")):
        yield f"{where}: has capabilities"
    for kind in ("requests", "limits"):
        for what in ("cpu", "memory"):
            if what not in (resources.get(kind) or {}):
                yield f"{where}: no {kind} of {what}"
    image = c.get("image", "")
    if m.name != "base" and not re.search(r":(?!latest$)[\w.-]+$", image):
        yield f"{where}: image without a version: {image}"
    if d["kind"] in ("Deployment", "StatefulSet"):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe not in c:
                yield f"{where}: no {probe}"
    if d["metadata"]["name"] in SERVICES:
        for probe, path in (("startupProbe", "/live"), ("readinessProbe", "/ready"), ("livenessProbe", "/live")):
            if (c.get(probe) or {}).get("httpGet") != {"path": path, "port": "admin"}:
                yield f"{where}: {probe} is not {path} of the admin port"


def seconds(text):
    """A setting such as `15s` or `1m`."""
    number, unit = re.fullmatch(r"(\d+)(ms|s|m)", text).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60}[unit]


def size(text):
    """A setting such as `256MiB`, in bytes."""
    number, unit = re.fullmatch(r"(\d+)(MiB|GiB)", text).groups()
    return int(number) * {"MiB": 2**20, "GiB": 2**30}[unit]


def stops_fit(m):
    for d in m.workloads:
        if d["metadata"]["name"] not in SERVICES:
            continue
        spec = template(d)["spec"]
        c = spec["containers"][0]
        sleep = ((c.get("lifecycle") or {}).get("preStop") or {}).get("sleep", {}).get("seconds", 0)
        settings = m.environment(d, c)
        inner = sleep + seconds(settings.get("IMCHANNEL_SHUTDOWN_GRACE_PERIOD", "10s")) \
            + seconds(settings.get("IMCHANNEL_DRAIN_DELAY", "0s"))
        if spec.get("terminationGracePeriodSeconds", 30) <= inner:
            yield f"{title(d)}: is killed before the {inner:g} s of its stop are over"
        if any(p.get("name") == "http" for p in c["ports"]) and not 5 <= sleep <= 10:
            yield f"{title(d)}: load balancers have {sleep} s to notice a stop, not 5 to 10"


def replicas_are_safe(m):
    for d in m.of("Deployment", "StatefulSet"):
        least, scaled = m.replicas(d)
        labels = template(d)["metadata"]["labels"]
        if scaled and "replicas" in d["spec"]:
            yield f"{title(d)}: has a number of replicas, and a scaler that sets it too"
        if least < 2:
            continue
        if not any(matches(b["spec"]["selector"], labels) for b in m.of("PodDisruptionBudget")):
            yield f"{title(d)}: no PodDisruptionBudget matches its pods"
        keys = {c["topologyKey"] for c in template(d)["spec"].get("topologySpreadConstraints", [])
                if matches(c["labelSelector"], labels)}
        if not {"kubernetes.io/hostname", "topology.kubernetes.io/zone"} <= keys:
            yield f"{title(d)}: is not spread over nodes and zones"
    for s in m.of("HorizontalPodAutoscaler", "ScaledObject"):
        target = s["spec"]["scaleTargetRef"]
        if not any(d["kind"] == target.get("kind", "Deployment") and d["metadata"]["name"] == target["name"] for d in m.docs):
            yield f"{title(s)}: no such target: {target['name']}"
        if target["name"] == "sender":
            yield f"{title(s)}: sender must not be scaled by load"


def selectors_match(m):
    labels_of = [p["labels"] for p in m.pods]
    components = {p["labels"].get(COMPONENT) for p in m.pods} | {"doctor"}  # a separate component

    def check(where, selector):
        if not any(matches(selector, labels) for labels in labels_of):
            yield f"{where}: selects no pod"
        for e in selector.get("matchExpressions") or []:
            for value in set(e.get("values") or []) - components:
                yield f"{where}: no pod has {e['key']}={value}"

    for d in m.docs:
        spec, where = d.get("spec") or {}, title(d)
        if d["kind"] in ("Deployment", "StatefulSet") and not matches(spec["selector"], template(d)["metadata"]["labels"]):
            yield f"{where}: its selector does not match its own pods"
        if d["kind"] in ("PodDisruptionBudget", "PodMonitor"):
            yield from check(where, spec["selector"])
        if d["kind"] == "Service":
            yield from check(where, {"matchLabels": spec["selector"]})
            named = {n for p in m.pods if matches({"matchLabels": spec["selector"]}, p["labels"]) for n in p["ports"].values()}
            for port in spec["ports"]:
                if port["targetPort"] not in named:
                    yield f"{where}: no pod has a port {port['targetPort']}"
        if d["kind"] == "PodMonitor":
            for pod in (p for p in m.pods if matches(spec["selector"], p["labels"])):
                for e in spec["podMetricsEndpoints"]:
                    if e["port"] not in pod["ports"].values():
                        yield f"{where}: {title(pod['of'])} has no port {e['port']}"
        if d["kind"] == "NetworkPolicy":
            if spec["podSelector"]:
                yield from check(where, spec["podSelector"])
            for peer in [p for side in ("from", "to") for r in [*spec.get("ingress", []), *spec.get("egress", [])]
                         for p in r.get(side, [])]:
                if "podSelector" in peer and "namespaceSelector" not in peer:
                    yield from check(f"{where}, peer", peer["podSelector"])
        if d["kind"] == "Ingress":
            for path in [p for r in spec["rules"] for p in r["http"]["paths"]]:
                want = path["backend"]["service"]
                if not any(s["metadata"]["name"] == want["name"] and want["port"]["name"] in
                           [p["name"] for p in s["spec"]["ports"]] for s in m.of("Service")):
                    yield f"{where}: no service {want['name']} with a port {want['port']['name']}"


def ports_of(rule):
    return {p["port"] for p in rule.get("ports", [])} or {"every port"}


def policies_say_what_is_meant(m):
    """Computes every connection that the policies allow, and compares."""
    policies = m.of("NetworkPolicy")
    if not any(p["spec"]["podSelector"] == {} and sorted(p["spec"]["policyTypes"]) == ["Egress", "Ingress"]
               and "ingress" not in p["spec"] and "egress" not in p["spec"] for p in policies):
        yield "no NetworkPolicy refuses everything"

    def rules(pod, kind):
        for p in policies:
            if matches(p["spec"]["podSelector"], pod["labels"]):
                yield from p["spec"].get(kind, [])

    pods, namespaces, leaves = set(), set(), set()
    for a in m.pods:
        who = a["labels"][COMPONENT]
        out = [(peer, port) for r in rules(a, "egress") for peer in r.get("to", [{}]) for port in ports_of(r)]
        for peer, port in out:
            if "ipBlock" in peer:
                cidr = peer["ipBlock"]["cidr"]
                leaves.add((who, "internet" if cidr in ("0.0.0.0/0", "::/0", "2000::/3") else OUTSIDE.get(port, cidr), port))
            elif "namespaceSelector" in peer:
                name = next(iter(peer["namespaceSelector"]["matchLabels"]))
                if name.startswith("imchannel/"):
                    leaves.add((who, name.removeprefix("imchannel/"), port))
                elif (port, peer.get("podSelector")) != (53, {"matchLabels": {"k8s-app": "kube-dns"}}):
                    yield f"{who} reaches {peer} at port {port}"
        for b in m.pods:
            to = b["labels"][COMPONENT]
            may_in = {port for r in rules(b, "ingress") for peer in r.get("from", [{}])
                      if "namespaceSelector" not in peer and matches(peer.get("podSelector", {}), a["labels"])
                      for port in ports_of(r)}
            may_out = {port for peer, port in out if "podSelector" in peer and "namespaceSelector" not in peer
                       and matches(peer["podSelector"], b["labels"])}
            pods |= {(who, to, port) for port in may_in & may_out}
            for port in may_in ^ may_out:
                yield f"{who} to {to}, port {port}: only one side allows it"
            for port in (may_in & may_out) - set(b["ports"]):
                if not (m.name == "dev" and port == 6222):  # one server has no peers
                    yield f"{who} to {to}: nothing listens on port {port}"
        for r in rules(a, "ingress"):
            for peer in r.get("from", [{}]):
                if "namespaceSelector" in peer:
                    name = next(iter(peer["namespaceSelector"]["matchLabels"])).removeprefix("imchannel/")
                    namespaces |= {(name, who, port) for port in ports_of(r)}
                    if f"imchannel/{name}" not in m.readme:
                        yield f"README.md does not list the label imchannel/{name}"
    if m.name == "dev":
        pods.discard(("nats", "nats", 6222))
    for what, found, meant in (("pods", pods, PODS_MAY), ("other namespaces", namespaces, NAMESPACES_MAY),
                               ("what is outside", leaves, LEAVES_MAY)):
        for way in sorted(map(str, found - meant[m.name])):
            yield f"policies allow, for {what}: {way}"
        for way in sorted(map(str, meant[m.name] - found)):
            yield f"policies do not allow, for {what}: {way}"
    for p in policies:
        for rule in p["spec"].get("egress", []):
            for block in [t["ipBlock"] for t in rule.get("to", []) if "ipBlock" in t]:
                private = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8", "100.64.0.0/10"}
                if p["metadata"]["name"] == "to-bsp" and block["cidr"] == "0.0.0.0/0" and not private <= set(block.get("except", [])):
                    yield f"{title(p)}: private addresses are not excluded"


def references_resolve(m, known_settings):
    for d in m.workloads:
        spec, where = template(d)["spec"], title(d)
        volumes = {}
        for v in spec.get("volumes", []):
            source, key = (("Secret", v["secret"]["secretName"]) if "secret" in v else
                           ("ConfigMap", v["configMap"]["name"]) if "configMap" in v else (None, None))
            optional = v.get("secret", {}).get("optional")
            if source is None or optional:
                continue
            items = [i["key"] for i in v.get("secret", v.get("configMap")).get("items", [])]
            held = m.data.get((source, key))
            if held is None and not all(f"`{name}`" in m.readme for name in [key, *items]):
                yield f"{where}: {source} {key} is neither made nor listed in README.md"
            for item in items:
                if held is not None and item not in held:
                    yield f"{where}: {source} {key} has no key {item}"
            volumes[v["name"]] = (key, set(items or held or []))
        for c in spec["containers"]:
            for source in c.get("envFrom", []):
                if ("ConfigMap", source["configMapRef"]["name"]) not in m.data:
                    yield f"{where}: no ConfigMap {source['configMapRef']['name']}"
            settings = m.environment(d, c)
            for name in settings:
                if name.startswith("IMCHANNEL_") and name not in known_settings:
                    yield f"{where}: there is no setting {name}"
            # Every file that a setting or an argument names is in a volume, and every key of a Secret is used.
            named = [v for v in [*settings.values(), *c.get("command", []), *c.get("args", [])] if str(v).startswith("/run/imchannel/")]
            for mount in c.get("volumeMounts", []):
                if not str(mount["mountPath"]).startswith("/run/imchannel/") or mount["name"] not in volumes:
                    continue
                secret, keys = volumes[mount["name"]]
                used = {n.removeprefix(mount["mountPath"] + "/") for n in named if n.startswith(mount["mountPath"] + "/")}
                for key in sorted(used - keys):
                    yield f"{where}: {secret} has no key {key}"
                if mount["mountPath"] not in named:
                    for key in sorted(keys - used):
                        yield f"{where}: {secret} holds {key}, which it does not use"
            for path in named:
                if not any(path == v["mountPath"] or path.startswith(v["mountPath"] + "/") for v in c.get("volumeMounts", [])):
                    yield f"{where}: {path} is not mounted"
    for d in m.of("Secret"):
        yield f"{title(d)}: a rendered set must not contain a Secret"


def numbers_agree(m):
    """The streams fit the disks, and the scaler's names are those of the code."""
    sizes = next((v for (kind, name), v in m.data.items() if kind == "ConfigMap" and name.startswith("settings-setup")), {})
    total = sum(size(v) for k, v in sizes.items() if k.endswith("_MAX_SIZE"))
    if m.name == "dev":
        disk = next(d for d in m.of("StatefulSet") if d["metadata"]["name"] == "nats")["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"]
    else:
        disk = yaml.safe_load((KUBERNETES / "nats/values.yaml").read_text())["config"]["jetstream"]["fileStore"]["pvc"]["size"]
    unit = {"Mi": 2**20, "Gi": 2**30, "Ti": 2**40}[disk[-2:]]
    if not total or total * 1.5 > int(disk[:-2]) * unit:
        yield f"streams of {total} bytes are too large for disks of {disk}"
    for s in m.of("ScaledObject"):
        trigger = s["spec"]["triggers"][0]["metadata"]
        streams = "".join(Path(f"crates/bus/src/schema/{file}.rs").read_text() for file in ("stream_id", "streams"))
        for name in (trigger["stream"], trigger["consumer"]):
            if f'"{name}"' not in streams:
                yield f"{title(s)}: the code has no {name}"
        if not re.search(rf"^\s*{trigger['account']}\s*{{", Path("deploy/nats/users.conf").read_text(), re.M):
            yield f"{title(s)}: users.conf has no account {trigger['account']}"
        held = int(re.search(r'name: "normalizer",.*?max_ack_pending: ([0-9_]+)', streams, re.S)[1].replace("_", ""))
        if int(trigger["lagThreshold"]) <= held:
            yield f"{title(s)}: work in progress ({held}) alone would add replicas"


def spools_are_kept(m):
    """A spool has a claim of its own for each pod, which is large enough and not deleted with the pod."""
    for d in m.workloads:
        c = template(d)["spec"]["containers"][0]
        settings = m.environment(d, c)
        folder = settings.get("IMCHANNEL_SPOOL_DIR")
        if not folder:
            continue
        mounts = {v["mountPath"]: v["name"] for v in c.get("volumeMounts", [])}
        claims = {v["metadata"]["name"]: v["spec"] for v in d["spec"].get("volumeClaimTemplates", [])}
        claim = claims.get(mounts.get(folder))
        if claim is None:
            yield f"{title(d)}: IMCHANNEL_SPOOL_DIR is not on a claim of its own"
            continue
        storage = claim["resources"]["requests"]["storage"]
        if not 1.5 * size(settings["IMCHANNEL_SPOOL_MAX_SIZE"]) <= size(f"{storage}B"):
            yield f"{title(d)}: a spool of {settings['IMCHANNEL_SPOOL_MAX_SIZE']} is too large for claims of {storage}"
        retention = d["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
        if retention != {"whenDeleted": "Retain", "whenScaled": "Retain"}:
            yield f"{title(d)}: its claims are deleted with webhooks in them"


def timelines_are_kept(m):
    """The timeline's folder is on a claim of its own, which stays when the pod goes. In PostgreSQL all replicas have one key."""
    for d in m.workloads:
        c = template(d)["spec"]["containers"][0]
        settings = m.environment(d, c)
        folder = settings.get("IMCHANNEL_TIMELINE_DIR")
        if not folder:
            continue
        if "IMCHANNEL_TIMELINE_URL_FILE" in settings:
            if "IMCHANNEL_TIMELINE_KEY_FILE" not in settings:
                yield f"{title(d)}: each replica has its own key of the ids"
            continue
        mounts = {v["mountPath"]: v["name"] for v in c.get("volumeMounts", [])}
        claims = [v["metadata"]["name"] for v in d["spec"].get("volumeClaimTemplates", [])]
        if mounts.get(folder) not in claims:
            yield f"{title(d)}: IMCHANNEL_TIMELINE_DIR is not on a claim of its own"
        if (d["spec"].get("persistentVolumeClaimRetentionPolicy") or {}) != {"whenDeleted": "Retain", "whenScaled": "Retain"}:
            yield f"{title(d)}: its claim is deleted with the rows in it"
        if d["spec"].get("replicas") != 1:
            yield f"{title(d)}: one process at a time uses the store"


def settings_known():
    """Settings in docs/configuration.md or the code. A secret's setting also exists with `_FILE`."""
    texts = [Path("docs/configuration.md").read_text(), *(p.read_text() for p in Path("crates").glob("*/src/**/*.rs"))]
    names = set(re.findall(r"\bIMCHANNEL_[A-Z0-9_]+\b", "\n".join(texts)))
    names |= {"IMCHANNEL_REDIS_PASSWORD", "IMCHANNEL_DRAIN_DELAY"}
    return names | {f"{n}_FILE" for n in names if n.endswith(("_KEY", "_TOKEN", "_PASSWORD"))}


def faults(m, known):
    for d in m.docs:
        yield from by_schema(d)
    yield from pods_are_locked_down(m)
    yield from stops_fit(m)
    yield from replicas_are_safe(m)
    if m.name != "base":
        yield from selectors_match(m)
        yield from policies_say_what_is_meant(m)
        yield from references_resolve(m, known)
        yield from numbers_agree(m)
        yield from spools_are_kept(m)
        yield from timelines_are_kept(m)
