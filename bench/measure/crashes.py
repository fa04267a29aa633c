#!/usr/bin/env python3
"""Kills NATS servers and removes a disk under load, and counts the lost webhooks among those answered 200.

    bench/measure/crashes.py [--programs target/release] [--nats nats-server] [--upgrade NEWER] [--only …]

`imchannel simulate webhooks` posts 200 webhooks per second as the BSPs do, retries refused ones, and finally checks that every webhook that was
answered 200 became its events. A loss of power cannot be produced here: the operating system still has what a server wrote.
"""

import argparse
import signal
import subprocess
import threading
import time

import lab

SECONDS = 20


def kill_in_turn(nats, **_):
    for node in nats.nodes * (3 if len(nats.nodes) == 1 else 1):
        time.sleep(2)
        nats.kill(node)
        time.sleep(1)
        nats.start(node)
        lab.until(lambda node=node: nats.healthy(node), "the server is back")


def kill_all(nats, **_):
    time.sleep(4)
    for node in nats.nodes:
        node["process"].kill()
    for node in nats.nodes:
        node["process"].wait()
    time.sleep(1)
    for node in nats.nodes:
        nats.start(node)


def lose_a_disk(nats, **_):
    time.sleep(4)
    nats.kill(nats.nodes[0])
    subprocess.run(["rm", "-rf", nats.folder / nats.nodes[0]["name"]], check=True)
    time.sleep(1)
    began = time.monotonic()
    nats.start(nats.nodes[0])
    lab.until(lambda: nats.healthy(nats.nodes[0]), "the server has its copies again")
    print(f"  healthy again after {time.monotonic() - began:.1f} s")


def stop_in_turn(nats, newer):
    """Like an upgrade: lame duck, then the newer program on the same disk."""
    for node in nats.nodes:
        time.sleep(2)
        nats.kill(node, signal.SIGUSR2)
        nats.start(node, newer)
        lab.until(lambda node=node: nats.healthy(node), "the server is back")


CASES = {
    "one server killed three times": (1, kill_in_turn),
    "three servers, each killed in turn": (3, kill_in_turn),
    "three servers, all killed at the same time": (3, kill_all),
    "three servers, one loses its disk": (3, lose_a_disk),
    "three servers, upgraded in turn": (3, stop_in_turn),
}


def run(lab_, options, name, sync):
    nodes, torment = CASES[name]
    nats = lab.Nats(lab_, options.nats, nodes, sync)
    gateway = lab.free_port()
    channels = lab_.channels(lab.free_port(), count=1)
    lab_.set_up(nats, channels, replicas=nodes)
    services = [lab_.service("ingress", nats, IMCHANNEL_INGRESS_LISTEN=f"127.0.0.1:{gateway}"), lab_.service("normalizer", nats)]
    thread = threading.Thread(target=torment, args=[nats], kwargs={"newer": options.upgrade})
    thread.start()
    done = lab_.cli(
        nats, "simulate", "webhooks", "--channels", channels, "--gateway", f"http://127.0.0.1:{gateway}", "--rate", 200, "--for", f"{SECONDS}s",
        "--settle", "60s", "--json",
    )  # fmt: skip
    thread.join()
    verdict = {0: "nothing was lost", 3: "NOT CLEAN"}.get(done.returncode, f"exit code {done.returncode}")
    print(f"{name}, sync {sync or 'default'}: {verdict}")
    print(f"  {done.stdout.strip().splitlines()[-1][:700]}", flush=True)
    for service in services:
        lab_.stop(service)
    nats.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", default="target/release")
    parser.add_argument("--nats", default="nats-server")
    parser.add_argument("--upgrade", help="a newer nats-server for the upgrade (default: the same one)")
    parser.add_argument("--only", default="", help="part of a case's name")
    parser.add_argument("--sync", default="default,always")
    options = parser.parse_args()
    print(subprocess.run([options.nats, "--version"], capture_output=True, text=True).stdout.strip())
    with lab.Lab(options.programs) as lab_:
        for name in CASES:
            for sync in options.sync.split(","):
                if options.only in name:
                    run(lab_, options, name, None if sync == "default" else sync)


if __name__ == "__main__":
    main()
