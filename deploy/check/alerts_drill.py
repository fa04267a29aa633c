"""Fires the alerts about commands that wait, from a lane that is really halted: the BSP answers every call 401.

    python alerts_drill.py PROGRAMS PROMETHEUS FOLDER

Real nats-server, redis-server and imchannel-sender, a simulated account that wants another key, and a Prometheus that scrapes
the sender and evaluates deploy/prometheus/alerts.yml as it is, `for` times included: that takes six minutes. One alert is
about commands that have waited for 20 hours. So the sender's clock goes that far ahead of the clock of NATS, which stamps
the commands (`faketime`); nothing else is changed. At the end the key is put right, and the alerts must end.
"""

import json
import pathlib
import subprocess
import sys
import time

from observability_run import ROOT, Prometheus, fail, free_port, running, until

CHANNEL, COMMANDS = "halted", 30
AHEAD = "+1230m"  # 20.5 hours; a command is answered EXPIRED after 23
ALERTS = {"ImchannelLaneHalted", "ImchannelOldestCommandWaiting", "ImchannelCommandsAboutToExpire"}
FIRES_WITHIN_S = 8 * 60  # the longest `for` is five minutes
ENDS_WITHIN_S = 2 * 60  # the account is tried again every 30 s
RIGHT_KEY, WRONG_KEY = "the-right-key-of-the-drill", "a-key-that-was-revoked"

CHANNEL_FILE = """[[channel]]
id = "{channel}"
bsp = "infobip"
tenant = "tenantname"
webhook = [{{ password = "a-password-of-the-drill" }}]
[channel.infobip]
base_url = "http://127.0.0.1:{port}"
api_key = "file:api.key"
scenario_key = "drill"
sends_per_second = 20
"""


class Installation:
    """NATS, Redis, streams, and a channel whose account refuses the key that the sender has."""

    def __init__(self, programs, folder, stack):
        self.programs, self.folder = programs, folder
        self.nats_port, self.redis_port, self.account_port, self.admin_port = (free_port() for _ in range(4))
        (folder / "api.key").write_text(WRONG_KEY)
        (folder / "channels.toml").write_text(CHANNEL_FILE.format(channel=CHANNEL, port=self.account_port))
        start = lambda command, log, **environment: stack.enter_context(running(command, folder / log, **environment))
        start(["nats-server", "-js", "-sd", str(folder / "nats"), "-a", "127.0.0.1", "-p", str(self.nats_port)], "nats.log")
        start(["redis-server", "--bind", "127.0.0.1", "--port", str(self.redis_port), "--save", "", "--dir", str(folder)], "redis.log")
        redis = ["--redis-url", f"redis://127.0.0.1:{self.redis_port}"]
        self.command("setup", "--channels", "channels.toml", "--wait", "30s", *redis)
        account = [f"{programs}/imchannel", "simulate-infobip", "--channels", str(folder / "channels.toml"), "--gateway",
                   "http://127.0.0.1:1", "--listen", f"127.0.0.1:{self.account_port}"]
        start(account, "account.log", INFOBIP_API_KEY=RIGHT_KEY, IMCHANNEL_INFOBIP_HOSTS="127.0.0.1")
        until("the account answers", lambda: "ready:" in (folder / "account.log").read_text(errors="replace"))
        start(["faketime", "--exclude-monotonic", "-f", AHEAD, f"{programs}/imchannel-sender"], "sender.log",
              IMCHANNEL_NATS_URL=f"nats://127.0.0.1:{self.nats_port}", IMCHANNEL_REDIS_URL=f"redis://127.0.0.1:{self.redis_port}",
              IMCHANNEL_MEDIA_PUBLIC_URL="http://127.0.0.1:1", IMCHANNEL_SECRETS_DIR=str(folder),
              IMCHANNEL_ADMIN_LISTEN=f"127.0.0.1:{self.admin_port}")

    def command(self, *words):
        key = "a-credential-key-of-the-drill-0123456789"
        command = [f"{self.programs}/imchannel", "--nats-url", f"nats://127.0.0.1:{self.nats_port}", "--credential-key", key,
                   "--infobip-hosts", "127.0.0.1", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder)
        if done.returncode != 0:
            fail(f"imchannel {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout


def firing(prometheus):
    """Of the alerts of the drill, those that fire, each with its summary."""
    alerts = prometheus.get("alerts")["alerts"]
    mine = [alert for alert in alerts if alert["labels"].get("channel") == CHANNEL and alert["state"] == "firing"]
    return {alert["labels"]["alertname"]: alert["annotations"]["summary"] for alert in mine if alert["labels"]["alertname"] in ALERTS}


def main():
    import contextlib
    programs, server, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    with contextlib.ExitStack() as stack:
        installation = Installation(programs, folder, stack)
        port = free_port()
        (folder / "prometheus.yml").write_text(json.dumps({  # JSON is YAML
            "global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
            "rule_files": [str(ROOT / "deploy" / "prometheus" / "alerts.yml")],
            "scrape_configs": [{"job_name": "sender", "static_configs": [{"targets": [f"127.0.0.1:{installation.admin_port}"]}]}]}))
        stack.enter_context(running(
            [server, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address=127.0.0.1:{port}"],
            folder / "prometheus.log"))
        prometheus = Prometheus(port)

        def scraped():
            try:
                return prometheus.ask('up{job="sender"} == 1')
            except (OSError, KeyError, ValueError):
                return False
        until("Prometheus scrapes the sender", scraped)
        began = time.monotonic()
        for number in range(COMMANDS):
            installation.command("send", "--channel", CHANNEL, "--to", f"4915112{number:05}", "--text", "Hello", "--until", "stored")
        waiting = lambda: prometheus.ask(f'imchannel_sender_waiting{{channel="{CHANNEL}"}} >= {COMMANDS - 1}')
        until(f"the scrape shows that {COMMANDS} commands wait", waiting, 60)
        until(f"these alerts fire: {', '.join(sorted(ALERTS))}", lambda: set(firing(prometheus)) == ALERTS, FIRES_WITHIN_S)
        for name, summary in sorted(firing(prometheus).items()):
            print(f"ok   {name} fires from a lane whose key is refused: {summary}")
        print(f"ok   all of them {time.monotonic() - began:.0f} s after the commands were stored")
        (folder / "api.key").write_text(RIGHT_KEY)
        until("the alerts end once the key is right", lambda: not firing(prometheus), ENDS_WITHIN_S)
        print("ok   they end once the key is right")


if __name__ == "__main__":
    main()
