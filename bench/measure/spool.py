#!/usr/bin/env python3
"""Stops NATS while KooMessage and Twilio post webhooks, and counts those that were lost or answered late.

    bench/measure/spool.py [--programs target/release] [--nats nats-server] [--rate 2000] [--away 80] [--folder FOLDER]

`imchannel simulate webhooks` posts as these BSPs do. NATS is killed after five seconds and started again when the time is over. Finally the
simulator checks that every webhook that was answered 200 became its events. The spool is in FOLDER (default: a temporary folder): choose one
on the disk that you want to measure.
"""

import argparse
import json
import pathlib
import re
import subprocess
import threading
import time
import urllib.request

import lab

# Seconds with NATS before and after the outage.
BEFORE_S, AFTER_S = 5, 5


def outage(nats, seconds):
    time.sleep(BEFORE_S)
    node = nats.nodes[0]
    nats.kill(node)
    time.sleep(seconds)
    nats.start(node)


def metrics(service):
    with urllib.request.urlopen(f"http://127.0.0.1:{service.admin}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    found = re.findall(r"^imchannel_ingress_(spool_\S+) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found if "_bucket" not in name}


def watch(service, samples, stop):
    """Largest backlog and memory of ingress."""
    while not stop.wait(1):
        try:
            state = metrics(service)
        except OSError:
            continue
        samples.append((state["spool_entries"], state["spool_size_bytes"], memory_of(service)))


def memory_of(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024


def channels(lab_):
    text = ""
    for bsp, login in (("koomessage", ""), ("twilio", 'user = "u", ')):
        text += f'[[channel]]\nid = "measure-{bsp}"\nbsp = "{bsp}"\ntenant = "measure"\nwebhook = [{{ {login}password = "p" }}]\n'
    file = lab_.folder / "channels.toml"
    file.write_text(text)
    return file


def run(lab_, options):
    nats = lab.Nats(lab_, options.nats)
    gateway, file = lab.free_port(), channels(lab_)
    lab_.set_up(nats, file)
    folder = options.folder or str(lab_.folder / "spool")
    ingress = lab_.service(
        "ingress", nats, IMCHANNEL_INGRESS_LISTEN=f"127.0.0.1:{gateway}", IMCHANNEL_SPOOL_DIR=folder, IMCHANNEL_SPOOL_MAX_SIZE="4GiB"
    )
    lab_.service("normalizer", nats)
    samples, stop = [], threading.Event()
    watching = threading.Thread(target=watch, args=[ingress, samples, stop])
    breaking = threading.Thread(target=outage, args=[nats, options.away])
    watching.start(), breaking.start()
    seconds = BEFORE_S + options.away + AFTER_S
    done = lab_.cli(
        nats, "simulate", "webhooks", "--channels", file, "--gateway", f"http://127.0.0.1:{gateway}", "--rate", options.rate, "--for", f"{seconds}s",
        "--settle", "240s", "--json",
    )  # fmt: skip
    breaking.join()
    stop.set()
    watching.join()
    verdict = {0: "nothing was lost", 3: "NOT CLEAN"}.get(done.returncode, f"exit code {done.returncode}")
    print(f"NATS away for {options.away} s at {options.rate} webhooks/s: {verdict}")
    lines = done.stdout.strip().splitlines()
    print(f"  {lines[-1][:2000] if lines else done.stderr[:2000]}")
    entries, size, memory = (max(values) for values in zip(*samples))
    print(f"  at most {entries:,.0f} webhooks in the spool, {size / 2**20:,.0f} MiB; ingress used at most {memory / 2**20:,.0f} MiB of memory")
    print(f"  {json.dumps(metrics(ingress))}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", default="target/release")
    parser.add_argument("--nats", default="nats-server")
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--away", type=int, default=80, help="seconds without NATS")
    parser.add_argument("--folder", default="", help="folder of the spool")
    options = parser.parse_args()
    print(subprocess.run([options.nats, "--version"], capture_output=True, text=True).stdout.strip())
    with lab.Lab(options.programs) as lab_:
        run(lab_, options)


if __name__ == "__main__":
    main()
