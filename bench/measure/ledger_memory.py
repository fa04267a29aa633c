#!/usr/bin/env python3
"""Memory and disk that a nats-server needs for each key of the ledger of sends, by the form of the key and of the value.

    bench/measure/ledger_memory.py --nats NATS-SERVER [--keys 1000000] [--form today ...] [--rest 150] [--gogc 50]

Every key is written as a sender does: an intent that expects no entry, then the decided entry in its place, which expects
the intent's sequence. One line for each moment:

- filled: immediately after the last write. The server still has the subjects of each block that it wrote in the last two
  minutes, a second time.
- rested: `--rest` seconds later, without traffic. This is what an old entry costs.
- restarted, killed: after SIGTERM or SIGKILL, and a start on the same disk.

`live` is the heap after a garbage collection, `RSS` what the process had before it, `peak` the highest RSS so far. All are
bytes for each key, without what the empty server had. The folder needs 1 KB of disk for each key, and is removed.
"""

import argparse
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import time

import lab

import base64

CHANNELS = 20
# Publishes in flight: intents of as many commands, then their outcomes.
BATCH = 1000
# Bytes of an entry's value: an intent; a decided entry with the whole result; a compact one.
INTENT, DECIDED, COMPACT = 217, 519, 293


def digest(number):
    return hashlib.sha256(f"c-{number}".encode()).digest()[:16]


def base64url(number):
    return base64.urlsafe_b64encode(digest(number)).decode().rstrip("=")


# The forms: the bucket, and the key of a command.
FORMS = {
    "today": ("imchannel_sends", lambda number: f"measure-{number % CHANNELS}.{digest(number).hex()}", DECIDED),
    "compact": ("imchannel_sends", lambda number: f"measure-{number % CHANNELS}.{digest(number).hex()}", COMPACT),
    "short-hex": ("S", lambda number: digest(number).hex(), COMPACT),
    "short-base64url": ("S", lambda number: base64url(number), COMPACT),
    "short-two-tokens": ("S", lambda number: f"{base64url(number)[:2]}.{base64url(number)[2:]}", COMPACT),
    "short-channel": ("S", lambda number: f"measure-{number % CHANNELS}.{base64url(number)}", COMPACT),
}


class Connection:
    """A connection with the plain protocol."""

    def __init__(self, node):
        self.stream = socket.create_connection(("127.0.0.1", node["client"]))
        self.lines = self.stream.makefile("rb", 1 << 20)
        self.lines.readline()
        self.stream.sendall(b'CONNECT {"verbose":false,"headers":true}\r\nSUB _INBOX.m 1\r\n')

    def answer(self):
        while True:
            line = self.lines.readline()
            if line.startswith(b"MSG"):
                return self.lines.read(int(line.rsplit(b" ", 1)[1]) + 2)
            if line.startswith(b"PING"):
                self.stream.sendall(b"PONG\r\n")

    def request(self, subject, body):
        body = json.dumps(body).encode()
        self.stream.sendall(f"PUB {subject} _INBOX.m {len(body)}\r\n".encode() + body + b"\r\n")
        answer = json.loads(self.answer())
        if "error" in answer:
            raise SystemExit(f"{subject}: {answer['error']}")
        return answer

    def publish(self, messages):
        """Publishes (subject, expected sequence, payload), and waits for all acknowledgements."""
        text = []
        for subject, expected, payload in messages:
            head = f"NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: {expected}\r\n\r\n"
            text.append(f"HPUB {subject} _INBOX.m {len(head)} {len(head) + len(payload)}\r\n{head}{payload}\r\n")
        self.stream.sendall("".join(text).encode())
        for _ in messages:
            answer = self.answer()
            if b'"error"' in answer:
                raise SystemExit(f"a publish was answered {answer}")


def status(process):
    """Resident bytes of a process, now and at most."""
    text = open(f"/proc/{process.pid}/status").read()
    return [int(re.search(rf"{name}:\s+(\d+) kB", text)[1]) * 1024 for name in ("VmRSS", "VmHWM")]


def live_heap(node):
    """The heap after a garbage collection."""
    connection = http.client.HTTPConnection("127.0.0.1", node["profile"], timeout=120)
    connection.request("GET", "/debug/pprof/heap?gc=1&debug=1")
    text = connection.getresponse().read().decode()
    return int(re.search(r"# HeapAlloc = (\d+)", text)[1])


class Measured:
    def __init__(self, options, lab_, form):
        self.options, self.form = options, form
        self.bucket, self.key, self.decided = FORMS[form]
        self.stream = f"KV_{self.bucket}"
        self.nats = lab.Nats(lab_, options.nats)
        self.node = self.nats.nodes[0]
        # The profile port is for this measurement only.
        self.node["profile"] = lab.free_port()
        config = self.nats.folder / f"{self.node['name']}.conf"
        config.write_text(config.read_text() + f"prof_port: {self.node['profile']}\n")
        self.restart(signal.SIGKILL)
        self.base = (status(self.node["process"])[0], live_heap(self.node))
        Connection(self.node).request(f"$JS.API.STREAM.CREATE.{self.stream}", {
            "name": self.stream, "subjects": [f"$KV.{self.bucket}.>"], "retention": "limits", "storage": "file", "discard": "new",
            "max_age": 26 * 3600 * 10**9, "max_msgs_per_subject": 1, "max_msg_size": 128 * 1024, "max_msgs": -1, "max_bytes": -1,
            "max_consumers": -1, "num_replicas": 1, "deny_delete": True, "deny_purge": True, "allow_direct": True,
        })  # fmt: skip

    def restart(self, how):
        self.nats.kill(self.node, how)
        began = time.monotonic()
        self.nats.start(self.node)
        lab.until(lambda: self.nats.healthy(self.node), "NATS is there", 600)
        return time.monotonic() - began

    def fill(self, begin, end):
        connection = Connection(self.node)
        intent, decided = "i" * INTENT, "d" * self.decided
        for first in range(begin, end, BATCH):
            numbers = range(first, min(first + BATCH, end))
            keys = [f"$KV.{self.bucket}.{self.key(number)}" for number in numbers]
            connection.publish([(key, 0, intent) for key in keys])
            # This is the only writer, and each command takes two sequences.
            connection.publish([(key, 2 * first + place + 1, decided) for place, key in enumerate(keys)])

    def line(self, keys, moment, note=""):
        rss, peak = status(self.node["process"])
        varz, live = self.nats.memory(self.node), live_heap(self.node)
        messages, size = self.nats.count(self.stream)
        if messages != keys:
            raise SystemExit(f"{self.stream} has {messages} messages, not {keys}")
        each = [(live - self.base[1]) / keys, *((bytes_ - self.base[0]) / keys for bytes_ in (rss, varz, peak))]
        cells = " | ".join(f"{value:.0f}" for value in each)
        subject = len(f"$KV.{self.bucket}.{self.key(0)}")
        print(
            f"| {self.version()} | {self.form} | {subject} | {keys:,} | {moment} | {cells} | {size / keys:.0f} | {rss / 2**20:.0f} | {note} |", flush=True
        )

    def version(self):
        return lab.get(f"http://127.0.0.1:{self.node['monitor']}/varz")["version"]

    def run(self):
        done = 0
        for keys in sorted(self.options.keys):
            began = time.monotonic()
            self.fill(done, keys)
            rate = 2 * (keys - done) / (time.monotonic() - began)
            self.line(keys, "filled", f"{rate:,.0f} writes/s")
            done = keys
            if self.options.rest:
                time.sleep(self.options.rest)
                self.line(keys, "rested")
        for moment, how in (("restarted", signal.SIGTERM), ("killed", signal.SIGKILL)):
            took = self.restart(how)
            self.line(done, moment, f"healthy after {took:.1f} s")
        self.nats.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nats", default="nats-server")
    parser.add_argument("--keys", type=int, nargs="+", default=[1_000_000], help="numbers of keys, each after the one before")
    parser.add_argument("--form", nargs="+", choices=FORMS, default=["today", "compact", "short-base64url"])
    parser.add_argument("--rest", type=int, default=150, help="seconds; blocks keep their subjects for 120")
    parser.add_argument("--gogc", help="GOGC of the server; Go's default is 100")
    parser.add_argument("--gomemlimit", help="GOMEMLIMIT of the server, such as 1GiB")
    options = parser.parse_args()
    for name in ("gogc", "gomemlimit"):
        if getattr(options, name):
            os.environ[name.upper()] = getattr(options, name)
    print(f"GOGC {os.environ.get('GOGC', 'default')}, GOMEMLIMIT {os.environ.get('GOMEMLIMIT', 'none')}")
    print("| nats-server | form | subject | keys | when | live | RSS | varz mem | peak | on disk | RSS in all, MiB | |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for form in options.form:
        with lab.Lab() as lab_:
            Measured(options, lab_, form).run()


if __name__ == "__main__":
    main()
