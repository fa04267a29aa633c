"""The log of deploy/haproxy/haproxy.cfg: refused requests only.

    python haproxy_log.py HAPROXY FOLDER

A real haproxy in front of a small server that answers 401 to one channel, 404 to files, and 200 to everything else.
"""

import http.server
import pathlib
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "observability"))
from running import ROOT, fail, until  # noqa: E402
from ports import free_port  # noqa: E402


class Answers(http.server.BaseHTTPRequestHandler):
    """A stub of the services for the proxy."""

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        refused = {"/social/on/whatsapp/koomessage/report/refused": 401, "/IMChannel/gone": 404}
        self.send_response(refused.get(self.path.split("?")[0], 200))
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


def request(url, body=None):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def main():
    haproxy, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    webhooks, files, admin = free_port(), free_port(), free_port()
    text = (ROOT / "deploy/haproxy/haproxy.cfg").read_text()
    place = f"127.0.0.1:{server.server_port}"
    for found, wanted in (
        ("bind :8080", f"bind 127.0.0.1:{webhooks}"), ("bind :8081", f"bind 127.0.0.1:{files}"), ("bind :8404", f"bind 127.0.0.1:{admin}"),
        ("server-template ingress 1-32 ingress:8080", f"server ingress {place} check port {server.server_port}"),
        ("server-template media 1-32 media:8081", f"server media {place} check port {server.server_port}"),
    ):
        if text.count(found) != 1:
            fail(f"haproxy.cfg has not one '{found}'")
        text = text.replace(found, wanted)
    (folder / "haproxy.cfg").write_text(text)
    log = folder / "haproxy.out"
    with open(log, "wb") as out:
        process = subprocess.Popen([haproxy, "-f", str(folder / "haproxy.cfg")], stdout=out, stderr=subprocess.STDOUT)
    try:
        path = "/social/on/whatsapp/koomessage/report"
        until("the proxy forwards requests", lambda: request(f"http://127.0.0.1:{webhooks}{path}/taken", b"{}") == 200)
        until("the proxy forwards fetches", lambda: request(f"http://127.0.0.1:{files}/IMChannel/there") == 200)
        marks = len(log.read_text().splitlines())
        answers = [request(f"http://127.0.0.1:{webhooks}{path}/taken?token=a-secret", b"{}"),
                   request(f"http://127.0.0.1:{webhooks}{path}/refused?token=a-secret", b"{}"),
                   request(f"http://127.0.0.1:{files}/IMChannel/there"), request(f"http://127.0.0.1:{files}/IMChannel/gone"),
                   request(f"http://127.0.0.1:{admin}/live")]
        if answers != [200, 401, 200, 404, 200]:
            fail(f"the answers were {answers}")
        lines = lambda: log.read_text().splitlines()[marks:]
        until("two lines", lambda: len(lines()) >= 2, 10)
    finally:
        process.terminate()
        process.wait(20)
    lines = [line for line in log.read_text().splitlines()[marks:] if re.match(r"\d+\.", line)]
    webhook = [line for line in lines if " webhooks " in line]
    fetched = [line for line in lines if " files " in line]
    if len(lines) != 2 or len(webhook) != 1 or len(fetched) != 1:
        fail(f"not one line for each refused request: {lines}")
    if not re.match(r'127\.0\.0\.0 .* 401 .* POST "/social/on/whatsapp/koomessage/report/refused"$', webhook[0]):
        fail(f"the line of a refused webhook: {webhook[0]}")
    if not re.match(r"127\.0\.0\.0 .* 404 .* GET$", fetched[0]):
        fail(f"the line of a refused fetch: {fetched[0]}")
    if "a-secret" in log.read_text():
        fail("the query (after ?) is logged")


if __name__ == "__main__":
    main()
