#!/usr/bin/env python3
"""A full disk under NATS: a small tmpfs in a user namespace of its own, with the gateway's own programs around it.

    run.py PROGRAMS NATS-SERVER one|three     called by ci/full_disk.sh, inside the namespace

Webhooks are posted until ingress answers 503. Then the steps of the runbook are done, one after another, and every webhook that was
answered 200 must come to a reader of EVENTS. Where the server has forgotten how far WEBHOOKS had come, ingress must
answer 503 and doctor must say why, until `imchannel streams repair`. Only the standard library is used.
"""

import http.client
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench/measure"))
import evidence  # noqa: E402
import lab  # noqa: E402
from sends import Bare, Reader, Sends  # noqa: E402

EVIDENCE = ROOT / "target/check/full_disk/evidence"
MIB = 1024 * 1024
DISK = 24 * MIB
BALLAST = 5 * MIB
# More than the disk holds: a disk that is larger than the streams' limits never fills up by them.
LIMITS = {"WEBHOOKS": 40 * MIB, "EVENTS": 20 * MIB, "COMMANDS": 4 * MIB, "DEADLETTERS": 4 * MIB, "SENDS": 4 * MIB}
BODY = 6000
WRITERS = 4
# This number of 503 in a row means that the disk stays full.
REFUSED = 12
# Whose sequence may go back.
SEQUENCES = ("WEBHOOKS", "EVENTS", "COMMANDS", "KV_imchannel_sends")
# What is emptied on a full disk. The sender's own streams empty themselves.
EMPTIED = ("WEBHOOKS", "EVENTS")
CHANNEL = "measure-0"
SETUPS = 15
SERVED_LIMIT_S = 20
STOP_LIMIT_S = 5
# A copy of a durable was "not current" for longer than a minute, once (2.10.27).
HEALTHY_LIMIT_S = 60
# What a server took along when its place went to another comes again after 30 s: a webhook, and then its event.
READ_LIMIT_S = 70


class Disks(lab.Nats):
    """NATS servers, each on a small disk of its own."""

    def write_config(self, node):
        # What others must store while the disk of one is full has room.
        size = DISK if len(self.nodes) == 1 else 4 * DISK
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
    """An installation, and what was found of it."""

    def __init__(self, home, nats):
        self.home, self.nats, self.restarts = home, nats, 0
        for node in nats.nodes:
            (nats.disk(node) / "ballast").write_bytes(b"x" * BALLAST)
        sizes = {f"IMCHANNEL_{name}_MAX_SIZE": f"{limit}B" for name, limit in LIMITS.items()}
        account = lab.free_port()
        channels = home.channels(account, count=1)
        for _ in range(SETUPS):
            done = home.cli(nats, "setup", "--channels", channels, IMCHANNEL_REPLICAS=len(nats.nodes), **sizes)
            if done.returncode == 0:
                break
            # The leader of a new cluster needs a moment until it knows the other servers.
            time.sleep(1)
        assert done.returncode == 0, done.stdout + done.stderr
        port = lab.free_port()
        self.service = home.service("ingress", nats, IMCHANNEL_INGRESS_LISTEN=f"127.0.0.1:{port}")
        self.ingress, self.reader = Ingress(("127.0.0.1", port)), Reader(nats)
        self.sends = Sends(home, nats, channels, account)
        self.full = nats.nodes[0] if len(nats.nodes) == 1 else self.lead()

    def sequences(self):
        streams = self.nats.streams()
        return {name: streams[name]["state"]["last_seq"] for name in SEQUENCES}

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
        self.restarts += 1
        for node in self.nats.nodes:
            self.nats.restart(node)
        for node in self.nats.nodes:
            if not self.gets_healthy(node):
                print(f"{node['name']} is not healthy {HEALTHY_LIMIT_S} s after its restart, and is restarted again")
                self.keep_evidence(f"{node['name']} not healthy after restart {self.restarts}", set())
                self.nats.restart(node)
                # What a server says of itself is not checked here: the other two may serve without it.
                print(f"it is {'' if self.gets_healthy(node) else 'still not '}healthy then")

    def gets_healthy(self, node):
        try:
            return lab.until(lambda: self.nats.healthy(node), "", HEALTHY_LIMIT_S)
        except SystemExit:
            return False

    def until_read(self, why):
        """Until every webhook that was answered 200 has come to the reader."""
        missing = lambda: self.ingress.stored - self.reader.seen
        try:
            lab.until(lambda: not missing(), "", READ_LIMIT_S)
        except SystemExit:
            self.keep_evidence(why, missing())
            raise SystemExit(f"{why}: {len(missing())} of {len(self.ingress.stored)} webhooks answered 200 are no events") from None

    def until_sent(self, why):
        """Until every command has exactly one result and its message has gone out exactly once."""
        try:
            lab.until(lambda: not self.sends.faults(self.reader.results), "", READ_LIMIT_S)
        except SystemExit:
            faults = self.sends.faults(self.reader.results)
            self.keep_evidence(why, set())
            print(*faults[:20], sep="\n")
            raise SystemExit(f"{why}: {len(faults)} of {len(self.sends.stored)} commands without one result and one message") from None

    def said_of_sends(self):
        unknown = self.sends.unknown(self.reader.results)
        return f"{len(self.sends.stored)} commands, each with one result, no message twice, {unknown} with outcome UNKNOWN"

    def keep_evidence(self, why, missing):
        """All that can be seen, before anything is changed."""
        version = subprocess.run([self.nats.program, "--version"], capture_output=True, text=True).stdout.split()[-1]
        place = EVIDENCE / f"{version}-{len(self.nats.nodes)}-{os.getpid()}" / why.replace(" ", "-")
        evidence.keep(self.nats, place, missing)
        shutil.copytree(self.home.folder, place / "programs", ignore=lambda folder, names: [name for name in names if not name.endswith(".log")])
        print(f"{why}: {place}/summary.txt says what every server holds")

    def lead(self):
        """The server whose disk is filled. It leads WEBHOOKS and the servers: such a one goes on longest on a full disk."""
        while True:
            leader, first = lab.until(self.leaders, "WEBHOOKS and the servers have a leader")
            if leader == first:
                return next(node for node in self.nats.nodes if node["name"] == leader)
            Bare(self.nats).ask("$JS.API.STREAM.LEADER.STEPDOWN.WEBHOOKS")
            lab.until(lambda: self.leaders()[0] != leader, "WEBHOOKS has another leader")

    def leaders(self):
        """The servers that lead WEBHOOKS and all servers."""
        jsz = lab.get(f"http://127.0.0.1:{self.nats.nodes[0]['monitor']}/jsz")
        return self.nats.streams()["WEBHOOKS"]["cluster"]["leader"], jsz["meta_cluster"]["leader"]

    def until_served(self):
        """Until the other servers store webhooks. A full 2.9 may go on as the leader, and is killed then as the runbook says."""
        try:
            lab.until(lambda: self.ingress.one() == 200, "", SERVED_LIMIT_S)
        except SystemExit:
            print(f"nothing is stored until the full server is killed ({SERVED_LIMIT_S} s were waited)")
            self.nats.kill(self.full)

    def until_stored(self, count=1):
        for _ in range(count):
            lab.until(lambda: self.ingress.one() == 200, "a webhook is answered 200")

    def empty(self, stream):
        """Purges a stream while the disk is full."""
        self.nats.fill(self.full)
        purged = lab.until(lambda: Bare(self.nats).ask(f"$JS.API.STREAM.PURGE.{stream}"), f"{stream} is purged")
        return purged.get("success", False)

    def ready(self, service):
        """What a service says of its readiness."""
        try:
            lab.get(f"http://127.0.0.1:{service.admin}/ready")
        except lab.urllib.error.HTTPError as error:
            return error.read().decode()
        except ValueError:
            pass
        return "ready"

    def finding(self):
        """Doctor's line about the sequences."""
        lines = self.home.cli(self.nats, "doctor", "--watch-for", "1s").stdout.splitlines()
        return next(line for line in lines if "streams.sequences" in line)

    def refuse_until_repaired(self, gone):
        """The services refuse what has gone back, say so, and take it after the repair."""
        if "WEBHOOKS" in gone:
            lab.until(lambda: "WEBHOOKS had reached sequence" in self.ready(self.service), "/ready says that WEBHOOKS has gone back")
            for _ in range(3):
                status = self.ingress.one()
                assert status == 503, f"a webhook below its durable's place was answered {status}"
        is_found = lambda finding: "error" in finding and all(stream in finding for stream in gone)
        lab.until(lambda: is_found(self.finding()), f"doctor finds that {', '.join(gone)} have gone back")
        # Every command has its result, so no message can go out a second time.
        done = self.home.cli(self.nats, "streams", "repair", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        for stream in gone:
            assert f"repaired {stream}" in done.stdout, done.stdout
        for service in (self.service, self.sends.sender):
            lab.until(lambda: self.ready(service) == "ready", "ingress and sender are ready again")


def run(home, nats):
    check = Check(home, nats)
    check.sends.go_on()
    if len(nats.nodes) == 1:
        check.ingress.until_full()
        print(f"disk full after {len(check.ingress.stored)} webhooks")
    else:
        nats.fill(check.full)
        check.until_served()
        check.until_stored(500)
        print(f"one full disk of three: {len(check.ingress.stored)} webhooks are stored by the others")
    assert check.ingress.stored, "nothing was stored"
    check.make_room()
    if check.goes_on():
        print("with room it goes on by itself")
    else:
        check.restart()
        print("with room it goes on after a restart")
    check.sends.pause()
    home.service("normalizer", nats)
    check.until_read("after the full disk")
    check.until_sent("after the full disk")
    print(f"{check.said_of_sends()} meanwhile")
    before = check.sequences()
    purged = [stream for stream in EMPTIED if check.empty(stream)]
    check.make_room()
    check.restart()
    after = lab.until(check.sequences, "every stream has a leader")
    gone = [stream for stream in before if after[stream] < before[stream]]
    states = ", ".join(f"{name} {before[name]} to {after[name]}{' (purge refused)' if name in EMPTIED and name not in purged else ''}" for name in before)
    print(f"emptied on a full disk and restarted: {states}")
    if gone:
        check.refuse_until_repaired(gone)
    check.sends.go_on()
    check.until_stored(50)
    check.sends.pause()
    lab.until(lambda: check.finding().startswith("ok"), "doctor finds every sequence in order")
    check.until_read("in the end")
    check.until_sent("in the end")
    check.reader.ended = True
    print(f"{'repaired: ' + ', '.join(gone) + '; ' if gone else ''}{len(check.ingress.stored)} webhooks answered 200, all of them events; "
          f"{check.said_of_sends()}")


def main():
    programs, server, form = sys.argv[1:]
    with lab.Lab(programs) as home:
        # The namespace takes the mounts with it.
        nats = Disks(home, server, 3 if form == "three" else 1)
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
