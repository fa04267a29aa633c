#!/usr/bin/env python3
"""From how many messages on is an atomic batch faster than the same messages one by one?

    bench/measure/batches.py [--nats nats-server] [--rounds 5] [--seconds 2]

One server that syncs every message (2.15.0 or later syncs a batch once), one connection, messages of 700 bytes with an id. For each size a
batch is written and its acknowledgement awaited, against as many single messages that are written together and acknowledged one by one.
`BATCH_MESSAGES_MIN` (crates/bus/src/state/gathering/mod.rs) is the size from which batches win.
"""

import argparse
import json
import socket
import statistics
import subprocess
import time

import lab

SIZES = [1, 2, 4, 8, 12, 16, 24, 32, 64, 128, 256]
BODY = b"x" * 700
STREAM = {"name": "S", "subjects": ["s.*"], "storage": "file", "allow_atomic": True, "duplicate_window": 2_000_000_000}


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.lines = self.socket.makefile("rb")
        self.lines.readline()
        self.socket.sendall(b'CONNECT {"verbose":false,"headers":true}\r\nSUB answer 1\r\n')
        self.ids = 0

    def answer(self):
        while True:
            line = self.lines.readline()
            if line.startswith((b"MSG", b"HMSG")):
                return self.lines.read(int(line.split()[-1]) + 2)
            if line.startswith(b"PING"):
                self.socket.sendall(b"PONG\r\n")

    def request(self, subject, value):
        body = json.dumps(value).encode()
        self.socket.sendall(b"PUB %s answer %d\r\n%s\r\n" % (subject.encode(), len(body), body))
        answer = json.loads(self.answer())
        if "error" in answer:
            raise SystemExit(f"{subject}: {answer['error']}")

    def message(self, reply, headers):
        self.ids += 1
        lines = b"".join(b"%s: %s\r\n" % (name, str(value).encode()) for name, value in headers)
        head = b"NATS/1.0\r\nNats-Msg-Id: %d\r\n%s\r\n" % (self.ids, lines)
        return b"HPUB s.a%s %d %d\r\n%s%s\r\n" % (reply, len(head), len(head) + len(BODY), head, BODY)

    def batch(self, size):
        name = f"b{self.ids}"
        members = [(b" answer" if last == size else b"", [(b"Nats-Batch-Id", name), (b"Nats-Batch-Sequence", last)]) for last in range(1, size + 1)]
        members[-1][1].append((b"Nats-Batch-Commit", 1))
        self.socket.sendall(b"".join(self.message(*member) for member in members))
        answer = json.loads(self.answer())
        if answer.get("count") != size:
            raise SystemExit(f"a batch of {size} was not stored: {answer}")

    def singles(self, size):
        self.socket.sendall(b"".join(self.message(b" answer", []) for _ in range(size)))
        for _ in range(size):
            answer = json.loads(self.answer())
            if "error" in answer:
                raise SystemExit(f"a message was not stored: {answer}")


def rate(write, size, seconds):
    """Messages a second."""
    began, count = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        write(size)
        count += size
    return count / (time.monotonic() - began)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--nats", default="nats-server")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=2)
    options = arguments.parse_args()
    print(subprocess.run([options.nats, "--version"], capture_output=True, text=True, check=True).stdout.strip())
    with lab.Lab() as lab_:
        nats = lab.Nats(lab_, options.nats, sync="always")
        connection = Connection(nats.nodes[0]["client"])
        connection.request("$JS.API.STREAM.CREATE.S", STREAM)
        print("| messages | one by one, messages/s | one batch, messages/s | ratio |\n|---|---|---|---|")
        for size in SIZES:
            pairs = []
            for _ in range(options.rounds):
                connection.request("$JS.API.STREAM.PURGE.S", {})
                pairs.append((rate(connection.singles, size, options.seconds), rate(connection.batch, size, options.seconds)))
            singles, batches = (statistics.median(column) for column in zip(*pairs))
            ratios = sorted(batch / single for single, batch in pairs)
            print(f"| {size} | {singles:,.0f} | {batches:,.0f} | **{statistics.median(ratios):.2f}** ({ratios[0]:.2f} to {ratios[-1]:.2f}) |", flush=True)


if __name__ == "__main__":
    main()
