#!/usr/bin/env python3
"""What a sender needs to read 24 hours of EVENTS when it becomes the owner of channels with `reconcile = true`.

    bench/measure/reconcile.py [--programs target/release] [--nats nats-server] [--events 1000000] [--channels 1 20]

EVENTS gets that number of events: of each message the result ACCEPTED and a report DELIVERED, in the order and with the sizes of real
ones. They are spread over the channels, and each number of channels is measured with a new server. A sender starts, becomes the owner
of all channels, and reads. One line for each number of channels:

- seconds from its first consumer until the server has sent the last event, and events a second;
- CPU seconds of the sender and of nats-server in that time;
- the sender's resident memory at most, and that of a sender of the same channels that had nothing to read.

Programs and server share the machine. No message is due, so that nothing is asked of a BSP.
"""

import argparse
import os
import re
import subprocess
import time

import lab

HOUR_S = 3600
# Time for which a sender without events is watched: it has its lanes, and its memory does not grow any more.
IDLE_S = 10


def varint(number):
    text = bytearray()
    while number > 0x7F:
        text.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(text) + bytes([number])


def text(tag, value):
    return varint(tag << 3 | 2) + varint(len(value)) + value


def number(tag, value):
    return varint(tag << 3) + varint(value)


def headers(kind, event_id, channel):
    return [
        ("Nats-Msg-Id", event_id),
        ("ce-specversion", "1.0"),
        ("ce-id", event_id),
        ("ce-source", f"/infobip/{channel}"),
        ("ce-type", f"imchannel.v1.{kind}"),
        ("ce-time", "2026-11-27T12:00:00.123456789Z"),
        ("ce-datacontenttype", "application/protobuf"),
    ]


def events(count, channels, at):
    """(subject, headers, payload): results and, ten messages later, their reports (result.proto, report.proto)."""
    time_of = number(1, at) + number(2, 123456789)
    behind = 10 * channels
    for place in range(count // 2 + behind):
        if place < count // 2:
            channel, message = f"measure-{place % channels}".encode(), f"{place:032x}".encode()
            result = text(1, message) + text(2, b"infobip") + text(3, channel) + text(4, b"c-" + message) + text(5, b"imc-" + message)
            result += number(6, 1) + text(7, text(2, b"PENDING") + text(4, b"PENDING_ENROUTE")) + number(9, 1) + text(10, time_of)
            result += number(13, place + 1) + text(14, b"c-" + message)
            yield f"imchannel.event.send.infobip.{channel.decode()}", headers("send", f"r{place}", channel.decode()), result
        of = place - behind
        if of >= 0:
            channel, message = f"measure-{of % channels}".encode(), f"{of:032x}".encode()
            report = text(1, message) + text(2, b"infobip") + text(3, channel) + text(4, b"imc-" + message) + text(6, b"4915112345678")
            report += text(7, b"447860099299") + number(8, 5) + number(9, 1) + text(10, text(2, b"DELIVERED") + text(6, b"DELIVERED_TO_HANDSET"))
            report += text(12, time_of) + text(13, time_of) + text(14, b"c-" + message) + text(16, number(1, of + 1)) + text(23, b"c-" + message)
            yield f"imchannel.event.report.infobip.{channel.decode()}", headers("report", f"d{of}", channel.decode()), report


def cpu_s(process):
    fields = open(f"/proc/{process.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(process):
    """Resident now and at most."""
    status = open(f"/proc/{process.pid}/status").read()
    return [int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) / 1024 for name in ("VmRSS", "VmHWM")]


def read_until(nats):
    """By subject, the sequence up to which the consumers of a sender were sent their events."""
    node = nats.nodes[0]
    answer = lab.get(f"http://127.0.0.1:{node['monitor']}/jsz?accounts=1&streams=1&consumers=1&config=1")
    reached = {}
    for account in answer.get("account_details") or []:
        for stream in account.get("stream_detail") or []:
            for consumer in stream.get("consumer_detail") or []:
                if consumer["name"].startswith("reconciler"):
                    subject = consumer["config"]["filter_subject"]
                    reached[subject] = max(reached.get(subject, 0), consumer["delivered"]["stream_seq"])
    return reached


def channels_file(lab_, count):
    file = lab_.channels(lab.free_port(), count=count)
    file.write_text(file.read_text().replace('bsp = "infobip"\n', 'bsp = "infobip"\nreconcile = true\n'))
    return file


def sender_of(lab_, nats):
    return lab_.service("sender", nats, IMCHANNEL_REDIS_URL="redis://127.0.0.1:1", IMCHANNEL_MEDIA_PUBLIC_URL="http://127.0.0.1:1")


def measure(lab_, options, channels):
    nats = lab.Nats(lab_, options.nats)
    lab_.set_up(nats, channels_file(lab_, channels))
    idle = sender_of(lab_, nats)
    lab.until(lambda: len(read_until(nats)) == 2 * channels, "the sender has its channels")
    time.sleep(IDLE_S)
    resting = memory_mib(idle)[1]
    lab_.stop(idle)

    last, sequence = {}, 0

    def counted():
        nonlocal sequence
        for subject, fields, payload in events(options.events, channels, int(time.time())):
            sequence += 1
            last[subject] = sequence
            yield subject, fields, payload

    lab.publish(nats, counted())
    stored = nats.count("EVENTS")
    lab.until(lambda: not read_until(nats), "the consumers of the first sender are gone")

    server = nats.nodes[0]["process"]
    sender = sender_of(lab_, nats)
    lab.until(lambda: read_until(nats), "the sender reads")
    began, of_sender, of_server = time.monotonic(), cpu_s(sender), cpu_s(server)
    is_read = lambda: (reached := read_until(nats)) and all(reached.get(subject, 0) >= end for subject, end in last.items())
    lab.until(is_read, "everything is read", limit_s=HOUR_S)
    took = time.monotonic() - began
    print(
        f"{channels} channels, {stored[0]:,} events of {stored[1] / stored[0]:.0f} bytes: {took:.1f} s ({stored[0] / took:,.0f} events/s); CPU of the "
        f"sender {cpu_s(sender) - of_sender:.1f} s, of nats-server {cpu_s(server) - of_server:.1f} s; memory of the sender at most "
        f"{memory_mib(sender)[1]:.0f} MiB, with nothing to read {resting:.0f} MiB",
        flush=True,
    )
    lab_.stop(sender)
    nats.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", default="target/release")
    parser.add_argument("--nats", default="nats-server")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--channels", type=int, nargs="+", default=[1, 20])
    options = parser.parse_args()
    print(subprocess.run([options.nats, "--version"], capture_output=True, text=True).stdout.strip())
    with lab.Lab(options.programs) as lab_:
        for channels in options.channels:
            measure(lab_, options, channels)


if __name__ == "__main__":
    main()
