#!/usr/bin/env python3
"""A disk that fills in the middle of an atomic batch, under one server that syncs every message.

    run.py NATS-SERVER     called by ci/full_batch.sh, inside a namespace in which it may mount

The server copies a batch to a file before it stores it, so a disk can fill twice: while the batch is copied, and while it is stored.
Both are tried, each with several amounts of free space, with messages of one size and with small ones behind large ones: a server that
goes on after a message that did not fit stores those, and acknowledges a batch with holes. Only the standard library is used.
"""

import base64
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench/measure"))
sys.path.insert(0, str(ROOT / "ci/full_disk"))
import lab  # noqa: E402
from sends import Bare  # noqa: E402

KIB = 1024
# The first version that syncs a batch once. The code has the same, as ONE_SYNC_A_BATCH.
FIRST = (2, 15, 0)
DISK = 16 * 1024 * KIB
MEMBERS = 100
LARGE, SMALL = 8000, 30
# From here on members are small, in the batches that end with small ones.
SMALL_FROM = 91
# A batch needs 800 KB for its copy, and as much again.
FREE = [free * KIB for free in (400, 700, 900, 1100, 1300, 1500, 3000)]
# A server that answers at all does so within milliseconds.
ANSWER_S = 2
CREATED = {"name": "S", "subjects": ["s"], "storage": "file", "num_replicas": 1, "allow_atomic": True}


class Disk(lab.Nats):
    """A server that syncs every message, on a small disk."""

    def __init__(self, started, program):
        super().__init__(started, program, sync="always")

    @property
    def path(self):
        return self.folder / self.nodes[0]["name"]

    def write_config(self, node):
        self.path_of(node).mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", self.path_of(node)], check=True)
        super().write_config(node)
        config = self.folder / f"{node['name']}.conf"
        config.write_text(config.read_text().replace("max_file_store: 20GB", "max_file_store: 200MB"))

    def path_of(self, node):
        return self.folder / node["name"]

    def leave(self, free):
        """Fills the disk up to this number of free bytes."""
        found = os.statvfs(self.path)
        (self.path / "ballast").write_bytes(b"x" * (found.f_bavail * found.f_frsize - free))

    def make_room(self):
        """After which a server may need to be started again."""
        (self.path / "ballast").unlink()
        self.kill(self.nodes[0])
        self.start(self.nodes[0])
        lab.until(lambda: self.healthy(self.nodes[0]), "the server is healthy with room", 20)

    def stop(self):
        if self.nodes[0]["process"].poll() is None:
            self.kill(self.nodes[0])
        subprocess.run(["umount", "-l", self.path], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


class Case:
    """One batch on a disk with some free space."""

    def __init__(self, nats, free, ends_small):
        self.nats, self.free, self.ends_small = nats, free, ends_small

    def __str__(self):
        return f"{self.free // KIB} KB free, {'small messages last' if self.ends_small else 'messages of one size'}"

    def payload(self, number):
        size = SMALL if self.ends_small and number >= SMALL_FROM else LARGE
        return f"{number} ".encode().ljust(size, b"x")

    def batch(self, name):
        """Publishes a batch. Returns the answer, `None` without one."""
        bare = Bare(self.nats)
        bare.socket.settimeout(ANSWER_S)
        for number in range(1, MEMBERS + 1):
            headers = {"Nats-Msg-Id": f"{name}-{number}", "Nats-Batch-Id": name, "Nats-Batch-Sequence": number}
            if number == MEMBERS:
                headers["Nats-Batch-Commit"] = 1
            bare.send("s", self.payload(number), "_INBOX.check" if number == MEMBERS else "_INBOX.other", headers)
        try:
            return json.loads(bare.receive()[2])
        except TimeoutError:
            return None
        finally:
            bare.close()

    def alone(self, name, number):
        """Publishes a member of a batch alone. Returns its sequence."""
        bare = Bare(self.nats)
        try:
            answer = bare.ask("s", self.payload(number), {"Nats-Msg-Id": f"{name}-{number}"})
            assert answer.get("seq", 0) > 0 and "error" not in answer, f"{self}: member {number} alone was answered {answer}"
            return answer["seq"]
        finally:
            bare.close()

    def stored(self, name):
        """The sequences of a batch's members in the stream, by member."""
        bare, found = Bare(self.nats), {}
        last = bare.ask("$JS.API.STREAM.INFO.S")["state"]["last_seq"]
        for sequence in range(1, last + 1):
            message = bare.ask("$JS.API.STREAM.MSG.GET.S", json.dumps({"seq": sequence}).encode()).get("message", {})
            headers = base64.b64decode(message.get("hdrs", "")).decode()
            if member := re.search(rf"Nats-Msg-Id: {name}-(\d+)\r", headers):
                found.setdefault(int(member[1]), []).append(sequence)
        bare.close()
        return found

    def run(self):
        """Returns what the outcome of the batch was."""
        created = Bare(self.nats).ask("$JS.API.STREAM.CREATE.S", json.dumps(CREATED).encode())
        assert created.get("config", {}).get("allow_atomic"), f"the stream takes no batches: {created}"
        self.nats.leave(self.free)
        answer = self.batch("first")
        # The answer names the batch and its size, as the code requires. Anything else leaves it open what is stored.
        is_accepted = answer is not None and (answer.get("batch"), answer.get("count")) == ("first", MEMBERS)
        stored = self.stored("first")
        if is_accepted:
            expected = {number: [answer["seq"] - MEMBERS + number] for number in range(1, MEMBERS + 1)}
            assert stored == expected, f"{self}: acknowledged, but {len(stored)} of {MEMBERS} are stored: {sorted(stored)}"
        self.nats.make_room()
        again = {number: [self.alone("first", number)] for number in range(1, MEMBERS + 1)}
        assert self.stored("first") == again, f"{self}: stored again, alone: {again}, but the stream has {self.stored('first')}"
        later = self.batch("later")
        assert later and later.get("count") == MEMBERS, f"{self}: with room a batch was answered {later}"
        if is_accepted:
            return "acknowledged"
        if answer is None:
            return f"no answer, {len(stored)} stored"
        return f"error {answer.get('error', {}).get('err_code')}, {len(stored)} stored"


def syncs(nats):
    """Number of syncs to disk that a batch costs; `None` if that cannot be counted here."""
    if not shutil.which("strace"):
        return None
    Bare(nats).ask("$JS.API.STREAM.CREATE.S", json.dumps(CREATED).encode())
    trace = nats.folder / "trace"
    calls = "trace=fsync,fdatasync,sync_file_range,syncfs"
    args = ["strace", "-f", "-e", calls, "-o", trace, "-p", str(nats.nodes[0]["process"].pid)]
    with subprocess.Popen(args, stderr=subprocess.PIPE, text=True) as process:
        attached = process.stderr.readline()
        if "attached" not in attached:
            print(f"NOT CHECKED: syncs of a batch: {attached.strip()}")
            return None
        Case(nats, DISK, False).batch("first")
        process.terminate()
    return sum(1 for line in trace.read_text().splitlines() if "(" in line and "resumed" not in line)


def on_disk(program, run):
    with lab.Lab() as started:
        nats = Disk(started, program)
        try:
            return run(nats)
        finally:
            nats.stop()


def main(program):
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    version = tuple(int(part) for part in re.findall(r"\d+", text)[:3])
    is_pre_release = "-" in text
    count = on_disk(program, syncs)
    if count is not None:
        print(f"a batch of {MEMBERS} costs {count} syncs on one server with sync_interval: always")
        assert count < MEMBERS // 10 or version < FIRST or is_pre_release, "batches save no syncs"
    cases = [(free, ends_small) for free in FREE for ends_small in (False, True)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        run = lambda case: on_disk(program, lambda nats: Case(nats, *case).run())
        outcomes = list(pool.map(run, cases))
    for (free, ends_small), outcome in zip(cases, outcomes):
        print(f"{Case(None, free, ends_small)}: {outcome}")
    # Otherwise no disk filled in the middle.
    assert "acknowledged" in outcomes and any(re.search(r" [1-9]\d* stored", outcome) for outcome in outcomes), outcomes
    if version < FIRST or is_pre_release:
        print(f"imchannel stores no batches on it: {text} is earlier than {'.'.join(map(str, FIRST))}")


if __name__ == "__main__":
    main(sys.argv[1])
