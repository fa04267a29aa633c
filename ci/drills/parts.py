"""Parts of a drill's installation: programs that can be killed and restarted, ports, requests, a terminal."""

import contextlib
import fcntl
import os
import pathlib
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import time
import urllib.error
import urllib.request

from runbook import Wrong

WATCHED_S = 4  # how long a screen is shown


def is_open(port):
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def until(what, condition, limit_s=30):
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise Wrong(f"after {limit_s} s: timed out waiting for {what}")
        time.sleep(0.2)


def status_of(url, body=None, method=None, **headers):
    """(status, body) of a request; (0, "") without an answer."""
    call = urllib.request.Request(url, data=body, method=method, headers={name.replace("_", "-"): text for name, text in headers.items()})
    try:
        with urllib.request.urlopen(call, timeout=20) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError:
        return 0, ""


class Process:
    """A program that can be killed and restarted with the same arguments and the same log."""

    def __init__(self, command, log, environment):
        self.command, self.log, self.environment, self.process = command, log, environment, None
        self.start()

    def start(self):
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(self.command, stdout=out, stderr=out, env={**os.environ, **self.environment}, start_new_session=True)

    def stop(self, how=signal.SIGTERM):
        """Signals its whole group: `faketime` starts the program as a child, and forwards no signals."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, how)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def kill(self):
        self.stop(signal.SIGKILL)

    def text(self):
        return pathlib.Path(self.log).read_text(errors="replace")


def watched(command, folder, environment):
    """Runs a program that needs a terminal, and quits it with `q` after some seconds. (exit code, output)"""
    mine, its = pty.openpty()
    fcntl.ioctl(mine, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env={**os.environ, **environment}, cwd=folder)
    os.close(its)
    seen, end, is_left = b"", time.monotonic() + WATCHED_S, False
    while process.poll() is None and time.monotonic() < end + WATCHED_S:
        if select.select([mine], [], [], 0.2)[0]:
            with contextlib.suppress(OSError):
                seen += os.read(mine, 65536)
        if time.monotonic() > end and not is_left:
            os.write(mine, b"q")
            is_left = True
    process.kill()
    os.close(mine)
    # A cursor position starts a line; other movements and colors are ignored.
    text = re.sub(r"\x1b\[[0-9;?]*([a-zA-Z])", lambda found: "\n" if found.group(1) == "H" else "", seen.decode(errors="replace"))
    return process.wait(), re.sub(r"\n{2,}", "\n", text)
