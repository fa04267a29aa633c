#!/usr/bin/env python3
"""Throughput of ingress, normalizer and sender over JetStream with one server and three, with and without `sync_interval: always`.

    bench/measure/throughput.py [--programs target/release] [--nats nats-server] [--rounds 5] [--only one,one-always,…]

Each round starts every configuration again, one after another. Load, servers and programs share this machine, and all three
servers share its disk: use the figures only to compare the configurations.
"""

import argparse
import os
import re
import subprocess
import time
from collections import defaultdict

import lab

CONFIGURATIONS = {"one": (1, None), "one-always": (1, "always"), "three": (3, None), "three-always": (3, "always")}
SECONDS = 2
NORMALIZED = 30_000
COMMANDS = 20_000


def measure(lab_, program, nodes, sync, only_sends, found):
    nats = lab.Nats(lab_, program, nodes, sync)
    gateway, account = lab.free_port(), lab.free_port()
    channels = lab_.channels(account)
    lab_.set_up(nats, channels, replicas=nodes)
    if not only_sends:
        webhooks(lab_, nats, gateway, found)
    sends(lab_, nats, channels, account, gateway, found)
    nats.stop()


def webhooks(lab_, nats, gateway, found):
    ingress = lab_.service("ingress", nats, IMCHANNEL_INGRESS_LISTEN=f"127.0.0.1:{gateway}")
    for connections in (1, 64, 512):
        load = [lab_.programs / "imchannel-bench", "load", "--gateway", f"127.0.0.1:{gateway}", "--password", "p"]
        load += ["--path", "/social/on/whatsapp/infobip/report/measure-0", "--seconds", str(SECONDS), "--connections", str(connections)]
        done = subprocess.run(load, capture_output=True, text=True)
        numbers = re.search(r"(\d+) requests/s, p50 ([\d.]+) ms, p99 ([\d.]+) ms", done.stdout + done.stderr)
        found[f"webhooks/s, {connections} connections"].append(float(numbers[1]))
        found[f"99th percentile, {connections} connections, ms"].append(float(numbers[3]))
    waiting = nats.waiting("WEBHOOKS", "normalizer")
    began = time.monotonic()
    normalizer = lab_.service("normalizer", nats)
    lab.until(lambda: nats.waiting("WEBHOOKS", "normalizer") < max(waiting - NORMALIZED, 1), "the normalizer has worked", 180)
    done = waiting - nats.waiting("WEBHOOKS", "normalizer")
    found["normalized/s"].append(done / (time.monotonic() - began))
    lab_.stop(normalizer)
    lab_.stop(ingress)


def sends(lab_, nats, channels, account, gateway, found):
    """Sends a backlog of commands over 20 channels to an account that answers after 50 ms and sends no reports."""
    args = ["simulate", "infobip", "--channels", channels, "--listen", f"127.0.0.1:{account}", "--latency", "50ms"]
    infobip = lab_.program("imchannel", nats, [*args, "--gateway", f"http://127.0.0.1:{gateway}", "--api-key", lab.API_KEY])
    before = nats.count("EVENTS")[0]
    names = [f"measure-{number % 20}" for number in range(COMMANDS)]
    lab.publish(
        nats,
        (
            (f"imchannel.command.send.{name}", [], lab.text_command(name, number, "run", 25))
            for number, name in enumerate(names)
        ),
    )
    lab.until(lambda: nats.waiting("COMMANDS") == COMMANDS, "the commands are stored")
    sender = lab_.service("sender", nats, IMCHANNEL_REDIS_URL="redis://127.0.0.1:1", IMCHANNEL_MEDIA_PUBLIC_URL="http://127.0.0.1:1")
    # The sender takes the lanes one after another: measure after the first tenth.
    results = lambda: nats.count("EVENTS")[0] - before
    lab.until(lambda: results() > COMMANDS // 10, "the lanes work", 240)
    done, began = results(), time.monotonic()
    lab.until(lambda: results() > COMMANDS * 9 // 10 or time.monotonic() - began > 10, "most is sent")
    found["sends/s"].append((results() - done) / (time.monotonic() - began))
    lab_.stop(sender)
    lab_.stop(infobip)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", default="target/release")
    parser.add_argument("--nats", default="nats-server")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sends", action="store_true", help="only the sender")
    parser.add_argument("--only", default=",".join(CONFIGURATIONS))
    options = parser.parse_args()
    version = subprocess.run([options.nats, "--version"], capture_output=True, text=True).stdout.strip()
    print(f"{version}, {os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}; least / median / most of {options.rounds} rounds")
    found = {}
    with lab.Lab(options.programs) as lab_:
        for _ in range(options.rounds):
            for name in options.only.split(","):
                columns = found.setdefault(name, defaultdict(list))
                measure(lab_, options.nats, *CONFIGURATIONS[name], options.sends, columns)
    for name, columns in found.items():
        for what, values in columns.items():
            print(f"{name:14} {what:40} {lab.spread(values, '{:,.1f}' if 'ms' in what else '{:,.0f}')}")


if __name__ == "__main__":
    main()
