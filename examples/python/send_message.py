#!/usr/bin/env python3
"""Sends one WhatsApp text through imchannel, and waits for its outcome.

    pip install -r requirements.txt
    python send_message.py --nats-url nats://127.0.0.1:4222 --channel CHANNEL --to 8618257518838 --text Hello

Exit code 0: the message reached the status of --until. 1: it did not, or not in time. 2: wrong options.

Waiting for the events of one message is for trials only. A back end publishes as in this example, and gets the
outcomes with all of its events (see read_events.py).
"""

import argparse
import asyncio
import importlib
import pathlib
import ssl
import sys
import tempfile
import uuid

import nats
from grpc_tools import protoc
from nats.js import api

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"
ACK_WAIT_S = 2
GIVE_BACK_S = 5
# A message has reached a goal when a report has this status or one of a higher rank.
GOALS = {"accepted": "PENDING", "delivered": "DELIVERED", "read": "READ"}


def load_messages():
    """Compiles proto/imchannel/v1 and returns the modules of the command, its result and its reports."""
    out = tempfile.mkdtemp()
    files = sorted(str(path) for path in PROTO.glob("imchannel/v1/*.proto"))
    well_known = pathlib.Path(protoc.__file__).parent / "_proto"
    status = protoc.main(["protoc", f"-I{PROTO}", f"-I{well_known}", f"--python_out={out}", *files])
    if status != 0:
        sys.exit("the .proto files do not compile")
    sys.path.insert(0, out)
    return [importlib.import_module(f"imchannel.v1.{name}_pb2") for name in ("command", "result", "report")]


def name_of(enum, number, prefix):
    # A later version may have more values than these files.
    known = enum.DESCRIPTOR.values_by_number.get(number)
    return known.name.removeprefix(prefix) if known else str(number)


class Watch:
    """The state of one command according to its events."""

    def __init__(self, result_pb2, report_pb2, command_id, message_id, goal):
        self.result_pb2, self.report_pb2 = result_pb2, report_pb2
        self.command_id = command_id
        self.message_id = message_id
        self.goal = self.rank(GOALS[goal])
        self.seen = set()
        self.outcome = None
        self.furthest = 0
        # Whether the message reached the goal.
        self.reached = asyncio.get_running_loop().create_future()

    def rank(self, status):
        return self.report_pb2.ReportStatus.Value(f"REPORT_STATUS_{status}")

    async def take(self, msg):
        """Processes an event if it is about this command; returns whether it is."""
        kind = msg.subject.split(".")[2]
        if kind == "send":
            event, handle = self.result_pb2.SendResult.FromString(msg.data), self.take_result
        elif kind == "report":
            event, handle = self.report_pb2.ReportEvent.FromString(msg.data), self.take_report
        else:
            return False
        # The result of a command without a usable id (for example a reused one) has the message id of the publish.
        is_answer = kind == "send" and event.command_msg_id == self.message_id
        if event.command_id != self.command_id and not is_answer:
            return False
        # Events are delivered at least once.
        if event.event_id not in self.seen:
            self.seen.add(event.event_id)
            handle(event)
        return True

    def take_result(self, event):
        self.outcome = name_of(self.result_pb2.SendOutcome, event.outcome, "SEND_OUTCOME_")
        if self.outcome == "ACCEPTED":
            # Equivalent to this report.
            self.furthest = max(self.furthest, self.rank("PENDING"))
        faults = [f"{fault.field}: {fault.rule}" for fault in event.faults]
        self.say(event, f"result {self.command_id} is {self.outcome}", faults)

    def take_report(self, event):
        # The number of a status is its rank: a late FAILED never replaces a DELIVERED.
        self.furthest = max(self.furthest, event.status)
        status = name_of(self.report_pb2.ReportStatus, event.status, "REPORT_STATUS_")
        self.say(event, f"report {event.message_id} is {status}", [])

    def say(self, event, what, faults):
        reasons = "; ".join(part for part in (event.error.code, event.error.description, *faults) if part)
        print(f"{event.bsp}/{event.channel_id} {what}{f' ({reasons})' if reasons else ''}", flush=True)
        self.decide()

    def decide(self):
        # Events have no order, so a report may arrive before the result.
        if self.outcome is None or self.reached.done():
            return
        if self.furthest in (self.rank("FAILED"), self.rank("DELETED")) or self.furthest < self.rank("PENDING"):
            # Without a report the result decides: REJECTED, EXPIRED or UNKNOWN.
            self.reached.set_result(False)
        elif self.furthest >= self.goal:
            self.reached.set_result(True)


def connect(args):
    # nats-py uses TLS if the server requires it, regardless of the URL.
    tls = ssl.create_default_context(cafile=args.ca_file)
    # The AICC back end's user may subscribe only to this inbox prefix. Without a login it does no harm.
    return nats.connect(args.nats_url, nkeys_seed=args.nkey_file, tls=tls, inbox_prefix="_INBOX_aicc")


async def watch_beside(stream, channel, watch):
    """Watches with ephemeral consumers, which end with the connection and affect no other consumer."""
    # Servers before 2.10 accept one filter per consumer.
    for kind in ("send", "report"):
        subject = f"imchannel.event.{kind}.*.{channel}"
        new = api.DeliverPolicy.NEW
        await stream.subscribe(subject, stream="EVENTS", cb=watch.take, ordered_consumer=True, deliver_policy=new)


async def watch_by_durable(stream, watch):
    """Watches with the durable `aicc`, for the AICC back end's user, which may not create consumers.

    Every event is delivered to one reader only: a back end that runs at the same time may get those of this command. Events
    about other commands get a nak and are redelivered, here or there. The nak has a delay, because the server delivers
    redeliveries before new events. It delivers at most 20 000 unacknowledged events: if more wait for
    the back end, none of this command arrive.
    """
    subscription = await stream.pull_subscribe_bind("aicc", "EVENTS")
    while not watch.reached.done():
        try:
            messages = await subscription.fetch(100, timeout=1)
        except asyncio.TimeoutError:
            continue
        for msg in messages:
            if await watch.take(msg):
                await msg.ack()
            else:
                await msg.nak(delay=GIVE_BACK_S)


async def publish(stream, subject, body, headers):
    """Publishes until COMMANDS has acknowledged the message."""
    while True:
        try:
            ack = await stream.publish(subject, body, timeout=ACK_WAIT_S, headers=headers)
            # A cluster of nats-server 2.10 may know an id whose message it has not stored: a duplicate with sequence 0.
            if ack.seq:
                return ack
            await asyncio.sleep(0.5)
        except (nats.errors.TimeoutError, nats.js.errors.NoStreamResponseError):
            # Without an acknowledgement the command may or may not be stored. Publish it again with the same
            # Nats-Msg-Id: the stream drops the duplicate, and after its duplicate window the gateway still sends
            # a command once. A new id would be a second message to the customer.
            print("no acknowledgement, publishing again", file=sys.stderr, flush=True)
            await asyncio.sleep(0.5)


async def send(args):
    command_pb2, result_pb2, report_pb2 = load_messages()
    client = await connect(args)
    stream = client.jetstream()
    # The stream compares ids of all channels.
    message_id = f"{args.channel}.{args.command_id}"
    watch = Watch(result_pb2, report_pb2, args.command_id, message_id, args.until)
    if not args.nkey_file:
        # Before the command is published, so that no event is missed. The durable gets all events.
        await watch_beside(stream, args.channel, watch)
    command = command_pb2.SendCommand(
        command_id=args.command_id,
        channel_id=args.channel,
        recipient=args.to,
        text=command_pb2.OutboundText(body=args.text),
    )
    headers = {"Nats-Msg-Id": message_id, "Content-Type": "application/protobuf"}
    subject = f"imchannel.command.send.{args.channel}"
    ack = await publish(stream, subject, command.SerializeToString(), headers)
    print(f"command {args.command_id} is {'already ' if ack.duplicate else ''}stored", flush=True)
    if args.nkey_file:
        await watch_by_durable(stream, watch)
    reached = await watch.reached
    await client.drain()
    return reached


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--nats-url", default="nats://127.0.0.1:4222")
    args.add_argument("--nkey-file", help="seed of the AICC back end's user, if the server requires one")
    args.add_argument("--ca-file", help="PEM file with the CA of a tls:// server, if it is not a system CA")
    args.add_argument("--channel", required=True, help="the channel's id")
    args.add_argument("--to", required=True, help="the customer's number in international form")
    args.add_argument("--text", required=True)
    args.add_argument("--command-id", default=str(uuid.uuid4()), help="a new UUID by default")
    args.add_argument("--until", choices=GOALS, default="read", help="the status to wait for (default: read)")
    args.add_argument("--timeout", type=float, default=60, help="seconds to wait (default: 60)")
    args = args.parse_args()
    try:
        reached = asyncio.run(asyncio.wait_for(send(args), args.timeout))
    except asyncio.TimeoutError:
        sys.exit(f"timed out: the message is not {args.until}")
    sys.exit(0 if reached else 1)


if __name__ == "__main__":
    main()
