#!/usr/bin/env python3
"""The faults of ci/compose/chaos.sh, and the count of what was posted, answered and came out.

Fails if a report that was answered 200 has no event or two event ids, or if one was not answered 200 while an ingress was reachable.
"""

import argparse
import asyncio
import collections
import contextlib
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import threading
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench/measure"))
import load  # noqa: E402
from ports import free_port  # noqa: E402

RATE, SECONDS = 300, 80
PROJECT = os.environ["COMPOSE_PROJECT_NAME"]
# Seconds until the proxy serves again after the only ingress is back: it starts, its name resolves, a health check passes.
RECOVERY_S = 6
# Seconds until everything has come out.
DRAIN_S = 240


def docker(*args):
    done = subprocess.run(["docker", *args], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"docker {' '.join(args)}: {done.stderr}")
    return done.stdout.strip()


class Installation:
    def __init__(self, compose):
        self.command = compose
        self.began = time.time()
        # What was done when, in seconds of the load, and when no ingress was reachable, in Unix time.
        self.steps, self.unreachable = [], []
        self.peak, self.watching = 0, True

    def compose(self, *args):
        done = subprocess.run([*self.command, *args], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"docker compose {' '.join(args)}: {done.stdout[-2000:]}{done.stderr[-4000:]}")
        return done.stdout

    def containers(self, service):
        """The running containers of a service, oldest first."""
        labels = [f"label=com.docker.compose.project={PROJECT}", f"label=com.docker.compose.service={service}"]
        filters = [word for label in labels for word in ("--filter", label)]
        lines = docker("ps", *filters, "--format", '{{.Label "com.docker.compose.container-number"}} {{.ID}}').splitlines()
        return [line.split()[1] for line in sorted(lines)]

    def scale(self, replicas):
        self.did(f"ingress is scaled to {replicas}")
        self.compose("up", "--detach", "--no-recreate", "--no-deps", "--scale", f"ingress={replicas}", "ingress")
        self.did(f"(the command has ended: {len(self.containers('ingress'))} ingress)")

    def did(self, what):
        self.steps.append((time.time() - self.began, what))
        print(f"  {self.steps[-1][0]:5.1f} s  {what}")

    def at(self, second):
        """Waits for a second of the load."""
        time.sleep(max(0, self.began + second - time.time()))

    @contextlib.contextmanager
    def killed(self, name, container):
        docker("kill", "--signal", "KILL", container)
        self.did(f"{name} is killed")
        yield
        docker("start", container)
        self.did(f"{name} is started")

    @contextlib.contextmanager
    def paused(self, name, container):
        docker("pause", container)
        self.did(f"{name} is paused")
        yield
        docker("unpause", container)
        self.did(f"{name} continues")

    @contextlib.contextmanager
    def disconnected(self, name, container, network):
        docker("network", "disconnect", f"{PROJECT}_{network}", container)
        self.did(f"{name} is disconnected from `{network}`")
        yield
        docker("network", "connect", "--alias", name, f"{PROJECT}_{network}", container)
        self.did(f"{name} is connected again")

    @contextlib.contextmanager
    def without_ingress(self):
        begin = time.time()
        yield
        self.unreachable.append((begin, time.time() + RECOVERY_S))

    def get(self, container, network, port, path):
        """Asks a container at its address, which this machine reaches because it has the bridge."""
        networks = json.loads(docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", container))
        address = networks[f"{PROJECT}_{network}"]["IPAddress"]
        with urllib.request.urlopen(f"http://{address}:{port}{path}", timeout=2) as answer:
            return answer.read().decode()

    def spooled(self):
        """Webhooks in the spools of all ingress that answer."""
        count = 0
        for container in self.containers("ingress"):
            text = self.get(container, "back", 9090, "/metrics")
            count += int(float(re.search(r"^imchannel_ingress_spool_entries (\S+)$", text, re.MULTILINE)[1]))
        return count

    def watch(self):
        while self.watching:
            # One that is away is asked again.
            with contextlib.suppress(OSError, KeyError, TypeError, ValueError, SystemExit):
                self.peak = max(self.peak, self.spooled())
            time.sleep(0.5)

    def waiting(self):
        """Webhooks that the normalizer has not acknowledged."""
        answer = json.loads(self.get(self.containers("nats")[0], "back", 8222, "/jsz?accounts=1&streams=1&consumers=1"))
        streams = [stream for account in answer.get("account_details") or [] for stream in account.get("stream_detail") or []]
        durables = [one for stream in streams if stream["name"] == "WEBHOOKS" for one in stream.get("consumer_detail") or []]
        if not durables:
            raise ValueError("no durable of WEBHOOKS")
        return sum(one["num_pending"] + one["num_ack_pending"] for one in durables)

    def events(self):
        """The event ids of each message, once for each time that they were published."""
        ids = collections.defaultdict(list)
        out = self.compose("run", "--rm", "--no-deps", "-T", "imchannel", "--json", "tail", "reports", "--from-beginning", "--no-follow", "--unmask")
        for line in out.splitlines():
            event = re.search(r'"event_?[iI]d": ?"([^"]+)"', line)
            message = re.search(r'"message_?[iI]d": ?"(m-\d+)"', line)
            if event and message:
                ids[message[1]].append(event[1])
        return ids


def faults(installation):
    """Eighty seconds. Ingress is scaled down while NATS is away, so what it has spooled is left to the other."""
    i = installation
    nats, ingress = i.containers("nats")[0], i.containers("ingress")[0]
    i.at(3)
    with i.killed("nats", nats):
        i.at(8)
    i.at(11)
    with i.without_ingress(), i.killed("ingress", ingress):
        i.at(12.5)
    i.at(15)
    i.scale(2)
    i.at(19)
    with i.paused("nats", nats):
        i.at(21)
        # The other one serves, and this one as soon as it listens.
        with i.killed("ingress", ingress):
            i.at(23)
        i.at(26)
    i.at(29)
    with i.disconnected("nats", nats, "back"):
        i.at(30)
        # The grace time of the one that stops ends meanwhile (30 s), so it cannot publish what it has spooled.
        i.scale(1)
    ingress = i.containers("ingress")[0]
    i.at(66)
    with i.disconnected("ingress", ingress, "back"):
        i.at(68)
        with i.without_ingress(), i.killed("ingress", ingress):
            i.at(69)
    i.at(72)
    with i.without_ingress(), i.paused("ingress", ingress):
        i.at(74)
    i.at(77)
    with i.without_ingress(), i.disconnected("ingress", ingress, "front"):
        i.at(79)


def until(condition, what):
    end = time.monotonic() + DRAIN_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError, KeyError, TypeError, ValueError):
            if condition():
                return
        time.sleep(0.5)
    raise SystemExit(f"timed out after {DRAIN_S} s waiting until {what}")


def outcome(installation, posted, ids):
    """The lines of the result, and what is wrong."""
    taken = [one for one in posted if one.status == 200]
    refused = [one for one in posted if one.status != 200]
    lost = [one.message for one in taken if not ids.get(one.message)]
    twice = [one.message for one in posted if len(set(ids.get(one.message, ()))) > 1]
    repeated = sum(len(found) - len(set(found)) for found in ids.values())
    away = installation.unreachable
    unexplained = [one for one in refused if not any(one.begin < end and begin < one.end for begin, end in away)]
    times = sorted(one.end - one.begin for one in taken)
    lines = ["| BSP | posted | answered 200 | not answered 200 | of those with an event | answered 200 and lost |", "|---|---|---|---|---|---|"]
    for bsp in load.BSPS:
        mine = [one for one in posted if one.bsp == bsp]
        others = [one for one in mine if one.status != 200]
        came_out = sum(1 for one in others if ids.get(one.message))
        missing = sum(1 for one in mine if one.message in set(lost))
        lines.append(f"| {bsp} | {len(mine):,} | {len(mine) - len(others):,} | {len(others):,} | {came_out:,} | {missing:,} |")
    slow = collections.Counter(int(one.begin - installation.began) for one in taken if one.end - one.begin > 1)
    slow = ", ".join(f"{count} at {second}" for second, count in sorted(slow.items()))
    statuses = collections.Counter(one.status for one in refused)
    lines += [
        "",
        f"- {len(taken):,} of {len(posted):,} reports were answered 200; p50 {times[len(times) // 2]:.3f} s, p99 {times[len(times) * 99 // 100]:.3f} s, longest {times[-1]:.1f} s.",
        f"- Answered 200 after more than a second, by the second in which they were posted: {slow or 'none'}.",
        f"- Not answered 200: {len(refused):,} (by status, 0 is no answer: {dict(sorted(statuses.items()))}), of those while an ingress was reachable: {len(unexplained):,}.",
        f"- Answered 200 and lost: {len(lost):,}. With two event ids: {len(twice):,}. Published again under the same id: {repeated:,}.",
        f"- At most {installation.peak:,} webhooks were seen in the spools at the same time.",
    ]
    wrong = []
    if lost:
        wrong.append(f"lost: {', '.join(lost[:10])}")
    if twice:
        wrong.append(f"with two event ids: {', '.join(twice[:10])}")
    for one in unexplained[:10]:
        began = one.begin - installation.began
        wrong.append(f"{one.message} was answered {one.status} after {one.end - one.begin:.1f} s, at {began:.1f} s, while an ingress was reachable")
    if installation.peak == 0:
        wrong.append("nothing was spooled, so nothing is proved")
    return lines, wrong


def report(file, installation, lines, drained):
    steps = "\n".join(f"| {second:.1f} | {what} |" for second, what in installation.steps)
    engine = docker("version", "--format", "{{.Server.Version}}")
    pathlib.Path(file).write_text(
        "# Chaos over the compose installation\n\n"
        f"Written by `ci/compose/chaos.sh --report`: {RATE} reports a second for {SECONDS} s, through the proxy, with Docker {engine} and {os.cpu_count()} cores, "
        f"on {time.strftime('%Y-%m-%d')}.\n\n" + "\n".join(lines) + f"\n- Everything had come out {drained:.0f} s after the last report was answered.\n\n"
        f"| second | what was done |\n|---|---|\n{steps}\n"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", help="write a report in Markdown")
    parser.add_argument("compose", nargs="+", help="after --: the command of the compose plugin")
    options = parser.parse_args()
    # A connection for each report that waits for its answer.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    webhooks, files = free_port(), free_port()
    os.environ.update(IMCHANNEL_WEBHOOKS_PORT=str(webhooks), IMCHANNEL_FILES_PORT=str(files), IMCHANNEL_PROXY_FILES="16384")
    installation = Installation(options.compose)
    installation.compose("up", "--detach", "--wait")
    print(f"chaos over the compose installation, {RATE} reports/s")
    installation.began = time.time()
    posted = []
    poster = threading.Thread(target=lambda: posted.extend(asyncio.run(load.post_all(webhooks, RATE, SECONDS))))
    watcher = threading.Thread(target=installation.watch, daemon=True)
    poster.start()
    watcher.start()
    faults(installation)
    poster.join()
    began = time.monotonic()
    installation.watching = False
    watcher.join()
    until(lambda: installation.spooled() == 0, "the spools are empty")
    until(lambda: installation.waiting() == 0, "everything is normalized")
    drained = time.monotonic() - began
    ids = installation.events()
    lines, wrong = outcome(installation, posted, ids)
    print("\n".join(lines))
    print(f"- Everything had come out {drained:.0f} s after the last report was answered.")
    for words in wrong:
        print(f"FAIL {words}", file=sys.stderr)
    if wrong:
        sys.exit(1)
    if options.report:
        report(options.report, installation, lines, drained)


if __name__ == "__main__":
    main()
