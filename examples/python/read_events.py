#!/usr/bin/env python3
"""Reads imchannel's events like an AICC back end: delivered at least once, in no order, each processed once.

    pip install -r requirements.txt
    python read_events.py --nats-url nats://127.0.0.1:4222

All replicas share the durable `aicc`. This example keeps its state in memory (processed ids, the highest
status of each message). A back end stores it in its database, and acknowledges after the write.
"""

import argparse
import asyncio
import importlib
import pathlib
import ssl
import sys
import tempfile

import nats
from grpc_tools import protoc

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"
REMEMBERED_IDS_MAX = 100_000


def load_messages():
    """Compiles proto/imchannel/v1 and returns the modules of the events."""
    out = tempfile.mkdtemp()
    files = sorted(str(path) for path in PROTO.glob("imchannel/v1/*.proto"))
    well_known = pathlib.Path(protoc.__file__).parent / "_proto"
    status = protoc.main(["protoc", f"-I{PROTO}", f"-I{well_known}", f"--python_out={out}", *files])
    if status != 0:
        sys.exit("the .proto files do not compile")
    sys.path.insert(0, out)
    report = importlib.import_module("imchannel.v1.report_pb2")
    message = importlib.import_module("imchannel.v1.message_pb2")
    result = importlib.import_module("imchannel.v1.result_pb2")
    account = importlib.import_module("imchannel.v1.account_pb2")
    customer = importlib.import_module("imchannel.v1.customer_pb2")
    return report, message, result, account, customer


def name_of(enum, number, prefix):
    """The name of an enum's value. A later version may have more values than these files."""
    known = enum.DESCRIPTOR.values_by_number.get(number)
    return known.name.removeprefix(prefix) if known else number


class Reader:
    def __init__(self):
        self.report_pb2, self.message_pb2, self.result_pb2, self.account_pb2, self.customer_pb2 = load_messages()
        self.seen = {}
        self.furthest = {}

    def take(self, msg):
        """Processes one event; returns whether it was new."""
        kind = (msg.headers or {}).get("ce-type")
        event_id = (msg.headers or {}).get("ce-id")
        if event_id in self.seen:
            return False
        self.seen[event_id] = True
        if len(self.seen) > REMEMBERED_IDS_MAX:
            self.seen.pop(next(iter(self.seen)))
        if kind == "imchannel.v1.ReportEvent":
            self.take_report(self.report_pb2.ReportEvent.FromString(msg.data))
        elif kind == "imchannel.v1.InboundMessage":
            self.take_message(self.message_pb2.InboundMessage.FromString(msg.data))
        elif kind == "imchannel.v1.SendResult":
            self.take_result(self.result_pb2.SendResult.FromString(msg.data))
        elif kind == "imchannel.v1.AccountEvent":
            self.take_account_event(self.account_pb2.AccountEvent.FromString(msg.data))
        elif kind == "imchannel.v1.CustomerEvent":
            self.take_customer_event(self.customer_pb2.CustomerEvent.FromString(msg.data))
        return True

    def take_result(self, event):
        outcome = self.result_pb2.SendOutcome.Name(event.outcome).removeprefix("SEND_OUTCOME_")
        # A command that could not be parsed, or has an unknown channel, is identified by its sequence in COMMANDS.
        command = event.command_id or f"of command {event.command_sequence}"
        print(f"{event.bsp or 'none'}/{event.channel_id or 'unknown'} result {command} is {outcome}", flush=True)

    def take_report(self, event):
        # The number of a status is its rank: a late PENDING never replaces a DELIVERED. A message to a group has a status
        # for each participant.
        key = (event.bsp, event.channel_id, event.message_id, event.participant)
        if event.status <= self.furthest.get(key, 0):
            return
        self.furthest[key] = event.status
        status = name_of(self.report_pb2.ReportStatus, event.status, "REPORT_STATUS_")
        for_whom = f" for {event.participant}" if event.participant else ""
        print(f"{event.bsp}/{event.channel_id} report {event.message_id} is {status}{for_whom}", flush=True)

    def take_message(self, event):
        content = event.WhichOneof("content")
        texts = {"text": event.text.body, "form_reply": event.form_reply.response_json}
        text = texts.get(content, f"({content})")
        # The first message after a tap on an advertisement names the advertisement.
        by = f" by {event.referral.source_type} {event.referral.source_id}" if event.HasField("referral") else ""
        print(f"{event.bsp}/{event.channel_id} message {event.message_id} from {event.sender}{by}: {text}", flush=True)

    def take_account_event(self, event):
        kind = name_of(self.account_pb2.AccountEventKind, event.kind, "ACCOUNT_EVENT_KIND_")
        words = [event.template.name, event.template.status, event.number.limit, event.decision]
        about = " ".join(word for word in words if word)
        print(f"{event.bsp}/{event.channel_id} account {kind} {about}", flush=True)

    def take_customer_event(self, event):
        # Most important is a customer who opted out: send no more marketing messages there.
        kind = name_of(self.customer_pb2.CustomerEventKind, event.kind, "CUSTOMER_EVENT_KIND_")
        who = event.customer.number or event.customer.user_id
        payment = f" {event.payment.reference} is {event.payment.status}" if event.HasField("payment") else ""
        before = f", {event.old_number or event.old_user_id} before" if event.old_number or event.old_user_id else ""
        print(f"{event.bsp}/{event.channel_id} customer {who} {kind}{payment}{before}", flush=True)


def connect(args):
    # nats-py uses TLS if the server requires it, regardless of the URL.
    tls = ssl.create_default_context(cafile=args.ca_file)
    # The AICC back end's user may subscribe only to this inbox prefix. Without a login it does no harm.
    return nats.connect(args.nats_url, nkeys_seed=args.nkey_file, tls=tls, inbox_prefix="_INBOX_aicc")


async def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--nats-url", default="nats://127.0.0.1:4222")
    args.add_argument("--nkey-file", help="seed of the AICC back end's user, if the server requires one")
    args.add_argument("--ca-file", help="PEM file with the CA of a tls:// server, if it is not a system CA")
    args.add_argument("--count", type=int, help="exit after this number of events")
    args = args.parse_args()
    client = await connect(args)
    subscription = await client.jetstream().pull_subscribe_bind("aicc", "EVENTS")
    reader, taken = Reader(), 0
    while args.count is None or taken < args.count:
        try:
            messages = await subscription.fetch(100, timeout=5)
        except asyncio.TimeoutError:
            # nats.errors.TimeoutError is a subclass; nats-py raises both.
            continue
        for msg in messages:
            taken += reader.take(msg)
            await msg.ack()
    await client.drain()


if __name__ == "__main__":
    asyncio.run(main())
