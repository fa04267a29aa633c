#!/usr/bin/env python3
"""Bytes of a webhook, an event, a command, a ledger entry and a dead letter in JetStream, and of a file in Redis.

    bench/measure/sizes.py [--programs target/release] [--nats nats-server]

Known numbers of each go through real programs; the streams count messages and bytes. The figures of
docs/operations.md come from this script, those of the ledger's memory from ledger_memory.py. It takes a minute.
"""

import argparse
import http.client
import json
import subprocess

import lab


def post(gateway, path, bodies):
    connection = http.client.HTTPConnection("127.0.0.1", gateway)
    for body in bodies:
        connection.request("POST", path, body, {"AccountKey": "p", "Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path} was answered {answer.status}")


def infobip(number, padding=0):
    status = {"groupName": "DELIVERED", "groupId": 3, "id": 5, "name": "DELIVERED_TO_HANDSET", "description": "x" * padding}
    result = {"messageId": f"size-{padding}-{number}", "bulkId": "111111", "to": "8618257518838", "status": status}
    return json.dumps({"results": [result]}).encode()


class Sizes:
    def __init__(self, lab_, nats, gateway):
        self.lab, self.nats, self.gateway = lab_, nats, gateway

    def row(self, what, stream, before, note=""):
        messages, size = (new - old for new, old in zip(self.nats.count(stream), before))
        if messages:
            print(f"{what:58} {stream:20} {messages:7} {size / messages:8.0f} {note}", flush=True)

    def settled(self):
        lab.until(lambda: self.nats.waiting("WEBHOOKS", "normalizer") == 0, "the normalizer is done", 120)

    def webhooks(self):
        for padding in (0, 1000, 10000):
            before = self.nats.count("WEBHOOKS")
            bodies = [infobip(number, padding) for number in range(500)]
            post(self.gateway, "/social/on/whatsapp/infobip/report/measure-0", bodies)
            self.row(f"webhook with a body of {len(bodies[-1])} bytes", "WEBHOOKS", before)
        self.settled()

    def simulated(self, channels):
        for bsp in ("infobip", "koomessage", "gupshup", "twilio"):
            for what, inbound in (("reports", 0), ("customers' messages", 100)):
                before = {stream: self.nats.count(stream) for stream in ("WEBHOOKS", "EVENTS", "DEADLETTERS")}
                done = self.lab.cli(
                    self.nats, "simulate", "webhooks", "--channels", channels, "--gateway", f"http://127.0.0.1:{self.gateway}", "--bsp", bsp,
                    "--inbound-pct", inbound, "--notices-pct", 0, "--count", 1000, "--rate", 500, "--malformed-pct", 0, "--duplicate-pct", 0, "--unknown-pct", 0,
                    "--settle", "20s",
                )  # fmt: skip
                self.settled()
                clean = "" if done.returncode == 0 else "(the ledger was not clean)"
                self.row(f"{bsp}: webhooks of {what}", "WEBHOOKS", before["WEBHOOKS"])
                self.row(f"{bsp}: events of {what}", "EVENTS", before["EVENTS"], clean)

    def dead_letters(self):
        before = self.nats.count("DEADLETTERS")
        bodies = [json.dumps({"results": [{"to": "8618257518838", "bulkId": f"{n}"}]}).encode() for n in range(500)]
        post(self.gateway, "/social/on/whatsapp/infobip/report/measure-0", bodies)
        self.settled()
        self.row("dead letter of an item of 41 bytes", "DEADLETTERS", before)

    def sends(self):
        """Without ingress, so that all events are results."""
        for what, size in (("100", 100), ("1,000", 1000)):
            before = {stream: self.nats.count(stream) for stream in ("COMMANDS", "EVENTS", "KV_imchannel_sends")}
            count, channels = 2000, 20
            names = (f"measure-{number % channels}" for number in range(count))
            lab.publish(
                self.nats,
                (
                    (
                        f"imchannel.command.send.{name}",
                        [("Nats-Msg-Id", f"{name}.size{size}-{number}")],
                        lab.text_command(name, number, f"size{size}", size),
                    )
                    for number, name in enumerate(names)
                ),
            )
            lab.until(
                lambda: self.nats.count("EVENTS")[0] - before["EVENTS"][0] >= count and self.nats.waiting("COMMANDS") == 0,
                "every command is answered", 120,
            )  # fmt: skip
            self.row(f"command with a text of {what} characters (protobuf)", "COMMANDS", before["COMMANDS"])
            self.row("its entry in the ledger, when it is decided", "KV_imchannel_sends", before["KV_imchannel_sends"])
            self.row("its result", "EVENTS", before["EVENTS"])


def files(lab_, nats):
    """Redis's own count, before and after."""
    redis_port, listen = lab.free_port(), lab.free_port()
    (lab_.folder / "redis").mkdir()
    args = ["redis-server", "--port", str(redis_port), "--bind", "127.0.0.1", "--dir", str(lab_.folder / "redis"), "--save", ""]
    lab_.started.append(subprocess.Popen(args, stdout=subprocess.DEVNULL))

    def used():
        done = subprocess.run(["redis-cli", "-p", str(redis_port), "INFO", "memory"], capture_output=True, text=True)
        found = [line.split(":")[1] for line in done.stdout.splitlines() if line.startswith("used_memory:")]
        return int(found[0]) if found else None

    lab.until(used, "Redis is there")
    token, url = "measure-measure-measure", f"redis://127.0.0.1:{redis_port}"
    lab_.service(
        "media", nats, IMCHANNEL_REDIS_URL=url, IMCHANNEL_MEDIA_LISTEN=f"127.0.0.1:{listen}", IMCHANNEL_MEDIA_UPLOAD_TOKEN=token,
        IMCHANNEL_MEDIA_PUBLIC_URL=f"http://127.0.0.1:{listen}",
    )  # fmt: skip
    connection = http.client.HTTPConnection("127.0.0.1", listen)
    for size, count in ((10_000, 300), (100_000, 300), (1_000_000, 100), (10_000_000, 20)):
        before = used()
        for _ in range(count):
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "text/plain"}
            connection.request("POST", "/measure/imchannel/media?channel=measure-0&kind=document", b"x" * size, headers)
            answer = connection.getresponse()
            if answer.status != 201:
                raise SystemExit(f"an upload was answered {answer.status}: {answer.read()}")
            answer.read()
        print(f"{f'file of {size:,} bytes':58} {'Redis':20} {count:7} {(used() - before) / count:8.0f}", flush=True)
    return url


def ids(lab_, program):
    """The server's memory for ids in the duplicate window: the same messages with and without ids."""
    count, rounds, grown = 1_000_000, 3, {"without an id": [], "with an id of 32 characters": []}
    for _ in range(rounds):
        for what, sizes in grown.items():
            nats = lab.Nats(lab_, program)
            lab_.set_up(nats, lab_.channels(lab.free_port()))
            name = "Other" if what.startswith("without") else "Nats-Msg-Id"
            begin = nats.memory(nats.nodes[0])
            subjects = [f"imchannel.event.report.infobip.measure-{number}" for number in range(20)]
            lab.publish(nats, ((subjects[n % 20], [(name, f"{n:032x}")], b"x" * 200) for n in range(count)))
            lab.until(lambda: nats.count("EVENTS")[0] == count, "all are stored", 120)
            sizes.append((nats.memory(nats.nodes[0]) - begin) / 2**20)
            nats.stop()
    for what, sizes in grown.items():
        print(f"memory of nats-server, {count:,} messages {what}, MiB: {lab.spread(sizes)}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", default="target/release")
    parser.add_argument("--nats", default="nats-server")
    options = parser.parse_args()
    print(f"{'what':58} {'where':20} {'number':>7} {'bytes each':>8}")
    with lab.Lab(options.programs) as lab_:
        nats = lab.Nats(lab_, options.nats)
        gateway, account = lab.free_port(), lab.free_port()
        channels = lab_.channels(account)
        lab_.set_up(nats, channels)
        ingress = lab_.service("ingress", nats, IMCHANNEL_INGRESS_LISTEN=f"127.0.0.1:{gateway}")
        lab_.service("normalizer", nats)
        sizes = Sizes(lab_, nats, gateway)
        sizes.webhooks()
        sizes.simulated(channels)
        sizes.dead_letters()
        redis = files(lab_, nats)
        lab_.stop(ingress)
        account_args = ["simulate", "infobip", "--channels", channels, "--listen", f"127.0.0.1:{account}", "--latency", "5ms"]
        lab_.program("imchannel", nats, [*account_args, "--gateway", f"http://127.0.0.1:{gateway}", "--api-key", lab.API_KEY])
        done = lab_.cli(nats, "setup", IMCHANNEL_REDIS_URL=redis)
        if done.returncode:
            raise SystemExit(f"setup: {done.stdout}{done.stderr}")
        lab_.service("sender", nats, IMCHANNEL_REDIS_URL=redis, IMCHANNEL_MEDIA_PUBLIC_URL="http://127.0.0.1:1")
        sizes.sends()
        nats.stop()
        ids(lab_, options.nats)


if __name__ == "__main__":
    main()
