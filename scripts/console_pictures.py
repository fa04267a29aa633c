#!/usr/bin/env python3
"""Writes the pictures of the console in docs/images.

    scripts/console_pictures.py               builds the program, runs it, and writes docs/images/console-*.png
    scripts/console_pictures.py --no-build    the same with target/debug/imchannel as it is
    scripts/console_pictures.py --check DIR   the same into a folder, at three widths and in both colors, to look at every page

It runs `imchannel up --simulate` on free ports in a scratch folder, sends a file and a text, waits until they are delivered,
and photographs pages with Debian's chromium, which it drives by chromedriver over WebDriver. It needs nats-server, redis-server,
chromium and chromium-driver. Times and ids differ from run to run; everything else is the same.
"""
import argparse
import base64
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
START_LIMIT_S, LIMIT_S = 60, 60
PICTURE_BYTES_MAX = 300 * 1024
# Of examples/channels.toml, the channel that can send.
CHANNEL, RECIPIENT = "202105102694809992", "8618257518838"
WIDTHS = {"phone": 360, "tablet": 768, "screen": 1440}


def request(method, url, body=None, headers=None):
    """Sends a request; gives the bytes of the answer."""
    sent = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sent, timeout=LIMIT_S) as answer:
        return answer.read()


def until(what, check, limit=LIMIT_S):
    """Waits until a check gives something."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.1)
    raise SystemExit(f"timed out waiting until {what}")


class Gateway:
    """`imchannel up --simulate` in a scratch folder."""

    def __init__(self, program):
        self.program, self.folder = program, pathlib.Path(tempfile.mkdtemp(prefix="imchannel-picture-"))
        # Settings of the caller would lead elsewhere.
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("IMCHANNEL_")}
        self.environment["IMCHANNEL_TIMELINE_RESULT_AFTER"] = "1s"
        self.log = open(self.folder / "up.log", "w+", encoding="utf-8", errors="replace")
        self.up = subprocess.Popen(
            [program, "up", "--channels", ROOT / "examples/channels.toml", "--simulate", "--simulate-rate", "2", "--quiet",
             "--ingress", "127.0.0.1:0", "--media", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--console", "127.0.0.1:0"],
            cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def wait(self):
        def is_ready():
            said = (self.folder / "up.log").read_text(encoding="utf-8", errors="replace")
            if self.up.poll() is not None:
                raise SystemExit(f"the gateway did not start:\n{said}")
            return "ready:" in said
        until("the gateway is ready", is_ready, START_LIMIT_S)
        [self.data] = [path.parent for path in self.folder.rglob("console.url")]
        self.console = (self.data / "console.url").read_text().strip()

    def run(self, *arguments):
        done = subprocess.run([self.program, *arguments], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S)
        if done.returncode != 0:
            raise SystemExit(f"imchannel {' '.join(arguments)} failed:\n{done.stdout}")
        return done.stdout

    def life(self, id):
        try:
            return json.loads(request("GET", f"{self.console}/v1/timeline?id={id}"))["lives"][0]
        except urllib.error.HTTPError:
            return {"rows": [], "missing": [], "status": ""}

    def close(self):
        self.up.send_signal(signal.SIGTERM)
        try:
            self.up.wait(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            self.up.kill()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Browser:
    """chromium without a window, with one page."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="imchannel-browser-")
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        port = None
        while port is None:
            line = self.driver.stdout.readline()
            if not line:
                raise SystemExit("chromedriver did not start: install chromium and chromium-driver")
            port = re.search(r"successfully on port (\d+)", line)
        self.url, self.session = f"http://127.0.0.1:{port[1]}", ""
        arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--lang=en-US", "--hide-scrollbars",
                     "--force-color-profile=srgb", f"--user-data-dir={self.folder}"]
        capabilities = {"browserName": "chrome", "goog:chromeOptions": {"args": arguments}}
        made = self.call("/session", {"capabilities": {"alwaysMatch": capabilities}})
        self.session = f"/session/{made['sessionId']}"

    def call(self, path, body):
        answer = request("POST", f"{self.url}{self.session}{path}", json.dumps(body).encode(), {"content-type": "application/json"})
        return json.loads(answer)["value"]

    def devtools(self, command, **params):
        return self.call("/goog/cdp/execute", {"cmd": command, "params": params})

    def look(self, width, height, scheme):
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.devtools("Emulation.setTimezoneOverride", timezoneId="Europe/Berlin")

    def open(self, url):
        self.call("/url", {"url": url})

    def run(self, script):
        return self.call("/execute/sync", {"script": script, "args": []})

    def picture(self, path, is_whole=False):
        shot = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=is_whole)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path.stat().st_size

    def close(self):
        request("DELETE", f"{self.url}{self.session}")
        self.driver.terminate()
        self.driver.wait(timeout=LIMIT_S)
        shutil.rmtree(self.folder, ignore_errors=True)


def drawers(browser, kinds):
    """Opens the drawers of the first step of each kind, and waits for their full messages."""
    browser.run(f"""for (const kind of {json.dumps(kinds)}) {{
      const of = [...document.querySelectorAll('.step details')].find((step) => step.querySelector('.step-kind').textContent === kind);
      if (of) {{ of.open = true; }}
    }}""")
    until("the drawers have their messages", lambda: browser.run(
        "return document.querySelectorAll('.step details[open] .behind > p > a').length === 0;"))


def send(gateway):
    """A delivered message with a file, a delivered text, and a text in a paused channel."""
    invoice = gateway.folder / "invoice.pdf"
    invoice.write_bytes(b"%PDF-1.7\n" + b"invoice " * 500)
    to = ["--channel", CHANNEL, "--to", RECIPIENT]
    gateway.run("send", *to, "--document", str(invoice), "--command-id", "order-1042-invoice", "--until", "delivered")
    gateway.run("send", *to, "--text", "Your order is on its way.", "--command-id", "order-1042-text", "--until", "delivered")
    until("the message with a file is delivered",
          lambda: gateway.life("order-1042-invoice")["status"] in ("DELIVERED", "READ"))
    gateway.run("channel", "pause", CHANNEL)
    gateway.run("send", *to, "--text", "Please pay.", "--command-id", "order-1042-reminder", "--until", "stored")
    until("the reminder waits", lambda: gateway.life("order-1042-reminder")["missing"])


def pictures(gateway, browser, folder):
    for name, path, kinds, scheme, height in [
        ("console-message", "/timeline?id=order-1042-invoice", ["Report"], "light", 1150),
        ("console-overview", "/", [], "dark", 900),
        ("console-phone", "/timeline?id=order-1042-reminder", [], "light", 820),
    ]:
        browser.look(390 if name == "console-phone" else 1120, height, scheme)
        browser.open(gateway.console + path)
        drawers(browser, kinds)
        size = browser.picture(folder / f"{name}.png")
        print(f"{name}.png: {size // 1024} KiB")
        if size > PICTURE_BYTES_MAX:
            raise SystemExit(f"{name}.png is larger than {PICTURE_BYTES_MAX} bytes")


def every_page(gateway, browser, folder):
    pages = {"home": "/", "messages": "/messages", "problems": "/problems", "live": "/live", "nothing": "/timeline?id=nothing",
             "message": "/timeline?id=order-1042-invoice",
             "waiting": "/timeline?id=order-1042-reminder", "step": "/stored/COMMANDS/1"}
    for name, path in pages.items():
        for of, width in WIDTHS.items():
            for scheme in ("light", "dark"):
                browser.look(width, 900, scheme)
                browser.open(gateway.console + path)
                if name == "message":
                    drawers(browser, ["Command stored", "Call to the BSP", "Report"])
                browser.picture(folder / f"{name}-{of}-{scheme}.png", is_whole=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-build", action="store_true")
    parser.add_argument("--check", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs/images", metavar="DIR")
    options = parser.parse_args()
    if not options.no_build:
        subprocess.run(["cargo", "build", "--locked", "--bin", "imchannel"], cwd=ROOT, check=True)
    gateway = Gateway(ROOT / "target/debug/imchannel")
    try:
        gateway.wait()
        send(gateway)
        browser = Browser()
        try:
            if options.check:
                options.check.mkdir(parents=True, exist_ok=True)
                every_page(gateway, browser, options.check)
            else:
                pictures(gateway, browser, options.out)
        finally:
            browser.close()
    finally:
        gateway.close()


if __name__ == "__main__":
    main()
