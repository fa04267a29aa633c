#!/usr/bin/env python3
"""What do the slowest of 300 webhooks/s wait for on a server that syncs every message: batches, or the disk?

    bench/measure/small_rate.py [--programs target/release] [--nats nats-server] [--rounds 4] [--seconds 15]

Ingress with batches and without, in turns, beside the times of nats-server's writes and syncs of its files, which `perf` records. While one
of them is long, the webhooks of that time wait, with batches or without: if long ones take more than a hundredth of the time, they are the
99th percentile. Needs Linux, `perf` and the right to trace system calls.
"""

import argparse
import collections
import contextlib
import os
import re
import signal
import subprocess

import lab

RATE, CONNECTIONS = 300, 64
CALLS = ("write", "pwrite64", "writev", "fsync", "fdatasync")
# Duration from which a call is long: three webhooks come in that time.
LONG_MS = 10
# `perf script -F tid,time,event`: 4711 15294.551234: syscalls:sys_enter_fsync:
EVENT = re.compile(r"^\s*(\d+)\s+([\d.]+):\s+syscalls:sys_(enter|exit)_(\w+):")


@contextlib.contextmanager
def recorded(process, file):
    """Records the calls of a process."""
    events = ",".join(f"syscalls:sys_{when}_{call}" for call in CALLS for when in ("enter", "exit"))
    perf = subprocess.Popen(["perf", "record", "--quiet", "--event", events, "--pid", str(process.pid), "--output", file])
    lab.until(lambda: os.path.exists(file), "perf records")
    try:
        yield
    finally:
        perf.send_signal(signal.SIGINT)
        perf.wait()


def calls(file):
    """Duration of each call, in ms, by its name."""
    script = subprocess.run(["perf", "script", "--input", file, "--fields", "tid,time,event"], capture_output=True, text=True, check=True)
    begun, found = {}, collections.defaultdict(list)
    for line in script.stdout.splitlines():
        if not (match := EVENT.match(line)):
            continue
        thread, at, when, call = match[1], float(match[2]), match[3], match[4]
        if when == "enter":
            begun[thread, call] = at
        elif (thread, call) in begun:
            found[call].append((at - begun.pop((thread, call))) * 1000)
    return found


def turn(lab_, service, nats, options):
    """The line of one load."""
    load = [lab_.programs / "imchannel-bench", "load", "--gateway", f"127.0.0.1:{service.gateway}", "--password", "p"]
    load += ["--path", "/social/on/whatsapp/infobip/report/measure-0", "--seconds", str(options.seconds)]
    load += ["--connections", str(CONNECTIONS), "--rate", str(RATE)]
    file = str(lab_.folder / "perf.data")
    with recorded(nats.nodes[0]["process"], file):
        done = subprocess.run(load, capture_output=True, text=True, check=True)
    found = calls(file)
    os.remove(file)
    all_ = sorted(duration for durations in found.values() for duration in durations)
    long_ = [duration for duration in all_ if duration >= LONG_MS]
    syncs = sorted(found["fsync"] + found["fdatasync"] + found["pwrite64"])
    share = sum(long_) / 1000 / options.seconds
    longest = max(all_)
    return (
        f"{done.stdout.strip().splitlines()[-1]}\n      calls that wrote a file: {len(syncs):,}, median {syncs[len(syncs) // 2]:.2f} ms; of {LONG_MS} ms and more:"
        f" {len(long_)}, {share:.1%} of the time, the longest {longest:.0f} ms"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", default="target/release")
    parser.add_argument("--nats", default="nats-server")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=int, default=15)
    options = parser.parse_args()
    with lab.Lab(options.programs) as lab_:
        nats = lab.Nats(lab_, options.nats, sync="always")
        lab_.set_up(nats, lab_.channels(lab.free_port(), count=1))
        services = {}
        for name in ("off", "auto"):
            gateway = lab.free_port()
            services[name] = lab_.service("ingress", nats, IMCHANNEL_INGRESS_LISTEN=f"127.0.0.1:{gateway}", IMCHANNEL_GROUP_COMMIT=name)
            services[name].gateway = gateway
        for number in range(options.rounds):
            order = list(services)
            for name in order if number % 2 == 0 else reversed(order):
                words = {"off": "without batches", "auto": "with batches   "}[name]
                print(f"{words}  {turn(lab_, services[name], nats, options)}", flush=True)


if __name__ == "__main__":
    main()
