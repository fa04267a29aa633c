"""A complete installation for drills, locked down as deployed: nats-server with deploy/nats/users.conf, redis-server with
deploy/redis, the services with separate users, and a Prometheus with deploy/prometheus/alerts.yml as it is.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "observability"))
from running import Prometheus  # noqa: E402
from ports import free_port  # noqa: E402
from parts import Process, is_open, status_of, until, watched  # noqa: E402
from runbook import ROOT, Wrong  # noqa: E402

SERVICES = ("ingress", "normalizer", "sender", "media", "timeline")
# Commands of the provisioner; all others are the operator's, as the runbook's introduction says.
OF_PROVISIONER = (["setup"], ["streams", "apply"], ["streams", "repair"], ["channel", "apply"], ["channel", "remove"])
COMMAND_LIMIT_S = 90


class Installation:
    """`channels`: the text of the channels file. `sizes`: options of `setup`. `clocks`: the offset of a service's clock to
    NATS's, for what has waited for hours. `pod`: the name of the pod of ingress in the metrics."""

    def __init__(self, programs, prometheus, folder, channels, sizes=(), clocks=None, pod=None):
        folder.mkdir()
        self.programs, self.folder, self.clocks, self.pod, self.parts = programs, folder, clocks or {}, pod, {}
        # Further settings of ingress.
        self.of_ingress = {}
        names = (*SERVICES, "nats", "monitor", "redis", "webhooks", "files", "console", "prometheus")
        self.ports = {name: free_port() for name in names}
        self.secrets = folder / "secrets"
        self.run_as(None, "secrets", "generate", str(self.secrets))
        (folder / "channels.toml").write_text(channels)
        self.start_nats()
        self.start_redis()
        self.must("setup", "--channels", "channels.toml", "--wait", "30s", *sizes)
        for service in SERVICES:
            self.start_service(service)
        self.start_prometheus(prometheus)

    # --- its parts

    def start(self, name, command, **environment):
        self.parts[name] = Process(command, self.folder / f"{name}.log", environment)
        return self.parts[name]

    def start_nats(self):
        config = (ROOT / "deploy/nats/nats.conf").read_text()
        version = subprocess.run(["nats-server", "--version"], capture_output=True, text=True, check=True).stdout
        if int(re.search(r"v2\.(\d+)", version).group(1)) < 10:  # it does not have the setting
            config = re.sub(r"^\s*sync_interval:.*\n", "", config, flags=re.MULTILINE)
        for old, new in (("listen: 0.0.0.0:4222", f"listen: 127.0.0.1:{self.ports['nats']}"), ("store_dir: /data", f"store_dir: {self.folder}/nats"),
                         ("http: 0.0.0.0:8222", f"http: 127.0.0.1:{self.ports['monitor']}")):
            if old not in config:
                raise Wrong(f"deploy/nats/nats.conf does not have {old!r}")
            config = config.replace(old, new)
        (self.folder / "nats.conf").write_text(config)
        (self.folder / "users.conf").write_text((ROOT / "deploy/nats/users.conf").read_text())
        users = dict(re.findall(r"^(\w+)=(\w+)$", (self.secrets / "nats/users.env").read_text(), re.MULTILINE))
        self.start("nats", ["nats-server", "-c", str(self.folder / "nats.conf")], **users)

    def restart_nats(self):
        """After it was stopped or killed. Waits until its streams answer, because the command line tries to connect only once."""
        self.parts["nats"].start()
        until("nats-server is healthy", lambda: status_of(f"http://127.0.0.1:{self.ports['monitor']}/healthz")[0] == 200)

    def start_redis(self):
        (self.folder / "redis").mkdir()
        self.start("redis", ["redis-server", str(ROOT / "deploy/redis/redis.conf"), "--aclfile", str(self.secrets / "redis/users.acl"),
                             "--bind", "127.0.0.1", "--port", str(self.ports["redis"]), "--dir", str(self.folder / "redis")])
        until("redis-server takes connections", lambda: is_open(self.ports["redis"]))

    def start_service(self, service):
        command = [f"{self.programs}/imchannel-{service}"]
        if service in self.clocks:
            command = ["faketime", "--exclude-monotonic", "-f", self.clocks[service], *command]
        listen = {"ingress": "webhooks", "media": "files", "timeline": "console"}.get(service)
        more = {f"IMCHANNEL_{service.upper()}_LISTEN": f"127.0.0.1:{self.ports[listen]}"} if listen else {}
        if service == "ingress":
            more |= {"IMCHANNEL_SPOOL_DIR": str(self.folder / "spool"), **self.of_ingress}
        if service == "timeline":
            more |= {"IMCHANNEL_TIMELINE_DIR": str(self.folder / "timeline"), "IMCHANNEL_TIMELINE_ACCESS": "token",
                     "IMCHANNEL_TIMELINE_TOKENS_FILE": str(self.secrets / "timeline.tokens")}
        self.start(service, command, IMCHANNEL_ADMIN_LISTEN=f"127.0.0.1:{self.ports[service]}", IMCHANNEL_CREDENTIAL_KEY_FILE=str(
            self.secrets / "credential.key"), IMCHANNEL_SECRETS_DIR=str(self.secrets / "channels"), **self.settings_of(service), **more)
        started = self.parts[service]
        until(f"{service} is ready", lambda: started.process.poll() is not None or status_of(self.ready_url(service))[0] == 200)
        if started.process.poll() is not None:
            raise Wrong(f"{service} did not start: {started.text()}")

    def start_prometheus(self, program):
        labels = {"ingress": {"namespace": "imchannel", "pod": self.pod}} if self.pod else {}
        jobs = [{"job_name": service, "static_configs": [{"targets": [f"127.0.0.1:{self.ports[service]}"], "labels": labels.get(service, {})}]}
                for service in SERVICES]
        config = self.folder / "prometheus.yml"
        config.write_text(json.dumps({  # JSON is YAML
            "global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
            "rule_files": [str(ROOT / "deploy/prometheus/alerts.yml")], "scrape_configs": jobs}))
        self.start("prometheus", [program, f"--config.file={config}", f"--storage.tsdb.path={self.folder}/tsdb",
                                  f"--web.listen-address=127.0.0.1:{self.ports['prometheus']}"])
        self.prometheus = Prometheus(self.ports["prometheus"])
        until("Prometheus scrapes all services", lambda: len(self.asked("up == 1")) == len(SERVICES), 60)

    def start_account(self, name, key, channels):
        """A simulated account of Infobip that accepts this key; `channels` is its own channels file."""
        (self.folder / f"{name}.toml").write_text(channels)
        port = int(re.search(r"base_url = \"http://127.0.0.1:(\d+)\"", channels).group(1))
        account = self.start(name, [f"{self.programs}/imchannel", "simulate", "infobip", "--channels", str(self.folder / f"{name}.toml"), "--gateway",
                                    self.webhooks_url(), "--listen", f"127.0.0.1:{port}"], INFOBIP_API_KEY=key, IMCHANNEL_INFOBIP_HOSTS="127.0.0.1")
        until(f"the account {name} answers", lambda: "ready:" in account.text())

    def start_reader(self):
        """The contact center's back end: reads EVENTS by its durable and acknowledges."""
        script = pathlib.Path(__file__).with_name("reader.py")
        return self.start("reader", [sys.executable, str(script), self.nats_url(), str(self.secrets / "nats/aicc.nk")])

    def stop(self):
        for part in reversed(list(self.parts.values())):
            part.stop()

    # --- requests to it

    def nats_url(self):
        return f"nats://127.0.0.1:{self.ports['nats']}"

    def webhooks_url(self):
        return f"http://127.0.0.1:{self.ports['webhooks']}"

    def ready_url(self, service):
        return f"http://127.0.0.1:{self.ports[service]}/ready"

    def settings_of(self, user):
        """Settings for a service or a person; the URL contains the user of Redis."""
        settings = {"IMCHANNEL_NATS_URL": self.nats_url(), "IMCHANNEL_MEDIA_PUBLIC_URL": f"http://127.0.0.1:{self.ports['files']}",
                    "IMCHANNEL_NATS_NKEY_FILE": str(self.secrets / f"nats/{user}.nk"), "IMCHANNEL_MEDIA_UPLOAD_TOKEN_FILE": str(self.secrets / "media.token")}
        password = self.secrets / f"redis/{user}.password"
        if password.exists():
            settings |= {"IMCHANNEL_REDIS_URL": f"redis://{user}@127.0.0.1:{self.ports['redis']}", "IMCHANNEL_REDIS_PASSWORD_FILE": str(password)}
        return settings

    def run_as(self, user, *words):
        """Runs the command line. (exit code, output)"""
        settings = {"IMCHANNEL_INFOBIP_HOSTS": "127.0.0.1"}
        if user:
            settings |= self.settings_of(user) | {
                "IMCHANNEL_NATS_MONITOR_URL": f"http://127.0.0.1:{self.ports['monitor']}", "IMCHANNEL_SECRETS_DIR": str(self.secrets / "channels"),
                "IMCHANNEL_MEDIA_URL": f"http://127.0.0.1:{self.ports['files']}"}
        if user == "provisioner":
            settings["IMCHANNEL_CREDENTIAL_KEY_FILE"] = str(self.secrets / "credential.key")
        done = subprocess.run([f"{self.programs}/imchannel", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, cwd=self.folder,
                              stdin=subprocess.DEVNULL, env={**os.environ, **settings}, timeout=COMMAND_LIMIT_S)
        return done.returncode, done.stdout

    def run(self, words):
        """Runs it as the user that the runbook names for this command."""
        user = "provisioner" if any(words[:len(prefix)] == prefix for prefix in OF_PROVISIONER) else "operator"
        if words[0] == "top":
            environment = self.settings_of("operator") | {"TERM": "xterm"}
            return watched([f"{self.programs}/imchannel", *words], self.folder, environment)
        return self.run_as(user, *words)

    def must(self, *words):
        code, text = self.run(list(words))
        if code != 0:
            raise Wrong(f"imchannel {' '.join(words)}: exit code {code}: {text}")
        return text

    def asked(self, expression):
        try:
            return self.prometheus.ask(expression)
        except (OSError, KeyError, ValueError):
            return []

    def alerts(self):
        """The alerts that fire, each with its labels and annotations."""
        try:
            return [alert for alert in self.prometheus.get("alerts")["alerts"] if alert["state"] == "firing"]
        except (OSError, KeyError, ValueError):
            return []

    def post(self, channel, password, body):
        url = f"{self.webhooks_url()}/social/on/whatsapp/infobip/report/{channel}"
        return status_of(url, body, AccountKey=password, Content_Type="application/json")[0]

    def post_koomessage(self, channel, password, body):
        """Of a BSP whose webhooks are spooled."""
        url = f"{self.webhooks_url()}/social/on/whatsapp/koomessage/report/{channel}"
        return status_of(url, body, Authorization=password, Content_Type="application/json")[0]

    def restart_ingress(self, clock=None, **settings):
        """With another clock or other settings. The former one may run, or not."""
        self.parts["ingress"].stop()
        # `faketime` ends before the program that it has started.
        until("the former ingress has ended", lambda: not is_open(self.ports["ingress"]))
        self.clocks = {**self.clocks, "ingress": clock} if clock else {name: offset for name, offset in self.clocks.items() if name != "ingress"}
        self.of_ingress |= settings
        self.start_service("ingress")

    def admin(self, service):
        return f"http://127.0.0.1:{self.ports[service]}"

    def events(self, what, *more):
        """The events of one kind in EVENTS, each a line of JSON."""
        return self.must("--json", "tail", what, "--from-beginning", "--no-follow", "--unmask", *more).splitlines()
