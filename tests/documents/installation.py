"""Real installations for command blocks, each in a scratch folder that looks like the built repository:
`imchannel up`, and a locked-down one with the users of deploy/nats and deploy/redis.

Only `rewrites` replaces values of a document that this machine cannot have (a used port, a host that does not exist),
each with its reason.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
# For the start of a server or a service.
START_LIMIT_S = 60
CHANNEL = "202105102694809992"
# The documents' example URL of a file.
FILE_URL = "https://media.example/tenantname/imchannel/media/document/0123456789abcdef0123456789abcdef"
PDF = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n"
JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffd9")
DEBIAN_SBIN = "/usr/sbin"


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Installation:
    """The common part: the folder, the processes, the rewriting."""

    # For one block.
    limit_s = 60

    def __init__(self, root, programs, folder, texts):
        self.root, self.programs, self.folder = pathlib.Path(root), pathlib.Path(programs), pathlib.Path(folder)
        # The blocks that will be run here.
        self.texts = texts
        self.processes = []
        names = "ingress media timeline admin nats redis monitor infobip sender_admin normalizer_admin media_admin timeline_admin".split()
        self.ports = dict(zip(names, free_ports(len(names))))
        self.environment = {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}:{DEBIAN_SBIN}",
            "HOME": str(self.folder),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
        }
        self.lay_out()

    def lay_out(self):
        for name in ("examples", "deploy", "docs", "proto"):
            self.bring(name)
        (self.folder / "target").mkdir()
        (self.folder / "target/release").symlink_to(self.programs)
        (self.folder / "bin").mkdir()
        for program in self.programs.glob("imchannel*"):
            if program.is_file() and "." not in program.name:
                (self.folder / "bin" / program.name).symlink_to(program)
        (self.folder / "bill.pdf").write_bytes(PDF)
        (self.folder / "cat.jpg").write_bytes(JPEG)

    def bring(self, name):
        (self.folder / name).symlink_to(self.root / name)

    def start(self, name, args, environment=()):
        """Starts a program; its output goes to a file in `logs`."""
        (self.folder / "logs").mkdir(exist_ok=True)
        log = open(self.folder / "logs" / f"{name}.log", "wb")
        process = subprocess.Popen(
            args, cwd=self.folder, env={**self.environment, **dict(environment)}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.processes.append((name, process))

    def log(self, name):
        return (self.folder / "logs" / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def wait(self, what, is_there):
        deadline = time.monotonic() + START_LIMIT_S
        while not is_there():
            for name, process in self.processes:
                if process.poll() is not None:
                    raise RuntimeError(f"{name} exited while waiting for {what}:\n{self.log(name)}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"timed out waiting for {what}; logs of {', '.join(name for name, _ in self.processes)}")
            time.sleep(0.05)

    def answers(self, url):
        try:
            return urllib.request.urlopen(url, timeout=2).status == 200
        except OSError:
            return False

    def imchannel(self, *args, environment=()):
        done = subprocess.run(
            [self.folder / "bin/imchannel", *args], cwd=self.folder, env={**self.environment, **dict(environment)}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"imchannel {' '.join(args)}: {done.stdout}{done.stderr}")
        return done.stdout

    def post(self, kind, body, password):
        url = f"http://127.0.0.1:{self.ports['ingress']}/social/on/whatsapp/infobip/{kind}/{CHANNEL}"
        headers = {"AccountKey": password, "Content-Type": "application/json"}
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        assert urllib.request.urlopen(request, timeout=10).status == 200

    def rewrites(self):
        """(text in a document, text that runs, reason)."""
        ports = self.ports
        taken = "the usual port may be taken on this machine"
        return [
            (f"127.0.0.1:{usual}", f"127.0.0.1:{ports[name]}", taken)
            for usual, name in ((8080, "ingress"), (8081, "media"), (8082, "timeline"), (9090, "admin"), (4222, "nats"), (6379, "redis"),
                                (8222, "monitor"), (8090, "infobip"))
        ] + [(
            "python3 -m venv venv && venv/bin/pip install -r examples/python/requirements.txt",
            f"ln -s '{self.root}/target/python' venv && cmp venv/installed.txt examples/python/requirements.txt",
            "./dev test has made this environment from the same list, and a package registry is not asked at every test",
        )]

    def rewritten(self, text):
        for printed, run, _ in self.rewrites():
            text = re.sub(re.escape(printed) + r"(?![0-9])", lambda _: run, text)
        return text

    def stop(self):
        for _, process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for _, process in reversed(self.processes):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Up(Installation):
    """`./dev up`: the gateway in one process, with simulated BSPs."""

    def begin(self):
        ports = self.ports
        self.start("up", [
            "bin/imchannel", "up", "--channels", "examples/channels.toml", "--simulate", "--simulate-rate", "20", "--quiet",
            "--ingress", f"127.0.0.1:{ports['ingress']}", "--media", f"127.0.0.1:{ports['media']}",
            "--admin", f"127.0.0.1:{ports['admin']}"])
        self.wait("the gateway", lambda: "ready:" in self.log("up"))
        # Its NATS server uses the usual port, or another one if that is used.
        url = (self.folder / ".imchannel/nats.url").read_text(encoding="utf-8").strip()
        ports["nats"] = int(url.rsplit(":", 1)[1])


class LockedDown(Installation):
    """Servers with the users of deploy/, and every service with its own user."""

    def begin(self):
        self.imchannel("secrets", "generate", "secrets")
        self.write_channels()
        self.start_nats()
        redis = shutil.which("redis-server", path=self.environment["PATH"])
        (self.folder / "redis").mkdir()
        self.start("redis", [
            redis, "deploy/redis/redis.conf", "--port", str(self.ports["redis"]), "--bind", "127.0.0.1",
            "--dir", str(self.folder / "redis"), "--aclfile", str(self.folder / "secrets/redis/users.acl")])
        self.wait("Redis", lambda: "Ready to accept connections" in self.log("redis"))
        self.environment["IMCHANNEL_INFOBIP_HOSTS"] = "127.0.0.1"
        nats = f"nats://127.0.0.1:{self.ports['nats']}"
        self.imchannel("--nats-url", nats, "--nats-nkeys-dir", "secrets/nats", "--credential-key-file", "secrets/credential.key",
                       "setup", "--channels", "channels.toml", environment=self.redis_of("provisioner"))
        self.start_services(nats)
        self.fill(nats)

    def write_channels(self):
        text = (self.root / "deploy/compose/channels.toml").read_text(encoding="utf-8")
        text = text.replace("https://infobip:8443", f"https://127.0.0.1:{self.ports['infobip']}")
        (self.folder / "channels.toml").write_text(text, encoding="utf-8")

    def start_nats(self):
        server = shutil.which("nats-server", path=self.environment["PATH"])
        version = subprocess.run([server, "--version"], capture_output=True, text=True, check=True).stdout
        folder = self.folder / "nats"
        folder.mkdir()
        shutil.copy(self.root / "deploy/nats/users.conf", folder)
        text = (self.root / "deploy/nats/nats.conf").read_text(encoding="utf-8")
        text = text.replace("store_dir: /data", f'store_dir: "{folder}/data"')
        text = text.replace("0.0.0.0:4222", f"127.0.0.1:{self.ports['nats']}")
        text = text.replace("0.0.0.0:8222", f"127.0.0.1:{self.ports['monitor']}")
        if " v2.9." in version:
            # nats-server of Debian 12 does not have it.
            text = text.replace("sync_interval: always", "")
        (folder / "nats.conf").write_text(text, encoding="utf-8")
        keys = (self.folder / "secrets/nats/users.env").read_text(encoding="utf-8")
        keys = dict(line.split("=", 1) for line in keys.split("\n") if "=" in line)
        self.start("nats", [server, "-c", str(folder / "nats.conf")], keys)
        self.wait("NATS", lambda: "Server is ready" in self.log("nats"))

    def redis_of(self, user):
        """The variables of a user of Redis, if there is one with that name."""
        password = f"secrets/redis/{user}.password"
        if not (self.folder / password).exists():
            return {}
        return {"IMCHANNEL_REDIS_URL": f"redis://{user}@127.0.0.1:{self.ports['redis']}", "IMCHANNEL_REDIS_PASSWORD_FILE": password}

    def start_services(self, nats):
        ports = self.ports
        self.start("infobip", [
            "bin/imchannel", "simulate", "infobip", "--channels", "channels.toml", "--listen", f"127.0.0.1:{ports['infobip']}",
            "--gateway", f"http://127.0.0.1:{ports['ingress']}", "--api-key-file", "secrets/channels/infobip_api_key",
            "--tls-certificate-file", "secrets/simulate/infobip.pem", "--tls-key-file", "secrets/simulate/infobip.key"])
        for service, admin in (("ingress", "admin"), ("normalizer", "normalizer_admin"), ("sender", "sender_admin"), ("media", "media_admin"),
                               ("timeline", "timeline_admin")):
            settings = {
                "IMCHANNEL_NATS_URL": nats,
                "IMCHANNEL_NATS_NKEY_FILE": f"secrets/nats/{service}.nk",
                "IMCHANNEL_SECRETS_DIR": "secrets/channels",
                "IMCHANNEL_ADMIN_LISTEN": f"127.0.0.1:{ports[admin]}",
                "IMCHANNEL_PUBLIC_ADDRESS": "127.0.0.1",
            }
            settings |= self.redis_of(service)
            if service in ("sender", "media"):
                settings["IMCHANNEL_MEDIA_PUBLIC_URL"] = f"http://127.0.0.1:{ports['media']}"
            if service == "ingress":
                settings["IMCHANNEL_CREDENTIAL_KEY_FILE"] = "secrets/credential.key"
            if service == "sender":
                settings["IMCHANNEL_INFOBIP_CA_FILE"] = "secrets/simulate/ca.pem"
            if service == "media":
                settings["IMCHANNEL_MEDIA_UPLOAD_TOKEN_FILE"] = "secrets/media.token"
            if service == "timeline":
                settings["IMCHANNEL_TIMELINE_DIR"] = "timeline"
                settings["IMCHANNEL_TIMELINE_ACCESS"] = "token"
                settings["IMCHANNEL_TIMELINE_TOKENS_FILE"] = "secrets/timeline.tokens"
                settings["IMCHANNEL_TIMELINE_ERASURE"] = "on"
                settings["IMCHANNEL_TIMELINE_ERASER_NKEY_FILE"] = "secrets/nats/eraser.nk"
                settings |= self.redis_of("eraser")
            if service in ("ingress", "media", "timeline"):
                settings[f"IMCHANNEL_{service.upper()}_LISTEN"] = f"127.0.0.1:{ports[service]}"
            self.start(service, [f"bin/imchannel-{service}"], settings)
        for admin in ("admin", "normalizer_admin", "sender_admin", "media_admin", "timeline_admin"):
            self.wait(f"/ready of {admin}", lambda: self.answers(f"http://127.0.0.1:{ports[admin]}/ready"))

    def fill(self, nats):
        """Data for the blocks: reports, a message, twelve dead letters, a message that was sent with its file."""
        password = "example-infobip-secret"
        for number in range(12):
            self.post("report", {"results": [{"bulkId": f"bulk {number}", "status": {"groupId": 3}}]}, password)
        report = {"messageId": "m-1", "to": "8618257518838", "status": {"groupName": "DELIVERED", "groupId": 3}}
        self.post("report", {"results": [report]}, password)
        message = {"from": "8618257518838", "to": "44123456789", "integrationType": "WHATSAPP", "messageId": "in-1",
                   "receivedAt": "2026-01-01T00:00:00.000+0000", "message": {"type": "TEXT", "text": "Hello"}}
        self.post("message", {"results": [message]}, password)
        as_operator = ("--nats-url", nats, "--nats-nkeys-dir", "secrets/nats")
        media = ("--media-url", f"http://127.0.0.1:{self.ports['media']}", "--media-upload-token-file", "secrets/media.token")
        stored = json.loads(self.imchannel(*as_operator, "--json", "media", "put", "bill.pdf", "--channel", CHANNEL, *media))
        self.file_url = stored["url"]
        self.imchannel(*as_operator, "send", "--channel", CHANNEL, "--to", "8618257518838", "--document", "bill.pdf", *media)
        letters = lambda: self.imchannel(*as_operator, "--json", "deadletter", "list").count("missing_id") >= 12
        self.wait("the dead letters", letters)

    def rewrites(self):
        no_host = "no such host exists"
        return super().rewrites() + [
            (FILE_URL, self.file_url, "the file of a message that was sent here"),
            ("https://gateway.example", f"http://127.0.0.1:{self.ports['ingress']}", no_host),
            ("https://media.example", f"http://127.0.0.1:{self.ports['media']}", no_host),
        ]
