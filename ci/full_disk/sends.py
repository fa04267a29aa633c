"""A back end that sends while NATS's disk fills up, and the simulated Infobip that takes the messages.

The back end publishes one command after another, each until JetStream has acknowledged it, and reads EVENTS by its durable.
"""

import json
import re
import socket
import threading
import time

import lab

CHANNEL = "measure-0"
RUN = "sends"
PAUSE_S = 0.02
ANSWER_LIMIT_S = 2
# Field numbers of SendResult in result.proto.
EVENT_ID, COMMAND_ID, OUTCOME = 1, 4, 6
ACCEPTED, UNKNOWN = 1, 4
# When a sender asks for a message whose call it is not sure of; in operation the last time is after five minutes.
LOOKUP_DELAYS = "1s,5s,10s"


class Bare:
    """A connection to NATS by its bare protocol."""

    def __init__(self, nats):
        self.socket = None
        for node in nats.nodes:
            try:
                self.socket = socket.create_connection(("127.0.0.1", node["client"]), timeout=3)
                break
            except OSError:
                continue
        if self.socket is None:
            raise OSError("no server takes connections")
        self.lines = self.socket.makefile("rb")
        self.lines.readline()
        self.socket.sendall(b'CONNECT {"verbose":false,"headers":true}\r\nSUB _INBOX.check 1\r\n')

    def close(self):
        self.lines.close()
        self.socket.close()

    def send(self, subject, payload=b"", reply="_INBOX.check", headers=None):
        head = b""
        if headers:
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            head = f"NATS/1.0\r\n{lines}\r\n".encode()
        verb, sizes = ("HPUB", f"{len(head)} {len(head) + len(payload)}") if head else ("PUB", len(payload))
        self.socket.sendall(f"{verb} {subject} {reply} {sizes}\r\n".encode() + head + payload + b"\r\n")

    def receive(self):
        """(reply subject, headers, payload) of the next message."""
        while line := self.lines.readline():
            parts = line.split()
            if parts[0] in (b"MSG", b"HMSG"):
                sizes = 2 if parts[0] == b"HMSG" else 1
                reply = parts[3] if len(parts) == 4 + sizes else b""
                body = self.lines.read(int(parts[-1]) + 2)[:-2]
                split = int(parts[-2]) if sizes == 2 else 0
                return reply.decode(), body[:split], body[split:]
            if parts[0] == b"PING":
                self.socket.sendall(b"PONG\r\n")
        raise OSError("the connection is gone")

    def ask(self, subject, payload=b"", headers=None):
        """The answer as JSON; empty when nothing takes the subject now."""
        self.send(subject, payload, headers=headers)
        _, status, answer = self.receive()
        return {} if status else json.loads(answer)


class Reader(threading.Thread):
    """The back end's reading side: takes EVENTS by its durable and acknowledges."""

    def __init__(self, nats):
        super().__init__(daemon=True)
        self.nats, self.ended = nats, False
        # Names of webhooks, and by command the ids and outcomes of its results.
        self.seen, self.results = set(), {}
        self.start()

    def run(self):
        while not self.ended:
            try:
                self.read(Bare(self.nats))
            except (OSError, ValueError):
                time.sleep(0.2)

    def read(self, connection):
        while not self.ended:
            wanted = json.dumps({"batch": 500, "expires": 1_000_000_000}).encode()
            connection.send("$JS.API.CONSUMER.MSG.NEXT.EVENTS.aicc", wanted)
            while True:
                reply, _, body = connection.receive()
                if not reply:
                    break
                self.take(body)
                connection.send(reply, b"+ACK", "_INBOX.other")

    def take(self, body):
        webhooks = re.findall(rb"full-\d+-end", body)
        self.seen.update(found.decode() for found in webhooks)
        if webhooks or f"{RUN}-".encode() not in body:
            return
        fields = top_fields(body)
        found = self.results.setdefault(fields[COMMAND_ID].decode(), {})
        found[fields[EVENT_ID].decode()] = fields.get(OUTCOME, 0)


def top_fields(message):
    """The fields of a protobuf message: the last value of each."""
    at, fields = 0, {}
    while at < len(message):
        tag, at = varint(message, at)
        value, at = varint(message, at)
        if tag & 7 == 2:
            value, at = message[at : at + value], at + value
        elif tag & 7 != 0:
            raise ValueError(f"unexpected wire type in tag {tag}")
        fields[tag >> 3] = value
    return fields


def varint(message, at):
    value = shift = 0
    while True:
        byte = message[at]
        value, at, shift = value | (byte & 0x7F) << shift, at + 1, shift + 7
        if byte < 0x80:
            return value, at


class Sends:
    """The back end's sending side, the sender, and the simulated Infobip."""

    def __init__(self, home, nats, channels, account):
        self.nats, self.numbers, self.stored, self.is_paused = nats, 0, set(), threading.Event()
        # No gateway: the reports would be webhooks that nothing here knows.
        args = ["simulate", "infobip", "--json", "--channels", channels, "--listen", f"127.0.0.1:{account}", "--latency", "20ms"]
        args += ["--allow-duplicate-ids", "--gateway", f"http://127.0.0.1:{lab.free_port()}", "--api-key", lab.API_KEY]
        self.infobip = home.program("imchannel", nats, args)
        lab.until(lambda: "listen" in self.infobip.log.read_text(), "the simulated Infobip listens")
        settings = {"REDIS_URL": "redis://127.0.0.1:1", "MEDIA_PUBLIC_URL": "http://127.0.0.1:1", "LOOKUP_DELAYS": LOOKUP_DELAYS}
        self.sender = home.service("sender", nats, **{f"IMCHANNEL_{name}": value for name, value in settings.items()})
        self.thread = None

    def go_on(self):
        """Sends until `pause`."""
        self.is_paused.clear()
        self.thread = threading.Thread(target=self.publish, daemon=True)
        self.thread.start()

    def pause(self):
        """Waits until the command that is being published is stored."""
        self.is_paused.set()
        self.thread.join()

    def publish(self):
        while not self.is_paused.is_set():
            self.numbers += 1
            self.store(self.numbers)
            time.sleep(PAUSE_S)

    def store(self, number):
        """Publishes a command until it is acknowledged, always under the same id."""
        command = lab.text_command(CHANNEL, number, RUN, 25)
        headers = {"Nats-Msg-Id": f"{CHANNEL}.{RUN}-{number}"}
        while True:
            connection = None
            try:
                connection = Bare(self.nats)
                connection.socket.settimeout(ANSWER_LIMIT_S)
                answer = connection.ask(f"imchannel.command.send.{CHANNEL}", command, headers)
                # Without a sequence it is an error, or the server knows the id and has not stored the command (2.10).
                if answer.get("seq"):
                    self.stored.add(f"{RUN}-{number}")
                    return
            except (OSError, ValueError):
                pass
            finally:
                if connection:
                    connection.close()
            time.sleep(0.1)

    def received(self):
        """How often each message has come to its customer, by command."""
        times = {}
        for line in self.infobip.log.read_text().splitlines():
            # The simulator logs other lines than JSON, and its last line may be half written.
            found = re.search(r'"received":"imc-([\w-]+)"', line)
            if found:
                times[found[1]] = times.get(found[1], 0) + 1
        return times

    def faults(self, results):
        """What is wrong now: commands without exactly one result, and messages that went out twice or not as the result says."""
        received, faults = self.received(), []
        for name in sorted(self.stored | set(results) | set(received)):
            outcomes, times = list(results.get(name, {}).values()), received.get(name, 0)
            # The outcome of a call that may have been made before the disk was full cannot be known.
            allowed = {ACCEPTED: (1,), UNKNOWN: (0, 1)}.get(outcomes[0], (0,)) if len(outcomes) == 1 else ()
            if times not in allowed:
                faults.append(f"{name}: outcomes {outcomes}, {times} times at its customer")
        return faults

    def unknown(self, results):
        """How many commands have the outcome UNKNOWN."""
        return sum(UNKNOWN in found.values() for found in results.values())
