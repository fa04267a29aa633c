#!/usr/bin/env bash
# Is docker-compose.yml valid, and does it have the ports, users, mounts, secrets and networks that it should? No engine is needed: the compose
# plugin resolves the file by itself. If there is no plugin, the check uses one from a newer Debian package.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/lib/checks.sh
. ci/lib/debian.sh

# Check the defaults, without the caller's settings.
resolve() { env -u COMPOSE_FILE -u COMPOSE_PROFILES "${clean[@]}" "${compose[@]}" --env-file /dev/null -f docker-compose.yml "$@"; }
clean=()
for name in $(compgen -e | grep -E '^(IMCHANNEL_|OTEL_|RUST_IMAGE|RUNTIME_IMAGE|[A-Z]+_IMAGE$|[A-Z]+_PORT$)' || true); do
  clean+=(-u "$name")
done

check_resolved() { "$PYTHON" - "$1" <<'PYTHON'
"""Asserts what the file promises, on the resolved file with every profile."""
import json, os, re, sys

project = json.load(open(sys.argv[1], encoding="utf-8"))
services = project["services"]
faults = []
# Their images have no program for a health check, or they are not servers.
WITHOUT_HEALTH = {"collector", "jaeger", "imchannel"}
# They exit, or a person stops them.
NOT_AGAIN = {"simulate"}
SCALE = {"ingress", "normalizer", "sender", "media"}
ONE_SHOT = {"setup", "nats-volume", "spool-volume", "timeline-volume"}
# They make another user the owner of a new volume.
OWNERS = {"nats-volume", "spool-volume", "timeline-volume"}
# Their ports are on loopback for every value of IMCHANNEL_BIND.
LOCAL = {"timeline"}


def expect(condition, words):
    if not condition:
        faults.append(words)


for name, service in services.items():
    expect("container_name" not in service, f"{name}: has a container_name")
    is_observed = service.get("profiles") == ["observe"]
    ports = service.get("ports", [])
    expect(not ports or name == "proxy" or name in LOCAL or is_observed, f"{name}: publishes a port")
    for port in ports:
        expect(port.get("host_ip") == "127.0.0.1", f"{name}: port {port.get('published')} is not on loopback by default")
    disabled = service.get("healthcheck", {}).get("disable", False)
    if name in ONE_SHOT:
        expect(service.get("restart") == "no", f"{name}: is a one-shot service with a restart policy")
    elif name in WITHOUT_HEALTH:
        expect(disabled, f"{name}: does not say whether it has a health check")
    else:
        expect(service.get("healthcheck", {}).get("test") and not disabled, f"{name}: has no health check")
        restart = "no" if name in NOT_AGAIN else "unless-stopped"
        expect(service.get("restart") == restart, f"{name}: restart: {service.get('restart')}, not {restart}")
    for volume in service.get("volumes", []):
        if volume["type"] == "bind":
            expect(os.path.exists(volume["source"]), f"{name}: {volume['source']} does not exist")
            expect(volume.get("read_only"), f"{name}: {volume['source']} is writable")
    expect(service.get("read_only"), f"{name}: its image is writable")
    expect(service.get("cap_drop") == ["ALL"], f"{name}: keeps capabilities")
    expect(service.get("cap_add", []) == (["CHOWN"] if name in OWNERS else []), f"{name}: has capabilities")
    expect("no-new-privileges:true" in service.get("security_opt", []), f"{name}: may gain privileges")
    user = service.get("user", "0").split(":")[0]
    expect(user != "0" or name in OWNERS, f"{name}: runs as root")
    expect(service.get("mem_limit") or name in ONE_SHOT, f"{name}: has no memory limit")
    expect(service.get("logging", {}).get("options", {}).get("max-size"), f"{name}: its log grows without limit")
    for other in service.get("depends_on", {}):
        expect(other in services, f"{name}: waits for {other}, which does not exist")
    build = service.get("build")
    expect(bool(build) == service["image"].startswith("imchannel/"), f"{name}: is built but should not be, or is not built but should be")
    if build:
        kind = service["image"].split("/")[1].split(":")[0]
        expect(build["target"] == kind, f"{name}: target {build['target']} for image {service['image']}")
        expect({"RUST_IMAGE", "RUNTIME_IMAGE"} <= set(build["args"]), f"{name}: the base images cannot be replaced")
        environment = service["environment"]
        expect(environment.get("IMCHANNEL_PUBLIC_ADDRESS") == "127.0.0.1", f"{name}: IMCHANNEL_PUBLIC_ADDRESS differs from the published address")
        for variable, value in environment.items():
            named = value and value.startswith("/run/secrets/")
            mounted = [secret["target"] for secret in service.get("secrets", [])]
            expect(not named or value in mounted, f"{name}: {variable} names {value}, which is not mounted")

expect(SCALE <= set(services), "a service is missing")
for name in SCALE | {"timeline"}:
    waits = services[name]["depends_on"].get("setup", {}).get("condition")
    expect(waits == "service_completed_successfully", f"{name}: does not wait for setup")

# A named volume that all replicas share, and that a change of the file does not replace.
folder = services["ingress"]["environment"].get("IMCHANNEL_SPOOL_DIR")
for name in ("ingress", "imchannel"):
    volumes = {volume["target"]: volume for volume in services[name]["volumes"]}
    volume = volumes.get(folder, {})
    expect(volume.get("type") == "volume" and volume.get("source") == "spool", f"{name}: the spool is not on its volume")
    expect(bool(volume.get("read_only")) == (name == "imchannel"), f"{name}: the spool has the wrong mode")
owned = [volume["source"] for name in OWNERS for volume in services[name]["volumes"]]
expect(sorted(owned) == ["nats", "spool", "timeline"], f"volumes that belong to their users: {sorted(owned)}")
waits = services["ingress"]["depends_on"].get("spool-volume", {}).get("condition")
expect(waits == "service_completed_successfully", "ingress: does not wait for its volume")
timeline = services["timeline"]
waits = timeline["depends_on"].get("timeline-volume", {}).get("condition")
expect(waits == "service_completed_successfully", "timeline: does not wait for its volume")
folder = timeline["environment"].get("IMCHANNEL_TIMELINE_DIR")
volume = {volume["target"]: volume for volume in timeline["volumes"]}.get(folder, {})
expect(volume.get("source") == "timeline" and not volume.get("read_only"), "timeline: its folder is not on its volume")
expect(timeline["environment"].get("IMCHANNEL_TIMELINE_ACCESS") == "token", "timeline: is open to everybody on the machine")
expect("front" not in timeline["networks"], "timeline: the proxy reaches it")
asked = timeline["environment"].get("IMCHANNEL_TIMELINE_ADMIN_URLS", "").split(",")
for name in ("ingress", "normalizer", "sender", "media"):
    expect(f"http://{name}:9090" in asked, f"timeline: does not read the admin ports of {name}")
    expect(set(timeline["networks"]) & set(services[name]["networks"]), f"timeline: does not reach {name}")

# redis.conf names its folder relative to the working directory.
expect(services["redis"].get("working_dir") == "/data", "redis: is not started in /data, where its volume is")
expect("/data" in [volume["target"] for volume in services["redis"]["volumes"]], "redis: /data is not a volume")
monitor = services["imchannel"]["environment"].get("IMCHANNEL_NATS_MONITOR_URL")
expect(monitor == "http://nats:8222", "imchannel: doctor does not have NATS's monitoring port")
for name in ("simulate", "infobip"):
    asked = services[name]["healthcheck"]["test"]
    expect(asked == ["CMD", "/usr/bin/imchannel", "health"], f"{name}: its health check is {asked}")
    listens = any(argument.startswith("--admin-listen=") for argument in services[name]["command"])
    expect(listens, f"{name}: has no admin port for its health check")

outside = {network for network, settings in project["networks"].items() if not settings.get("internal")}
expect(outside == {"edge", "out", "observe", "console"}, f"networks that lead outside: {sorted(outside)}")
expect(set(services["nats"]["networks"]) == {"back"} == set(services["redis"]["networks"]), "NATS or Redis is in more networks than `back`")

boards = re.search(r"path: (\S+)", open("deploy/grafana/provisioning/dashboards/dashboards.yml", encoding="utf-8").read()).group(1)
expect(boards in [volume["target"] for volume in services["grafana"]["volumes"]], f"grafana: {boards} is not mounted")

used = {secret["source"] for service in services.values() for secret in service.get("secrets", [])}
for name, secret in project["secrets"].items():
    expect(os.path.isfile(secret["file"]), f"secret {name}: {secret['file']} does not exist")
    # The programs run as another user, and compose does not change the file's mode.
    readable = os.path.isfile(secret["file"]) and os.stat(secret["file"]).st_mode & 0o004
    expect(readable, f"secret {name}: {secret['file']} is not readable by every user")
    expect(name in used, f"secret {name} is not used")

print("\n".join(faults), end="")
sys.exit(1 if faults else 0)
PYTHON
}

[ -d deploy/compose/example ] || fail "deploy/compose/example does not exist (imchannel secrets generate --example)"
python_for_checks
mkdir -p "$CHECKS"
if ! find_compose; then
  "$PYTHON" -c 'import yaml; yaml.safe_load(open("docker-compose.yml", encoding="utf-8"))' || fail "docker-compose.yml is not YAML"
  ok "docker-compose.yml is YAML"
  not_checked "the compose file: there is no docker compose 2.24 or later here, and none could be fetched"
  exit 0
fi

resolve config --quiet || fail "docker-compose.yml without profiles"
for profile in simulate observe tools; do
  resolve --profile "$profile" config --quiet || fail "docker-compose.yml with profile $profile"
done
ok "compose file, without and with each profile (docker-compose $version)"

resolve --profile '*' config --format json >"$CHECKS/compose.json"
faults=$(check_resolved "$CHECKS/compose.json") || fail "compose file:"$'\n'"$faults"
ok "compose file: ports, names, health checks, mounts, secrets, users and networks are correct"

# The address is passed to the services, so that they refuse the example secrets unless it is loopback.
IMCHANNEL_BIND=192.0.2.1 "${compose[@]}" --env-file /dev/null -f docker-compose.yml config --format json |
  "$PYTHON" -c '
import json, sys
services = json.load(sys.stdin)["services"]
ours = [service for service in services.values() if service["image"].startswith("imchannel/")]
assert ours and all(service["environment"]["IMCHANNEL_PUBLIC_ADDRESS"] == "192.0.2.1" for service in ours)
assert {port["host_ip"] for port in services["proxy"]["ports"]} == {"192.0.2.1"}
assert {port["host_ip"] for port in services["timeline"]["ports"]} == {"127.0.0.1"}
' || fail "compose file: IMCHANNEL_BIND does not reach every service"
ok "compose file: IMCHANNEL_BIND reaches every service"

# Settings for a smaller or larger machine.
IMCHANNEL_PROXY_FILES=16384 IMCHANNEL_NATS_MEMORY=6g IMCHANNEL_NATS_GOMEMLIMIT=4800MiB \
  "${compose[@]}" --env-file /dev/null -f docker-compose.yml config --format json |
  "$PYTHON" -c '
import json, sys
services = json.load(sys.stdin)["services"]
files = services["proxy"]["ulimits"]["nofile"]
assert files in (16384, {"soft": 16384, "hard": 16384}), files
assert services["nats"]["environment"]["GOMEMLIMIT"] == "4800MiB"
assert int(services["nats"]["mem_limit"]) == 6 * 2**30
' || fail "compose file: the proxy's files or NATS's memory cannot be chosen"
ok "compose file: the proxy's limit of files and NATS's memory are taken from variables"

# Another folder of secrets, with an unusual name, replaces every example.
rm -rf "$CHECKS/secrets"
cp -R deploy/compose/example "$CHECKS/secrets"
IMCHANNEL_SECRETS=target/check/secrets IMCHANNEL_CHANNELS=examples/channels.toml \
  "${compose[@]}" --env-file /dev/null -f docker-compose.yml --profile '*' config >"$CHECKS/compose.yml"
if grep -n 'compose/example' "$CHECKS/compose.yml"; then fail "compose file: IMCHANNEL_SECRETS does not replace every example secret"; fi
ok "compose file: IMCHANNEL_SECRETS and IMCHANNEL_CHANNELS replace every example"

: >"$CHECKS/secrets/timeline.url" >"$CHECKS/secrets/timeline.key"
IMCHANNEL_SECRETS=target/check/secrets "${compose[@]}" --env-file /dev/null -f docker-compose.yml -f deploy/compose/timeline-postgres.yml \
  config --format json >"$CHECKS/compose-postgres.json"
"$PYTHON" - "$CHECKS/compose-postgres.json" <<'PYTHON' || fail "deploy/compose/timeline-postgres.yml"
import json, sys

service = json.load(open(sys.argv[1], encoding="utf-8"))["services"]["timeline"]
secrets = {secret["source"] for secret in service["secrets"]}
assert secrets == {"nats-timeline", "timeline-tokens", "timeline-url", "timeline-key", "nats-eraser", "redis-eraser"}, secrets
assert set(service["networks"]) == {"back", "console", "database"}, service["networks"]
assert service["environment"]["IMCHANNEL_TIMELINE_URL_FILE"] == "/run/secrets/timeline-url"
PYTHON
ok "compose file: the timeline in PostgreSQL"

docker info >/dev/null 2>&1 || not_checked "docker compose up: there is no container engine here (ci/documents.sh does it where there is one)"
