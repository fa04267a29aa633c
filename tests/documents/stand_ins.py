"""Stand-ins for `kubectl`, `helm` and `docker` without a cluster and a container engine: everything in a command must
exist. The real kubectl builds paths, the real compose plugin knows services and options, and `imchannel` is the
real program. Anything that needs a cluster or an engine is not checked.

Needs a Python with PyYAML: `stand_ins.py PROGRAM ARGUMENTS…`. Exit code 64 if something does not exist.
"""
import json
import os
import pathlib
import re
import subprocess
import sys

import yaml

# The objects that NATS's chart makes for a release named `nats` (deploy/kubernetes/nats/values.yaml).
OF_CHART = {("StatefulSet", "nats"), ("Service", "nats"), ("Service", "nats-headless")}
KINDS = {"deployment": "Deployment", "job": "Job", "service": "Service", "statefulset": "StatefulSet", "namespace": "Namespace"}
NAMESPACE = "imchannel"
STATE = pathlib.Path(os.environ.get("DOCUMENTS_OBJECTS", "objects.json"))


def fail(words):
    print(words, file=sys.stderr)
    sys.exit(64)


def objects():
    return {tuple(one) for one in json.loads(STATE.read_text())} if STATE.exists() else set()


def apply(text, what):
    found = [(one["kind"], one["metadata"]["name"]) for one in yaml.safe_load_all(text) if one]
    if not found:
        fail(f"{what} has no object")
    STATE.write_text(json.dumps(sorted(objects() | set(found))))
    for kind, name in found:
        print(f"{kind.lower()}/{name} applied")


def expect(kind, name):
    if kind not in KINDS:
        fail(f"kubectl: the documents do not use the kind {kind}")
    if (KINDS[kind], name) not in objects() | OF_CHART:
        fail(f"kubectl: {kind}/{name} is in no manifest that was applied")


def kubectl(args):
    if args[:1] == ["-n"]:
        if args[1] != NAMESPACE or ("Namespace", NAMESPACE) not in objects():
            fail(f"kubectl: there is no namespace {args[1]}")
        args = args[2:]
    match args:
        case ["apply", "-k", folder]:
            built = subprocess.run([os.environ["REAL_KUBECTL"], "kustomize", folder], capture_output=True, text=True)
            if built.returncode != 0:
                fail(f"kubectl apply -k {folder}: {built.stderr}")
            apply(built.stdout, folder)
        case ["create", *_] if "--dry-run=client" in args:
            # Contact no cluster.
            sys.exit(subprocess.run([os.environ["REAL_KUBECTL"], *args]).returncode)
        case ["apply", "-f", "-"]:
            apply(sys.stdin.read(), "standard input")
        case ["apply", "-f", path]:
            apply(pathlib.Path(path).read_text(), path)
        case ["label", "namespace", _, label] if re.fullmatch(r"imchannel/[a-z-]+=true", label):
            rendered = "".join(path.read_text() for path in pathlib.Path("deploy/kubernetes").rglob("*.yaml"))
            if label.split("=")[0] not in rendered:
                fail(f"kubectl: no network policy has the label {label}")
        case ["get", "pods"]:
            pass
        case ["wait", "--for=condition=complete", thing, *_] | ["rollout", ("status" | "restart"), thing] | ["port-forward", thing, *_]:
            expect(*thing.split("/"))
        case ["delete", kind, name, *_]:
            expect(kind, name)
        case _:
            fail(f"kubectl {' '.join(args)}: unknown command; add it to tests/documents/stand_ins.py")


def helm(args):
    if args[:1] not in (["template"], ["upgrade"]) or "nats" not in args or NAMESPACE not in args:
        fail(f"helm {' '.join(args)}: unknown command; add it to tests/documents/stand_ins.py")
    for flag, path in zip(args, args[1:]):
        if flag == "-f":
            yaml.safe_load(pathlib.Path(path).read_text())


def compose_json(args):
    """The output of the real plugin."""
    done = subprocess.run([*json.loads(os.environ["REAL_COMPOSE"]), *args], capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"docker compose {' '.join(args)}: {done.stderr}")
    return done.stdout


def docker(args):
    if args[:1] != ["compose"]:
        fail(f"docker {' '.join(args)}: unknown command; add it to tests/documents/stand_ins.py")
    args, before = args[1:], []
    while args and args[0].startswith("-"):
        if args[0] != "--profile" or args[1] not in compose_json(["config", "--profiles"]).split():
            fail(f"docker compose {' '.join(args[:2])}: there is no such option or profile")
        before, args = before + args[:2], args[2:]
    command, args = args[0], args[1:]
    options = command_options(command)
    services = set(compose_json(["--profile", "*", "config", "--services"]).split())
    named = []
    while args:
        word, args = args[0], args[1:]
        if not word.startswith("-"):
            if word not in services:
                fail(f"docker compose {command}: there is no service {word}")
            named.append(word)
            if command == "run":
                return run_service(word, args)
            continue
        name, has_value, value = word.partition("=")
        if name not in options:
            fail(f"docker compose {command}: there is no option {name}")
        if options[name] and not has_value:
            value, args = args[0], args[1:]
        if name == "--scale" and value.split("=")[0] not in services:
            fail(f"docker compose {command}: there is no service {value}")
    print(f"docker compose {command} {' '.join(named)}: everything in it exists")


def command_options(command):
    """Option -> whether it takes a value, from the plugin's own help."""
    options = {}
    for line in compose_json([command, "--help"]).split("\n"):
        found = re.match(r"\s+(?:(-\w), )?(--[a-z-]+)(?: (\w+))?", line)
        if found:
            for name in filter(None, found.group(1, 2)):
                options[name] = bool(found.group(3))
    return options


# Files that a service's command reads inside the container, and their source.
MOUNTED = {"/run/secrets/channels.toml": "channels.toml", "/here/": ""}


def run_service(service, args):
    """The command of a one-off container: the real program must accept it. A missing server is not a fault."""
    if service not in ("imchannel", "setup"):
        fail(f"docker compose run {service}: it is not a command line")
    for inside, outside in MOUNTED.items():
        args = [arg.replace(inside, outside) for arg in args]
    environment = {**os.environ, "IMCHANNEL_NATS_URL": "nats://127.0.0.1:1"}
    environment["IMCHANNEL_CREDENTIAL_KEY"] = "no-key-of-any-installation-0123456789"
    environment["IMCHANNEL_INFOBIP_HOSTS"] = "infobip"
    if args[:1] == ["setup"]:
        args += ["--wait", "0s"]
    done = subprocess.run(["imchannel", *(args or ["--help"])], env=environment, capture_output=True, text=True)
    print(done.stdout + done.stderr)
    is_away = done.returncode == 1 and "cannot connect to NATS" in done.stderr
    if done.returncode != 0 and not is_away:
        fail(f"imchannel {' '.join(args)} cannot be run like this in {service}")


if __name__ == "__main__":
    {"kubectl": kubectl, "helm": helm, "docker": docker}[sys.argv[1]](sys.argv[2:])
