"""Real servers and programs on loopback, for the measurements beside this file. Only the standard library is used.

Everything is in a temporary folder, listens on free ports of 127.0.0.1, and is killed at the end.
"""

import http.client
import itertools
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request

from ports import free_port


CREDENTIAL_KEY = "measure-measure-measure-measure-"
API_KEY = "measure-key"
JOIN_LIMIT_S = 5


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


def until(condition, what, limit_s=60):
    """Waits until the condition is true, and returns its result."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        try:
            found = condition()
        except (OSError, ValueError, KeyError, http.client.HTTPException):
            found = None
        if found:
            return found
        time.sleep(0.05)
    raise SystemExit(f"timed out after {limit_s} s waiting until {what}")


def spread(values, form="{:,.0f}"):
    """Least, median, most."""
    return " / ".join(form.format(value) for value in (min(values), statistics.median(values), max(values)))


def is_led_by(detail, name):
    """A stream without copies has no leader field: its server leads it."""
    return (detail.get("cluster") or {}).get("leader", name) == name


class Nats:
    """One nats-server, or a cluster of three."""

    def __init__(self, lab, program, nodes=1, sync=None, subject_cache="off"):
        self.lab, self.program, self.sync, self.subject_cache = lab, program, sync, subject_cache
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="nats-", dir=lab.folder))
        self.nodes = []
        for number in range(nodes):
            ports = {"client": free_port(), "monitor": free_port(), "route": free_port()}
            self.nodes.append({"name": f"n{number}", "process": None, **ports})
        for node in self.nodes:
            self.write_config(node)
            self.start(node)
        if nodes > 1:
            self.join()
        until(lambda: all(self.healthy(node) for node in self.nodes), "NATS is there")

    def join(self):
        """Until every server is a member of the new cluster. nats-server 2.10.27 leaves one out in about one of twenty new clusters: two stood
        for election at the same time, and the leader never counts the other. That one says that it is healthy, and no stream can have three
        replicas. Its restart helps."""
        for node in self.nodes:
            try:
                until(lambda node=node: self.is_member(node), "", JOIN_LIMIT_S)
            except SystemExit:
                print(f"{node['name']} was left out of the new cluster and is started again")
                self.kill(node)
                self.start(node)
                until(lambda node=node: self.is_member(node), f"{node['name']} is a member of the cluster")

    def is_member(self, node):
        """Whether the cluster's leader counts a server."""
        of = lambda other: get(f"http://127.0.0.1:{other['monitor']}/jsz")["meta_cluster"]
        name = of(node)["leader"]
        leader = next(other for other in self.nodes if other["name"] == name)
        return node is leader or any(replica["name"] == node["name"] for replica in of(leader).get("replicas", []))

    def write_config(self, node):
        sync = f"sync_interval: {self.sync}" if self.sync else ""
        routes = ", ".join(f"nats://127.0.0.1:{other['route']}" for other in self.nodes)
        cluster = f"cluster {{ name: lab, listen: 127.0.0.1:{node['route']}, routes: [{routes}] }}"
        (self.folder / f"{node['name']}.conf").write_text(
            f"server_name: {node['name']}\nlisten: 127.0.0.1:{node['client']}\nhttp: 127.0.0.1:{node['monitor']}\n"
            f"lame_duck_grace_period: 1s\nlame_duck_duration: 30s\njetstream {{ store_dir: {self.folder / node['name']}, max_file_store: 20GB, max_memory_store: 64MB, {sync} }}\n"
            f"max_payload: 1MB\ndisable_sublist_cache: {'true' if self.subject_cache == 'off' else 'false'}\n{cluster if len(self.nodes) > 1 else ''}\n"
        )

    def start(self, node, program=None):
        log = open(self.folder / f"{node['name']}.log", "a")
        args = [program or self.program, "-c", self.folder / f"{node['name']}.conf"]
        node["process"] = subprocess.Popen(args, stdout=log, stderr=log)
        self.lab.started.append(node["process"])

    def kill(self, node, how=signal.SIGKILL):
        node["process"].send_signal(how)
        node["process"].wait()

    def healthy(self, node):
        return get(f"http://127.0.0.1:{node['monitor']}/healthz")["status"] == "ok"

    @property
    def url(self):
        return ",".join(f"nats://127.0.0.1:{node['client']}" for node in self.nodes)

    def memory(self, node):
        return get(f"http://127.0.0.1:{node['monitor']}/varz")["mem"]

    def details(self):
        """Every stream as reported by every server: (server's name, stream)."""
        for node in self.nodes:
            if node["process"].poll() is not None:
                continue
            answer = get(f"http://127.0.0.1:{node['monitor']}/jsz?accounts=1&streams=1&consumers=1")
            for account in answer.get("account_details") or []:
                for stream in account.get("stream_detail") or []:
                    yield node["name"], stream

    def streams(self):
        """The streams as reported by their leaders."""
        return {stream["name"]: stream for name, stream in self.details() if is_led_by(stream, name)}

    def count(self, stream):
        """Messages and bytes."""
        state = self.streams()[stream]["state"]
        return state["messages"], state["bytes"]

    def waiting(self, stream, durable=None):
        """The backlog of a stream's durables, as reported by the leader of each."""
        waiting = 0
        for name, detail in self.details():
            for one in detail.get("consumer_detail") or []:
                if detail["name"] == stream and is_led_by(one, name) and durable in (None, one["name"]):
                    waiting += one["num_pending"] + one["num_ack_pending"]
        return waiting

    def stop(self):
        for node in self.nodes:
            if node["process"] and node["process"].poll() is None:
                self.kill(node)
        shutil.rmtree(self.folder, ignore_errors=True)


class Lab:
    """A folder, and the programs that were started in it. `programs` is the folder of imchannel's, if they are needed."""

    def __init__(self, programs=None):
        self.programs = pathlib.Path(programs).resolve() if programs else None
        if programs and not (self.programs / "imchannel-ingress").exists():
            raise SystemExit(f"{self.programs} has no imchannel-ingress: `cargo build --release`, or --programs FOLDER")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="imchannel-measure-"))
        self.started = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def environment(self, nats, **more):
        mine = {
            "PATH": os.environ["PATH"],
            "IMCHANNEL_NATS_URL": nats.url,
            "IMCHANNEL_CREDENTIAL_KEY": CREDENTIAL_KEY,
            "IMCHANNEL_LOG_LEVEL": "warn",
            "IMCHANNEL_INFOBIP_HOSTS": "127.0.0.1",
            "INFOBIP_API_KEY": API_KEY,
        }
        return mine | {name: str(value) for name, value in more.items()}

    def program(self, name, nats, args=(), **environment):
        log = open(self.folder / f"{name}-{len(self.started)}.log", "w")
        command = [self.programs / name, *map(str, args)]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment(nats, **environment))
        process.log = pathlib.Path(log.name)
        self.started.append(process)
        return process

    def service(self, name, nats, **environment):
        """Starts a service and waits until it is ready."""
        admin = free_port()
        environment["IMCHANNEL_ADMIN_LISTEN"] = f"127.0.0.1:{admin}"
        process = self.program(f"imchannel-{name}", nats, **environment)
        process.admin = admin
        until(lambda: get(f"http://127.0.0.1:{admin}/ready") is not None, f"{name} is ready")
        return process

    def stop(self, process, how=signal.SIGTERM):
        if process.poll() is None:
            process.send_signal(how)
        process.wait()

    def cli(self, nats, *args, **environment):
        command = [self.programs / "imchannel", *map(str, args)]
        done = subprocess.run(command, env=self.environment(nats, **environment), capture_output=True, text=True)
        done.args = args
        return done

    def set_up(self, nats, channels, replicas=1):
        for args in (["streams", "apply", "--replicas", replicas], ["channel", "apply", "-f", channels]):
            done = self.cli(nats, *args)
            if done.returncode:
                raise SystemExit(f"{args}: {done.stdout}{done.stderr}")

    def channels(self, account_port, count=20, per_second=1000):
        """A channels file: `count` sending channels of Infobip, and one of each other BSP."""
        text = ""
        for number in range(count):
            text += (
                f'[[channel]]\nid = "measure-{number}"\nbsp = "infobip"\ntenant = "measure"\nwebhook = [{{ password = "p" }}]\n'
                f'[channel.infobip]\nbase_url = "http://127.0.0.1:{account_port}"\napi_key = "env:INFOBIP_API_KEY"\n'
                f'scenario_key = "S-{number}"\nsends_per_second = {per_second}\n'
            )
        for bsp, login in (("koomessage", ""), ("gupshup", ""), ("twilio", 'user = "u", ')):
            text += f'[[channel]]\nid = "measure-{bsp}"\nbsp = "{bsp}"\ntenant = "measure"\nwebhook = [{{ {login}password = "p" }}]\n'
        file = self.folder / "channels.toml"
        file.write_text(text)
        return file


def text_command(channel, number, run, body_bytes):
    """A SendCommand with a text as protobuf (fields 1, 2, 3 and 20 of command.proto)."""

    def field(tag, value):
        head, length = bytes([tag << 3 & 0x7F | 2]) if tag < 16 else bytes([(tag << 3 | 2) & 0x7F | 0x80, tag >> 4]), len(value)
        return head + (bytes([length]) if length < 128 else bytes([length & 0x7F | 0x80, length >> 7])) + value

    text = field(1, b"x" * body_bytes)
    command = f"{run}-{number}".encode()
    return field(1, command) + field(2, channel.encode()) + field(3, f"4915{number:08}".encode()) + field(20, text)


def publish(nats, messages, window=1000):
    """Publishes (subject, headers, payload) with the plain protocol; `window` publishes are in flight at the same time."""
    node = next(node for node in nats.nodes if node["process"].poll() is None)
    with socket.create_connection(("127.0.0.1", node["client"])) as stream:
        lines = stream.makefile("rb")
        lines.readline()
        stream.sendall(b'CONNECT {"verbose":false,"headers":true}\r\nSUB _INBOX.measure 1\r\n')
        for batch in batches(messages, window):
            text = b""
            for subject, headers, payload in batch:
                head = b"NATS/1.0\r\n" + b"".join(f"{name}: {value}\r\n".encode() for name, value in headers) + b"\r\n"
                text += f"HPUB {subject} _INBOX.measure {len(head)} {len(head) + len(payload)}\r\n".encode() + head + payload + b"\r\n"
            waiting = len(batch)
            stream.sendall(text)
            while waiting:
                line = lines.readline()
                if line.startswith(b"MSG"):
                    answer = json.loads(lines.read(int(line.split()[-1]) + 2))
                    if "error" in answer:
                        raise SystemExit(f"a publish was answered {answer['error']}")
                    waiting -= 1
                elif line.startswith(b"PING"):
                    stream.sendall(b"PONG\r\n")


def batches(items, size):
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch
