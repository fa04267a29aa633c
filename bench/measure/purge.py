#!/usr/bin/env python3
"""Does purging keep up? EVENTS gets messages at a steady rate, consumers read them, and the stream must stay below 95 %.

    bench/measure/purge.py [--programs target/release] [--nats nats-server] [--nodes 1] [--purgers 1] [--rate 5000] [--seconds 60]

On nats-server before 2.10 messages are deleted one at a time (ARCHITECTURE.md). The normalizers that purge (`--purgers`), the servers
and the publishers share this machine.
"""

import argparse
import json
import pathlib
import socket
import subprocess
import time

import lab

LIMIT_BYTES = 64 * 1024 * 1024
BODY = b"x" * 1000
SUBJECT = "imchannel.event.report.infobip.measure-0"


class Publisher:
    """A small NATS client that publishes with a reply subject and counts the acknowledgements."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.lines = self.socket.makefile("rb")
        self.lines.readline()
        self.socket.sendall(b'CONNECT {"verbose":false,"headers":true}\r\nSUB measure.ack 1\r\n')

    def publish(self, count):
        """Publishes, and waits for every acknowledgement; returns the number of refused messages."""
        self.socket.sendall(f"PUB {SUBJECT} measure.ack {len(BODY)}\r\n".encode().join([b""] + [BODY + b"\r\n"] * count))
        refused = 0
        while count:
            line = self.lines.readline()
            if line.startswith(b"MSG"):
                answer = json.loads(self.lines.read(int(line.split()[-1]) + 2))
                refused += "error" in answer
                count -= 1
            elif line.startswith(b"PING"):
                self.socket.sendall(b"PONG\r\n")
        return refused


def run(lab_, options):
    nats = lab.Nats(lab_, options.nats, options.nodes)
    channels = lab_.channels(lab.free_port(), count=1)
    done = lab_.cli(nats, "streams", "apply", "--replicas", options.nodes, "--events-max-size", f"{LIMIT_BYTES}B")
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    lab_.cli(nats, "channel", "apply", "-f", channels)
    publisher = Publisher(nats.nodes[0]["client"])
    publisher.socket.sendall(b"PUB $JS.API.CONSUMER.DELETE.EVENTS.aicc 0\r\n\r\n")
    services = [lab_.service("normalizer", nats) for _ in range(options.purgers)]
    refused, most, sent = 0, 0, 0
    began = time.monotonic()
    step = max(options.rate // 50, 1)
    while sent < options.rate * options.seconds:
        refused += publisher.publish(step)
        sent += step
        if sent % options.rate < step:
            most = max(most, nats.count("EVENTS")[1])
        time.sleep(max(0, began + sent / options.rate - time.monotonic()))
    took = time.monotonic() - began
    version = subprocess.run([options.nats, "--version"], capture_output=True, text=True).stdout.strip()
    print(
        f"{version}, {options.nodes} server(s), {options.purgers} purger(s): {sent / took:,.0f} messages/s for {took:.0f} s, "
        f"{refused} refused; EVENTS held at most {most / LIMIT_BYTES:.0%}, at the end {nats.count('EVENTS')[1] / LIMIT_BYTES:.0%}"
    )
    for service in services:
        lab_.stop(service)
    nats.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=pathlib.Path, default="target/release")
    parser.add_argument("--nats", default="nats-server")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--rate", type=int, default=5000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--purgers", type=int, default=1)
    options = parser.parse_args()
    with lab.Lab(options.programs) as lab_:
        run(lab_, options)


if __name__ == "__main__":
    main()
