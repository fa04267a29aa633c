"""Compares a running gateway with the OpenAPI document: every answer has a documented status, content type, headers and body.

    python running.py PROGRAM DOCUMENT FOLDER

It starts `PROGRAM up` on free ports of the loopback, with the example channels, and lets schemathesis call every operation. Each
service is called twice: with names that the gateway knows, and with made-up ones. Exit code 0: it answers as documented.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import urllib.request

START_S = 60
STOP_S = 30
# For each run of schemathesis; all of them take some 25 s.
RUN_S = 60
EXAMPLES = 12
CHECKS = [
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "ignored_auth", "unsupported_method", "allow_header_conformance",
]  # fmt: skip
CHANNEL = "202105102694809992"
TENANT = "tenantname"
# Values of examples/channels.toml.
INGRESS = f"""
[auth.openapi.infobipAccountKey]
api_key = "infobip-secret"
[auth.openapi.koomessagePassword]
api_key = "koomessage-secret"
[auth.openapi.gupshupPassword]
api_key = "gupshup-secret"
[auth.openapi.twilioBasic]
username = "twilio-user"
password = "twilio-secret"
"""
CHANNELS = {
    "postInfobipWebhook": CHANNEL,
    "postKooMessageWebhook": "koomessage-demo",
    "postGupshupWebhook": "gupshup-demo",
    "postTwilioWebhook": "twilio-demo",
}
FILES = {
    "Image": ("image/png", b"\x89PNG\r\n\x1a\n"),
    "Document": ("text/plain", b"Hello"),
    "Audio": ("audio/aac", b"\xff\xf1\x50\x80"),
    "Video": ("video/mp4", b"\0\0\0\x18ftypmp42"),
}


def known(operations, **parameters):
    """Settings with values for these parameters of these operations."""
    values = ", ".join(f'"{name.replace("_", ".")}" = "{value}"' for name, value in parameters.items())
    return f"[[operations]]\ninclude-operation-id = {json.dumps(operations)}\nparameters = {{ {values} }}\n"


class Gateway:
    """`imchannel up` with its own servers."""

    def __init__(self, program, folder):
        self.folder = folder / "data"
        command = [str(program), "--json", "up", "--channels", "examples/channels.toml", "--data-dir", str(self.folder)]
        for name in ("ingress", "media", "admin"):
            command += [f"--{name}", "127.0.0.1:0"]
        # Do not use an installation that this shell is configured for.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("IMCHANNEL_", "OTEL_"))}
        self.log = folder / "up.log"
        with self.log.open("wb") as errors:
            self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
        self.addresses = None
        self.known = threading.Event()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            told = json.loads(line) if line.startswith("{") else {}
            if "ingress" in told and "media" in told:
                self.addresses = told
                self.known.set()
        self.known.set()

    def until_ready(self):
        deadline = time.monotonic() + START_S
        if not self.known.wait(START_S) or not self.addresses:
            sys.exit(f"the gateway did not start: {self.log.read_text()}")
        while True:
            try:
                return urllib.request.urlopen(self.url("admin", "/ready"), timeout=5).read()
            except OSError as error:
                if time.monotonic() > deadline:
                    sys.exit(f"the gateway did not become ready: {error}")
                time.sleep(0.1)

    def url(self, service, path=""):
        return f"http://{self.addresses[service]}{path}"

    def token(self):
        return (self.folder / "media.token").read_text().strip()

    def upload(self, kind):
        content_type, body = FILES[kind]
        url = self.url("media", f"/{TENANT}/imchannel/media?channel={CHANNEL}&kind={kind.lower()}")
        headers = {"Authorization": f"Bearer {self.token()}", "Content-Type": content_type}
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as answer:
            return json.load(answer)["id"]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Schemathesis:
    """Calls the operations of a document."""

    def __init__(self, document, folder):
        self.document, self.folder = document, folder
        self.program = pathlib.Path(sys.executable).with_name("schemathesis")

    def run(self, url, select, settings, phases="examples,coverage,fuzzing"):
        """Returns the exit code, the output, and the statuses of the answers."""
        config, log = self.folder / "schemathesis.toml", self.folder / "calls.har"
        config.write_text(settings)
        log.unlink(missing_ok=True)
        command = [self.program, "--config-file", config, "run", self.document, "--url", url, *select]
        command += ["--checks", ",".join(CHECKS), "--phases", phases, "--max-examples", str(EXAMPLES)]
        # The same calls each time; store nothing for the next run.
        command += ["--seed", "1", "--generation-database", "none", "--request-timeout", "10"]
        command += ["--warnings", "off", "--report-har-path", log]
        # Use no proxy.
        environment = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        # It writes files into its working directory.
        options = {"cwd": self.folder, "env": environment, "capture_output": True, "text": True, "timeout": RUN_S}
        done = subprocess.run(list(map(str, command)), **options)
        entries = json.loads(log.read_text())["log"]["entries"] if log.exists() else []
        return done.returncode, done.stdout + done.stderr, [entry["response"]["status"] for entry in entries]


def main():
    program, document, folder = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
    gateway = Gateway(program, folder)
    try:
        gateway.until_ready()
        check(gateway, Schemathesis(document, folder))
        check_the_check(gateway, document, folder)
    finally:
        gateway.stop()


def check(gateway, calls):
    ids = {kind: gateway.upload(kind) for kind in FILES}
    ingress = INGRESS + "".join(known([operation], path_channel=channel) for operation, channel in CHANNELS.items())
    token = f'[auth.openapi.uploadToken]\nbearer = "{gateway.token()}"\n'
    media = token + known(["uploadFile"], path_tenant=TENANT, query_channel=CHANNEL)
    media += "".join(known([f"get{kind}", f"head{kind}"], path_tenant=TENANT, path_id=ids[kind]) for kind in FILES)
    # The statuses that must occur, so that a run without calls does not pass.
    for service, what, settings, expected in [
        ("ingress", "known channels", ingress, {200, 401, 404, 405}),
        ("ingress", "made-up channels", INGRESS, {401, 404, 405}),
        ("media", "known files", media, {200, 201, 206, 400, 401, 405, 415}),
        ("media", "made-up files", token, {400, 401, 404, 405}),
        ("admin", "probes and metrics", "", {200, 405}),
    ]:
        code, text, statuses = calls.run(gateway.url(service), ["--include-tag", service], settings)
        if code != 0:
            sys.exit(text)
        if missing := expected - set(statuses):
            sys.exit(f"{service}, {what}: missing answers: {sorted(missing)}")
        came = ", ".join(map(str, sorted(set(statuses))))
        print(f"ok   docs/openapi.yaml against {service}, {what} ({len(statuses)} calls: {came})", flush=True)


def check_the_check(gateway, document, folder):
    """A document without one of the answers must fail."""
    text = document.read_text()
    without = text.replace("        '401': { $ref: '#/components/responses/Challenged' }\n", "").replace(
        "        '401': { $ref: '#/components/responses/Unauthorized' }\n", ""
    )
    wrong = folder / "wrong.yaml"
    wrong.write_text(without)
    select = ["--include-operation-id", "postTwilioWebhook"]
    code, said, _ = Schemathesis(wrong, folder).run(gateway.url("ingress"), select, INGRESS, "coverage")
    if without == text or code == 0 or "Undocumented status code" not in said:
        sys.exit(f"a document without 401 passed, but must fail:\n{said}")


if __name__ == "__main__":
    main()
