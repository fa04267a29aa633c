#!/usr/bin/env python3
"""What our use of JetStream costs nats-server in CPU time: headers, ids, consumers and acknowledgements, one after another.

    bench/measure/nats_cpu.py [--nats nats-server] [--rounds 5] [--messages 100000] [--only TEXT]

One connection publishes or reads with the plain protocol, like a normalizer: 1,024 publishes in flight, pulls of 512. Each line is a new server.
CPU time of the server (user and system) a message, with its default sync; the lines of a table differ by one thing each.
"""

import argparse
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys

import lab

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
IN_FLIGHT, PULLED, TOGETHER = 1024, 512, 64
SECOND = 1_000_000_000
BARE = {"max_bytes": 4 << 30}
OURS = BARE | {"max_age": 72 * 3600 * SECOND, "discard": "new", "allow_direct": True, "duplicate_window": 40 * SECOND}
EVENT_HEADERS = [
    "ce-specversion: 1.0",
    "ce-type: imchannel.v1.ReportEvent",
    "ce-datacontenttype: application/protobuf",
    "ce-source: /infobip/bench",
    "ce-id: %032x",
    "ce-time: 2026-11-28T05:00:00.123456Z",
]
WEBHOOK_HEADERS = [
    "Nats-Msg-Id: %032x",
    "Imchannel-Route: report",
    "Imchannel-Received-At: 2026-11-28T05:00:00.123456Z",
    "Content-Type: application/json; charset=UTF-8",
]
READER = {"ack_policy": "explicit", "ack_wait": 30 * SECOND, "max_ack_pending": 20_000}
EVENT, WEBHOOK = b"e" * 190, b"w" * 230


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.lines = self.socket.makefile("rb", 1 << 16)
        self.lines.readline()
        self.socket.sendall(b'CONNECT {"verbose":false,"headers":true}\r\nSUB _INBOX.measure.* 1\r\n')

    def message(self):
        """The next message: its line, and what follows."""
        while True:
            line = self.lines.readline()
            if line.startswith((b"MSG", b"HMSG")):
                return line, self.lines.read(int(line.split()[-1]) + 2)
            if line.startswith(b"PING"):
                self.socket.sendall(b"PONG\r\n")
            if not line:
                raise SystemExit("the server closed the connection")

    def request(self, subject, value):
        body = json.dumps(value).encode()
        self.socket.sendall(b"PUB $JS.API.%s _INBOX.measure.request %d\r\n%s\r\n" % (subject.encode(), len(body), body))
        answer = json.loads(self.message()[1])
        if "error" in answer:
            raise SystemExit(f"{subject}: {answer['error']}")
        return answer

    def publish(self, subject, headers, body, count, replies):
        """Stores messages, many in flight, with this number of different reply subjects."""
        form = ("NATS/1.0\r\n" + "\r\n".join(headers) + "\r\n\r\n").encode() if headers else b""
        ids = form.count(b"%032x")
        sent = answered = 0
        while answered < count:
            text = []
            while sent < count and sent - answered < IN_FLIGHT and len(text) < TOGETHER:
                sent += 1
                if not form:
                    text.append(b"PUB %s _INBOX.measure.%022d %d\r\n%s\r\n" % (subject, sent % replies, len(body), body))
                    continue
                head = form % ((sent,) * ids)
                text.append(b"HPUB %s _INBOX.measure.%022d %d %d\r\n%s%s\r\n" % (subject, sent % replies, len(head), len(head) + len(body), head, body))
            self.socket.sendall(b"".join(text))
            if sent < count and sent - answered < IN_FLIGHT:
                continue
            for _ in range(min(TOGETHER, count - answered)):
                if b'"error"' in self.message()[1]:
                    raise SystemExit("a message was not stored")
                answered += 1

    def read(self, count, acknowledged, pulled):
        """Reads messages of the consumer `reader`, and acknowledges each, or only the last of several."""
        request = b'{"batch":%d,"expires":15000000000,"max_bytes":8388608,"idle_heartbeat":5000000000}' % pulled
        request = b"PUB $JS.API.CONSUMER.MSG.NEXT.S.reader _INBOX.measure.pull %d\r\n%s\r\n" % (len(request), request)
        left, text = 0, []
        for number in range(1, count + 1):
            if left <= pulled // 2:
                text.append(request)
                left += pulled
            if text and (len(text) >= TOGETHER or text[-1] is request):
                self.socket.sendall(b"".join(text))
                text = []
            reply = self.read_one()
            left -= 1
            if acknowledged and (number % acknowledged == 0 or number == count):
                text.append(b"PUB %s 4\r\n+ACK\r\n" % reply)
        self.socket.sendall(b"".join(text))

    def read_one(self):
        while True:
            words = self.message()[0].split()
            # A status has no reply subject of an acknowledgement.
            if len(words) > 4 and words[3].startswith(b"$JS.ACK"):
                return words[3]


def cpu_s(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def measured(options, prepare, act, cache):
    """CPU time of a new server for what `act` does, in microseconds a message."""
    with lab.Lab() as lab_:
        nats = lab.Nats(lab_, options.nats, subject_cache=cache)
        connection = Connection(nats.nodes[0]["client"])
        prepare(connection)
        server = nats.nodes[0]["process"]
        before = cpu_s(server)
        act(connection)
        return (cpu_s(server) - before) / options.messages * 1e6


def stream(connection, config, consumer=None):
    connection.request("STREAM.CREATE.S", {"name": "S", "subjects": ["s.*.*.*.*"], "storage": "file"} | config)
    if consumer is not None:
        connection.request("CONSUMER.DURABLE.CREATE.S.reader", {"stream_name": "S", "config": READER | {"durable_name": "reader"} | consumer})


def publishing(options, config, consumer, headers, replies=sys.maxsize, cache="off"):
    act = lambda connection: connection.publish(b"s.event.report.infobip.bench", headers, EVENT, options.messages, replies)
    return lambda: measured(options, lambda connection: stream(connection, config, consumer), act, cache)


def reading(options, consumer, acknowledged, pulled=PULLED, headers=WEBHOOK_HEADERS, cache="off"):
    def prepare(connection):
        stream(connection, OURS, consumer)
        connection.publish(b"s.webhook.infobip.bench.x", headers, WEBHOOK, options.messages, sys.maxsize)

    def act(connection):
        connection.read(options.messages, acknowledged, pulled)
        pending = lambda: connection.request("CONSUMER.INFO.S.reader", {})["num_ack_pending"]
        lab.until(lambda: not acknowledged or pending() == 0, "all is acknowledged")

    return lambda: measured(options, prepare, act, cache)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--nats", default="nats-server")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--messages", type=int, default=100_000)
    arguments.add_argument("--only", default="", help="only lines with this text")
    options = arguments.parse_args()
    id_ = ["Nats-Msg-Id: %032x"]
    lines = {
        "publish: a bare stream, no headers": publishing(options, BARE, None, []),
        "publish: the stream as ours (age, discard, direct)": publishing(options, OURS, None, []),
        "publish: and a durable consumer that does not read": publishing(options, OURS, {}, []),
        "publish: and the headers of CloudEvents": publishing(options, OURS, {}, EVENT_HEADERS),
        "publish: and an id, as ours": publishing(options, OURS, {}, EVENT_HEADERS + id_),
        "publish: as ours, a window of 2 s for ids": publishing(options, OURS | {"duplicate_window": 2 * SECOND}, {}, EVENT_HEADERS + id_),
        "publish: as ours, 400 reply subjects in turn": publishing(options, OURS, {}, EVENT_HEADERS + id_, 400),
        "publish: as ours, and the server's cache of subjects": publishing(options, OURS, {}, EVENT_HEADERS + id_, cache="on"),
        "publish: 400 reply subjects, and the cache": publishing(options, OURS, {}, EVENT_HEADERS + id_, 400, "on"),
        "publish: an id alone": publishing(options, OURS, {}, id_),
        "read: as ours": reading(options, {}, 1),
        "read: as ours, and the server's cache of subjects": reading(options, {}, 1, cache="on"),
        "read: without headers": reading(options, {}, 1, headers=[]),
        "read: pulls of 64": reading(options, {}, 1, 64),
        "read: pulls of 2,000": reading(options, {}, 1, 2000),
        "read: one acknowledgement for 64 (AckAll)": reading(options, {"ack_policy": "all"}, 64),
        "read: no acknowledgements": reading(options, {"ack_policy": "none", "ack_wait": 0, "max_ack_pending": 0}, 0),
    }
    lines = {name: measure for name, measure in lines.items() if options.only in name}
    print(subprocess.run([options.nats, "--version"], capture_output=True, text=True, check=True).stdout.strip())
    figures = {name: [] for name in lines}
    for _ in range(options.rounds):
        for name, measure in lines.items():
            figures[name].append(measure())
    print("| | CPU time of nats-server a message, µs |\n|---|---|")
    for name, values in figures.items():
        print(f"| {name} | **{statistics.median(values):.2f}** ({min(values):.2f} to {max(values):.2f}) |")


if __name__ == "__main__":
    main()
