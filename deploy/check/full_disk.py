#!/usr/bin/env python3
"""A full disk under NATS: a small tmpfs in a user namespace of its own, with the gateway's own programs around it.

    full_disk.py PROGRAMS NATS-SERVER one|three     called by full-disk.sh, inside the namespace

Webhooks are posted until ingress answers 503. Then the steps of the runbook are done, one after another, and every webhook that was
answered 200 must come to a reader of EVENTS. Where the server has forgotten how far WEBHOOKS had come, ingress must
answer 503 and doctor must say why, until `imchannel streams repair`. Only the standard library is used.
"""

import base64
import http.client
import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy/measure"))
import lab  # noqa: E402

MIB = 1024 * 1024
DISK = 24 * MIB
BALLAST = 5 * MIB
# More than the disk holds: a disk that is larger than the streams' limits never fills up by them.
LIMITS = {"WEBHOOKS": 40 * MIB, "EVENTS": 20 * MIB, "COMMANDS": 4 * MIB, "DEADLETTERS": 4 * MIB, "SENDS": 4 * MIB}
BODY = 6000
WRITERS = 4
# So many answers of 503 in a row are a disk that stays full.
REFUSED = 12
CHANNEL = "measure-0"
STOP_LIMIT_S = 5
# What a server took along when its place went to another comes again after 30 s: a webhook, and then its event.
READ_LIMIT_S = 70


class Disks(lab.Nats):
    """NATS servers, each on a small disk of its own."""

    def __init__(self, home, program, sizes):
        self.sizes = sizes
        super().__init__(home, program, len(sizes))

    def write_config(self, node):
        size = self.sizes[self.nodes.index(node)]
        disk = self.folder / node["name"]
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=True)
        super().write_config(node)
        config = self.folder / f"{node['name']}.conf"
        # The limits must fit what the server is told that it has.
        config.write_text(config.read_text().replace("max_file_store: 20GB", "max_file_store: 200MB"))

    def disk(self, node):
        return self.folder / node["name"]

    def fill(self, node):
        """Takes what is left of the disk, as something else on it would."""
        try:
            with open(self.disk(node) / "ballast", "ab", buffering=0) as file:
                while file.write(b"x" * 65536):
                    pass
        except OSError:
            return

    def restart(self, node):
        """As systemd does it: what does not stop when it is asked to is killed."""
        process = node["process"]
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            print(f"{node['name']} did not stop within {STOP_LIMIT_S} s and was killed")
            process.kill()
            process.wait()
        self.start(node)

    def stop(self):
        for node in self.nodes:
            if node["process"].poll() is None:
                self.kill(node)
            subprocess.run(["umount", "-l", self.disk(node)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def free(path):
    return shutil.disk_usage(path).free


class Bare:
    """A connection to NATS by its bare protocol."""

    def __init__(self, nats):
        self.socket = None
        for node in nats.nodes:
            try:
                self.socket = socket.create_connection(("127.0.0.1", node["client"]), timeout=3)
                break
            except OSError:
                continue
        if self.socket is None:
            raise OSError("no server takes connections")
        self.lines = self.socket.makefile("rb")
        self.lines.readline()
        self.socket.sendall(b'CONNECT {"verbose":false,"headers":true}\r\nSUB _INBOX.check 1\r\n')

    def send(self, subject, payload=b"", reply="_INBOX.check"):
        self.socket.sendall(f"PUB {subject} {reply} {len(payload)}\r\n".encode() + payload + b"\r\n")

    def receive(self):
        """(reply subject, headers and payload) of the next message."""
        while line := self.lines.readline():
            parts = line.split()
            if parts[0] in (b"MSG", b"HMSG"):
                places = 2 if parts[0] == b"HMSG" else 1
                reply = parts[3] if len(parts) == 4 + places else b""
                return reply.decode(), self.lines.read(int(parts[-1]) + 2)
            if parts[0] == b"PING":
                self.socket.sendall(b"PONG\r\n")
        raise OSError("the connection is gone")

    def ask(self, subject, payload=b""):
        self.send(subject, payload)
        answer = self.receive()[1]
        # With headers it is no answer: nothing takes the subject now.
        return {} if answer.startswith(b"NATS/1.0") else json.loads(answer)


class Reader(threading.Thread):
    """The back end: reads EVENTS by its durable and acknowledges."""

    def __init__(self, nats):
        super().__init__(daemon=True)
        self.nats, self.seen, self.ended = nats, set(), False
        self.start()

    def run(self):
        while not self.ended:
            try:
                self.read(Bare(self.nats))
            except (OSError, ValueError):
                time.sleep(0.2)

    def read(self, connection):
        while not self.ended:
            wanted = json.dumps({"batch": 500, "expires": 1_000_000_000}).encode()
            connection.send("$JS.API.CONSUMER.MSG.NEXT.EVENTS.aicc", wanted)
            while True:
                reply, body = connection.receive()
                if not reply:
                    break
                self.seen.update(found.decode() for found in re.findall(rb"full-\d+-end", body))
                connection.send(reply, b"+ACK", "_INBOX.other")


class Ingress:
    """Posts webhooks to an ingress, each once, and knows which were answered 200."""

    def __init__(self, address):
        self.address, self.stored, self.sent, self.lock = address, set(), 0, threading.Lock()

    def post(self, connection, name):
        report = {"messageId": name, "to": "49151", "status": {"groupName": "DELIVERED"}}
        headers = {"AccountKey": "p", "Content-Type": "application/json"}
        # Blanks fill WEBHOOKS and no event.
        body = json.dumps({"results": [report]}) + " " * BODY
        connection.request("POST", f"/social/on/whatsapp/infobip/report/{CHANNEL}", body, headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            with self.lock:
                self.stored.add(name)
        return answer.status

    def one(self):
        """One webhook; gives its status."""
        with self.lock:
            self.sent += 1
            name = f"full-{self.sent}-end"
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        try:
            return self.post(connection, name)
        finally:
            connection.close()

    def until_full(self):
        """Posts until nothing more is stored."""

        def write():
            refused = 0
            while refused < REFUSED / WRITERS:
                refused = refused + 1 if self.one() == 503 else 0

        writers = [threading.Thread(target=write) for _ in range(WRITERS)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()


class Check:
    """An installation without a sender, and what was found of it."""

    def __init__(self, home, nats):
        self.home, self.nats = home, nats
        for node in nats.nodes:
            (nats.disk(node) / "ballast").write_bytes(b"x" * BALLAST)
        sizes = {f"IMCHANNEL_{name}_MAX_SIZE": f"{limit}B" for name, limit in LIMITS.items()}
        channels = home.channels(1, count=1)
        done = home.cli(nats, "setup", "--channels", channels, IMCHANNEL_REPLICAS=len(nats.nodes), **sizes)
        assert done.returncode == 0, done.stdout + done.stderr
        port = lab.free_port()
        self.service = home.service("ingress", nats, IMCHANNEL_INGRESS_LISTEN=f"127.0.0.1:{port}")
        self.ingress, self.reader = Ingress(("127.0.0.1", port)), Reader(nats)

    def sequences(self):
        streams = self.nats.streams()
        return {name: streams[name]["state"]["last_seq"] for name in ("WEBHOOKS", "EVENTS")}

    def make_room(self):
        for node in self.nats.nodes:
            (self.nats.disk(node) / "ballast").unlink(missing_ok=True)

    def goes_on(self):
        """Whether everything works by itself, now that there is room."""
        try:
            lab.until(lambda: all(self.nats.healthy(node) for node in self.nats.nodes), "", 5)
            lab.until(lambda: self.ingress.one() == 200, "", 5)
        except SystemExit:
            return False
        return True

    def restart(self):
        for node in self.nats.nodes:
            self.nats.restart(node)
        lab.until(lambda: all(self.nats.healthy(node) for node in self.nats.nodes), "the servers are healthy")

    def until_read(self, why):
        """Until every webhook that was answered 200 has come to the reader. Seen on three servers of 2.10.27: a few messages are not given out until
        the servers are started once more."""
        if self.all_are_read():
            return
        print(f"{why}: {self.missing()}; the servers are started again")
        self.restart()
        if not self.all_are_read():
            raise SystemExit(f"{why}: {self.missing()}")

    def all_are_read(self):
        try:
            return lab.until(lambda: self.ingress.stored <= self.reader.seen, "", READ_LIMIT_S)
        except SystemExit:
            return False

    def missing(self):
        missing = self.ingress.stored - self.reader.seen
        where = "; ".join(self.found(missing, stream) for stream in ("WEBHOOKS", "EVENTS"))
        return f"{len(missing)} of {len(self.ingress.stored)} webhooks answered 200 are no events; {where}"

    def found(self, missing, stream):
        """How many of them the stream holds, and what the server says of the stream and its readers."""
        connection, held = Bare(self.nats), set()
        state = lab.until(lambda: connection.ask(f"$JS.API.STREAM.INFO.{stream}").get("state"), f"{stream} answers")
        for sequence in range(state["first_seq"], state["last_seq"] + 1):
            message = connection.ask(f"$JS.API.STREAM.MSG.GET.{stream}", json.dumps({"seq": sequence}).encode()).get("message", {})
            held.update(re.findall(r"full-\d+-end", base64.b64decode(message.get("data", "")).decode(errors="replace")))
        readers = [
            f"{one['name']} has delivered {one['delivered']['stream_seq']}, acknowledged {one['ack_floor']['stream_seq']}, pending {one['num_ack_pending']}"
            for one in connection.ask(f"$JS.API.CONSUMER.LIST.{stream}", b"{}").get("consumers") or []]
        return (f"{stream} holds {len(missing & held)} of them, {state['messages']} messages from {state['first_seq']} to {state['last_seq']}; "
                f"{', '.join(readers) or 'the server says nothing of its readers'}")

    def until_stored(self, count=1):
        for _ in range(count):
            lab.until(lambda: self.ingress.one() == 200, "a webhook is answered 200")

    def empty(self, stream):
        """Purges a stream while the disk is full."""
        self.nats.fill(self.nats.nodes[0])
        purged = lab.until(lambda: Bare(self.nats).ask(f"$JS.API.STREAM.PURGE.{stream}"), f"{stream} is purged")
        return purged.get("success", False)

    def ready(self):
        try:
            lab.get(f"http://127.0.0.1:{self.service.admin}/ready")
        except lab.urllib.error.HTTPError as error:
            return error.read().decode()
        except ValueError:
            pass
        return "ready"

    def doctor(self):
        return self.home.cli(self.nats, "doctor", "--watch-for", "1s").stdout

    def refuse_until_repaired(self, gone):
        """The services refuse what has gone back, say so, and take it after the repair."""
        if "WEBHOOKS" in gone:
            lab.until(lambda: "WEBHOOKS had reached sequence" in self.ready(), "/ready says that WEBHOOKS has gone back")
            for _ in range(3):
                status = self.ingress.one()
                assert status == 503, f"a webhook below its durable's place was answered {status}"
        finding = next(line for line in self.doctor().splitlines() if "streams.sequences" in line)
        for stream in gone:
            assert "error" in finding and stream in finding, f"doctor says of {stream}: {finding}"
        done = self.home.cli(self.nats, "streams", "repair")
        assert done.returncode == 0, done.stdout + done.stderr
        for stream in gone:
            assert f"repaired {stream}" in done.stdout, done.stdout
        lab.until(lambda: self.ready() == "ready", "ingress is ready again")


def run(home, nats):
    check = Check(home, nats)
    if len(nats.nodes) == 1:
        check.ingress.until_full()
        print(f"disk full after {len(check.ingress.stored)} webhooks")
    else:
        nats.fill(nats.nodes[0])
        check.until_stored(500)
        print(f"one full disk of three: {len(check.ingress.stored)} webhooks are stored by the others")
    assert check.ingress.stored, "nothing was stored"
    check.make_room()
    if check.goes_on():
        print("with room it goes on by itself")
    else:
        check.restart()
        print("with room it goes on after a restart")
    home.service("normalizer", nats)
    check.until_read("after the full disk")
    before = check.sequences()
    purged = [stream for stream in before if check.empty(stream)]
    check.make_room()
    check.restart()
    after = lab.until(check.sequences, "every stream has a leader")
    gone = [stream for stream in before if after[stream] < before[stream]]
    states = ", ".join(f"{name} {before[name]} to {after[name]}{'' if name in purged else ' (purge refused)'}" for name in before)
    print(f"emptied on a full disk and restarted: {states}")
    if gone:
        check.refuse_until_repaired(gone)
    check.until_stored(50)
    assert "streams.sequences" in check.doctor()
    finding = next(line for line in check.doctor().splitlines() if "streams.sequences" in line)
    assert finding.startswith("ok"), finding
    check.until_read("in the end")
    check.reader.ended = True
    print(f"{'repaired: ' + ', '.join(gone) + '; ' if gone else ''}{len(check.ingress.stored)} webhooks answered 200, all of them events")


def main():
    programs, server, form = sys.argv[1:]
    with lab.Lab(programs) as home:
        # The namespace takes the mounts with it.
        nats = Disks(home, server, [DISK, 4 * DISK, 4 * DISK] if form == "three" else [DISK])
        try:
            run(home, nats)
        except BaseException:
            for log in sorted(nats.folder.glob("*.log")):
                print(f"--- {log.name}", *log.read_text().splitlines()[-15:], sep="\n", file=sys.stderr)
            raise
        finally:
            nats.stop()


if __name__ == "__main__":
    main()
