"""Runs a gateway and a Prometheus that scrapes it, and runs every query of the dashboards and the rules.

    python running.py IMCHANNEL PROMETHEUS FOLDER

A query fails the check if Prometheus refuses it, if it uses a metric that the run does not have, if a legend uses
a label that the answer does not have, or if its answer is empty and it is not listed below with the reason. Rules
are silent in a healthy run, so every selector of a rule must have a result. Every metric must be on a dashboard.
"""

import contextlib
import json
import pathlib
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import metrics_page

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "bench/measure"))
from ports import free_port  # noqa: E402

BOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
TIMEOUT_S = 60  # until everything is counted, scraped and evaluated
CHANNEL, FAILING = "202105102694809992", "failing"
# The metrics that each job keeps of the one process `up`: those of a separate service.
JOBS = {"ingress": "ingress_.*", "normalizer": "(normalizer|worker|consumer|stream)_.*", "sender": "sender_.*", "media": "media_.*", "timeline": "timeline_.*"}
SELECTOR = re.compile(r"(?<![\w:$\"])(imchannel[_:][a-z0-9_:]+|process_[a-z_]+|up|ALERTS)\b(\{[^}]*\})?")

NO_PROBLEM = "no message of this run has a problem yet: the run is shorter than the time after which something is missing"
# Selectors that have no result in a healthy run. All others must have one.
MAY_BE_EMPTY = {
    'imchannel_sender_results_total{outcome="rejected"}': "no command of this run is wrong, and the account refuses no command",
    'imchannel:results:increase1h{outcome="expired"}': "no command of this run reaches its deadline",
    'imchannel_ingress_spool_entries{pod!=""}': "pods are Kubernetes's",
    "imchannel_timeline_problems": NO_PROBLEM,
    'imchannel_timeline_problems{channel=~".*"}': NO_PROBLEM,
    "imchannel:timeline_problems:max": NO_PROBLEM,
    'imchannel:timeline_problems:max{rule=~"no_result|no_bulk_result"}': NO_PROBLEM,
    'imchannel:timeline_problems:new1h{channel=~".*"}': NO_PROBLEM,
    'imchannel:timeline_problems:new1h{rule="no_report"}': NO_PROBLEM,
    'imchannel:timeline_problems:new1h{rule="not_fetched"}': NO_PROBLEM,
    "imchannel_timeline_missed_messages_total": "the timeline reads every message in time",
    "imchannel:timeline_missed:increase1h": "the timeline reads every message in time",
    "imchannel_timeline_store_failures_total": "the timeline's store works",
    'imchannel_media_fetches_total{outcome=~"unavailable|overloaded"}': "Redis is reachable",
    'imchannel_media_uploads_total{outcome=~"out_of_memory|unavailable|overloaded"}': "Redis is reachable, and has room",
}

FAILING_CHANNEL = """[[channel]]
id = "failing"
bsp = "infobip"
tenant = "tenantname"
webhook = [{{ password = "failing-secret" }}]
[channel.infobip]
base_url = "http://127.0.0.1:{port}"
api_key = "env:INFOBIP_API_KEY"
scenario_key = "failing-scenario"
sends_per_second = 20
"""


def fail(*texts):
    for text in texts:
        print(f"FAIL {text}", file=sys.stderr)
    sys.exit(1)


def until(what, condition, timeout_s=30):
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            fail(f"after {timeout_s} s: timed out waiting for {what}")
        time.sleep(0.1)


@contextlib.contextmanager
def running(command, log, **environment):
    import os
    with open(log, "wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **environment})
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def request(url, body=None, **headers):
    """Returns only the status."""
    call = urllib.request.Request(url, data=body, headers={name.replace("_", "-"): text for name, text in headers.items()})
    try:
        with urllib.request.urlopen(call, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


class Gateway:
    """`imchannel up` with simulated BSPs, and a second, failing account."""

    def __init__(self, program, folder, process):
        self.program, self.folder, log = program, folder, folder / "up.log"
        self.is_ready = lambda: re.search(r"^ready:.* (http\S+)", log.read_text(errors="replace"), re.MULTILINE)
        until("the gateway is ready", lambda: self.is_ready() or process.poll() is not None)
        if process.poll() is not None:
            fail(f"the gateway did not start: {log.read_text(errors='replace')[-2000:]}")
        self.ingress = self.is_ready().group(1)
        read = lambda name: (folder / "data" / name).read_text().strip()
        self.admin, self.media = read("admin.url"), read("media.url")
        self.nats, self.token, self.key = read("nats.url"), read("media.token"), read("credential.key")

    def command(self, *words):
        command = [self.program, "--nats-url", self.nats, "--credential-key", self.key, "--infobip-hosts", "127.0.0.1", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder)
        if done.returncode != 0:
            fail(f"imchannel {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def drive(self):
        """Some of everything that happens to a gateway, good and bad. Repeatedly: a rate needs two samples."""
        webhook = f"{self.ingress}/social/on/whatsapp/infobip/report/{CHANNEL}"
        json_type = {"Content_Type": "application/json"}
        report = {"messageId": "m-1", "to": "8618257518838", "newMember": 1,
                  "status": {"groupName": "NEVER_SEEN", "groupId": 77, "id": 7, "name": "NEVER_SEEN"}}
        status = json.dumps({"results": [report]}).encode()
        for _ in range(3):
            assert request(webhook, status, AccountKey="wrong", **json_type) == 401
        assert request(webhook.replace(CHANNEL, "unknown-channel"), status, AccountKey="infobip-secret", **json_type) == 401
        assert request(webhook, status, AccountKey="infobip-secret", Content_Type="text/plain") == 415
        assert request(f"{self.ingress}/somewhere/else", status) == 404
        assert request(webhook, status, AccountKey="infobip-secret", **json_type) == 200  # an unknown status and an unread member
        assert request(webhook, status[:-9], AccountKey="infobip-previous", **json_type) == 200  # a broken body
        text = b'{"results":[{"messageId":"m-2","from":"8618257518838","message":{"type":"TEXT","text":"caf\xe9"}}]}'
        assert request(webhook, text, AccountKey="infobip-secret", **json_type) == 200  # a text that is not UTF-8
        (self.folder / "a.jpg").write_bytes(bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffd9"))
        (self.folder / "a.txt").write_text("A document.\n")
        store = ["--media-url", self.media, "--media-upload-token", self.token]
        stored = self.command("--json", "media", "put", "a.txt", "--channel", CHANNEL, *store)
        url = json.loads(stored.splitlines()[-1])["url"]
        assert request(url) == 200
        assert request(re.sub(r"[^/]+$", "00000000-0000-4000-8000-000000000000", url)) == 404
        watch = ["--to", "8618257518838", "--until", "accepted", "--timeout", "20s"]
        self.command("send", "--channel", CHANNEL, "--text", "Hello", *watch)
        self.command("send", "--channel", CHANNEL, "--image", "a.jpg", *watch, *store)
        # Its call fails and its message log shows nothing: looked up, and finally unknown.
        self.command("send", "--channel", FAILING, "--text", "Hello", "--to", "8618257518838", "--until", "stored")


class Prometheus:
    """A server that scrapes the gateway as four jobs."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"

    @staticmethod
    def configuration(admin):
        jobs = [{"job_name": job, "static_configs": [{"targets": [admin.removeprefix("http://")]}], "metric_relabel_configs": [
            {"source_labels": ["__name__"], "regex": f"imchannel_({mine}|build_info|nats_.*)|process_.*", "action": "keep"}]}
            for job, mine in JOBS.items()]
        return json.dumps({  # JSON is YAML
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(ROOT / "deploy" / "prometheus" / "alerts.yml")], "scrape_configs": jobs})

    def get(self, path, **query):
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}", urllib.parse.urlencode(query).encode() if query else None, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["error"]) from None

    def ask(self, expression):
        """The series of an answer that have a number; NaN does not count."""
        found = self.get("query", query=expression)["result"]
        return [series["metric"] for series in found if series["value"][1] != "NaN"]

    def is_up(self):
        try:
            return len(self.ask("up == 1")) == len(JOBS)
        except (OSError, KeyError, ValueError):
            return False


def substituted(expression):
    for variable in ("bsp", "channel"):
        expression = expression.replace(f"${variable}", ".*")
    return expression.replace("$__rate_interval", "1m").replace("$datasource", "prometheus")


def selectors(expression):
    return {name + (matchers or "") for name, matchers in SELECTOR.findall(expression)}


def queries():
    """(where, expression, legend) of every query of the dashboards, with their variables and annotations."""
    for path in BOARDS:
        board = json.loads(path.read_text(encoding="utf-8"))
        for annotation in board["annotations"]["list"]:
            yield f"{path.name}: annotations", annotation["expr"], annotation["titleFormat"]
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
                yield f"{path.name}: variable {variable['name']}", metric, f"{{{{{label}}}}}"
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                yield f"{path.name}: {panel['title']}", target["expr"], target["legendFormat"]


def what_is_wrong(prometheus, where, expression, legend, names):
    """The fault of one query, or None."""
    expression = substituted(expression)
    unknown = {name for name, _ in SELECTOR.findall(expression)} - names
    if unknown:
        return f"{where}: the run has no metric {', '.join(sorted(unknown))}"
    # A default for an empty answer would hide that it is empty.
    series = prometheus.ask(expression.removesuffix(" or vector(0)"))
    if not series and not selectors(expression) & set(MAY_BE_EMPTY):
        return f"{where}: an empty answer to {expression}"
    for label in re.findall(r"\{\{(\w+)\}\}", legend):
        if not all(label in metric for metric in series):
            return f"{where}: the legend names {label}, which the answer does not have: {expression}"
    return None


def wrong_in_rule(prometheus, rule, names):
    for selector in sorted(selectors(rule["query"])):
        if selector in MAY_BE_EMPTY:
            continue
        name = selector.split("{")[0]
        if name not in names:
            return f"{rule['name']}: the run has no metric {name}"
        if not prometheus.get("query", query=selector)["result"]:
            return f"{rule['name']}: nothing is found by {selector}"
    if rule["health"] != "ok":
        return f"{rule['name']}: {rule.get('lastError') or 'not evaluated yet'}"
    return None


def all_faults(prometheus, expected, rules):
    names = set(prometheus.get("label/__name__/values"))
    found = [what_is_wrong(prometheus, *query, names) for query in expected]
    found += [wrong_in_rule(prometheus, rule, names) for rule in rules()]
    return [fault for fault in found if fault]


def text_of(gateway, accept="application/openmetrics-text"):
    call = urllib.request.Request(f"{gateway.admin}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(call, timeout=10) as answer:
        return answer.read().decode()


def classic_fault(gateway, promtool):
    """What promtool reports about the text format for clients other than Prometheus; None if it reports nothing."""
    text = text_of(gateway, "*/*")
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"promtool check metrics: {done.stdout}{done.stderr}"


def metrics_of(text):
    families = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    return {name + {"counter": "_total", "histogram": "_bucket", "info": "_info"}.get(kind, "") for name, kind in families}


def main():
    program, server, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    port, account = free_port(), free_port()
    (folder / "failing.toml").write_text(FAILING_CHANNEL.format(port=account))
    up = [program, "up", "--channels", str(ROOT / "examples" / "channels.toml"), "--simulate", "--simulate-rate", "30", "--quiet",
          "--ingress", "127.0.0.1:0", "--media", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir", str(folder / "data"),
          "--lag-interval", "500ms", "--send-timeout", "500ms", "--lookup-delays", "600ms,1200ms"]
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(running(up, folder / "up.log", INFOBIP_API_KEY="failing-key"))
        gateway = Gateway(program, folder, process)
        (folder / "prometheus.yml").write_text(Prometheus.configuration(gateway.admin))
        stack.enter_context(running(
            [server, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address=127.0.0.1:{port}"],
            folder / "prometheus.log"))
        prometheus = Prometheus(port)
        until("Prometheus scrapes all jobs", prometheus.is_up)
        # It answers every call with an error after accepting the message, and shows it in its message log only after the lookups.
        stack.enter_context(running(
            [program, "simulate", "infobip", "--channels", str(folder / "failing.toml"), "--listen", f"127.0.0.1:{account}",
             "--gateway", gateway.ingress, "--fail-after-pct", "100", "--log-delay", "10m"], folder / "infobip.log", INFOBIP_API_KEY="failing-key"))
        until("the failing account answers", lambda: "ready:" in (folder / "infobip.log").read_text(errors="replace"))
        gateway.command("channel", "apply", "-f", str(folder / "failing.toml"))

        expected = list(queries())
        rules = lambda: [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
        end = time.monotonic() + TIMEOUT_S
        gateway.drive()
        while (faults := all_faults(prometheus, expected, rules)) and time.monotonic() < end:
            gateway.drive()
        shown = {name for _, expression, _ in expected for name, _ in SELECTOR.findall(expression)}
        through_rules = {name for rule in rules() if rule["name"] in shown for name, _ in SELECTOR.findall(rule["query"])}
        faults += [f"no board shows {name}" for name in sorted(metrics_of(text_of(gateway)) - shown - through_rules)]
        if fault := metrics_page.fault(text_of(gateway), write="--write" in sys.argv):
            faults.append(fault)
        if fault := classic_fault(gateway, pathlib.Path(server).with_name("promtool")):
            faults.append(fault)
        if faults:
            fail(*faults)
        print("ok   promtool check metrics finds nothing in what a real run serves")
        print(f"ok   {len(expected)} queries of {len(BOARDS)} dashboards have results in a real run; every metric is on a dashboard and in docs/metrics.md")
        print(f"ok   {len(rules())} rules evaluated in a real run; {len(MAY_BE_EMPTY)} listed selectors may have no result")


if __name__ == "__main__":
    main()
