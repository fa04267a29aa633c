/**
 * Reads imchannel's events like an AICC back end: delivered at least once, in no order, each processed once.
 *
 *     npm ci
 *     npm start --silent -- --nats-url nats://127.0.0.1:4222
 *
 * All replicas share the durable `aicc`. This example keeps its state in memory (processed ids, the highest
 * status of each message). A back end stores it in its database, and acknowledges after the write.
 */

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { jetstream, type JsMsg } from "@nats-io/jetstream";
import { connect, nkeyAuthenticator } from "@nats-io/transport-node";

// Generated from ../../proto by `npm run generate`, which `npm start` runs first; with the names of the .proto files.
import { imchannel } from "./events.js";

const { AccountEvent, AccountEventKind, CustomerEvent, CustomerEventKind } = imchannel.v1;
const { InboundMessage, ReportEvent, ReportStatus, SendOutcome, SendResult } = imchannel.v1;
const REMEMBERED_IDS_MAX = 100_000;

class Reader {
  private readonly seen = new Set<string>();
  private readonly furthest = new Map<string, number>();

  /** Processes one event; returns whether it was new. */
  take(msg: JsMsg): boolean {
    const kind = msg.headers?.get("ce-type");
    const eventId = msg.headers?.get("ce-id") ?? "";
    if (this.seen.has(eventId)) {
      return false;
    }
    this.seen.add(eventId);
    if (this.seen.size > REMEMBERED_IDS_MAX) {
      const [oldest] = this.seen;
      this.seen.delete(oldest!);
    }
    if (kind === "imchannel.v1.ReportEvent") {
      this.takeReport(ReportEvent.decode(msg.data));
    } else if (kind === "imchannel.v1.InboundMessage") {
      this.takeMessage(InboundMessage.decode(msg.data));
    } else if (kind === "imchannel.v1.SendResult") {
      this.takeResult(SendResult.decode(msg.data));
    } else if (kind === "imchannel.v1.AccountEvent") {
      this.takeAccountEvent(AccountEvent.decode(msg.data));
    } else if (kind === "imchannel.v1.CustomerEvent") {
      this.takeCustomerEvent(CustomerEvent.decode(msg.data));
    }
    return true;
  }

  private takeAccountEvent(event: imchannel.v1.AccountEvent): void {
    const kind = AccountEventKind[event.kind]?.replace("ACCOUNT_EVENT_KIND_", "") ?? event.kind;
    const words = [event.template?.name, event.template?.status, event.number?.limit, event.decision];
    const about = words.filter((word) => word).join(" ");
    console.log(`${event.bsp}/${event.channel_id} account ${kind} ${about}`);
  }

  private takeCustomerEvent(event: imchannel.v1.CustomerEvent): void {
    // Most important is a customer who opted out: send no more marketing messages there.
    const kind = CustomerEventKind[event.kind]?.replace("CUSTOMER_EVENT_KIND_", "") ?? event.kind;
    const who = event.customer?.number || event.customer?.user_id;
    const payment = event.payment ? ` ${event.payment.reference} is ${event.payment.status}` : "";
    const old = event.old_number || event.old_user_id;
    const before = old ? `, ${old} before` : "";
    console.log(`${event.bsp}/${event.channel_id} customer ${who} ${kind}${payment}${before}`);
  }

  private takeResult(event: imchannel.v1.SendResult): void {
    const outcome = SendOutcome[event.outcome]?.replace("SEND_OUTCOME_", "") ?? event.outcome;
    // A command that could not be parsed, or has an unknown channel, is identified by its sequence in COMMANDS.
    const command = event.command_id || `of command ${event.command_sequence}`;
    console.log(`${event.bsp || "none"}/${event.channel_id || "unknown"} result ${command} is ${outcome}`);
  }

  private takeReport(event: imchannel.v1.ReportEvent): void {
    // The number of a status is its rank: a late PENDING never replaces a DELIVERED. A message to a group has a status for
    // each participant.
    const key = `${event.bsp}/${event.channel_id}/${event.message_id}/${event.participant}`;
    if (event.status <= (this.furthest.get(key) ?? 0)) {
      return;
    }
    this.furthest.set(key, event.status);
    const status = ReportStatus[event.status]?.replace("REPORT_STATUS_", "") ?? event.status;
    const forWhom = event.participant ? ` for ${event.participant}` : "";
    console.log(`${event.bsp}/${event.channel_id} report ${event.message_id} is ${status}${forWhom}`);
  }

  private takeMessage(event: imchannel.v1.InboundMessage): void {
    const texts: Record<string, string | null | undefined> = {
      text: event.text?.body,
      form_reply: event.form_reply?.response_json,
    };
    const text = texts[event.content ?? ""] ?? `(${event.content})`;
    // The first message after a tap on an advertisement names the advertisement.
    const by = event.referral ? ` by ${event.referral.source_type} ${event.referral.source_id}` : "";
    console.log(`${event.bsp}/${event.channel_id} message ${event.message_id} from ${event.sender}${by}: ${text}`);
  }
}

const { values: args } = parseArgs({
  options: {
    "nats-url": { type: "string", default: "nats://127.0.0.1:4222" },
    // Seed of the AICC back end's user, if the server requires one.
    "nkey-file": { type: "string" },
    // PEM file with the CA of a tls:// server, if it is not a system CA.
    "ca-file": { type: "string" },
    // Exits after this number of events. Events that were fetched beyond it are redelivered.
    count: { type: "string" },
  },
});
const count = Number(args.count ?? Infinity);
const seed = args["nkey-file"] && Buffer.from(readFileSync(args["nkey-file"], "utf8").trim());
const client = await connect({
  servers: args["nats-url"],
  maxReconnectAttempts: -1,
  authenticator: seed ? nkeyAuthenticator(seed) : undefined,
  // Without this option nats.js uses TLS only if the server requires it, regardless of the URL.
  tls: args["nats-url"].startsWith("tls://") ? { caFile: args["ca-file"] } : undefined,
  // The AICC back end's user may subscribe only to this inbox prefix. Without a login it does no harm.
  inboxPrefix: "_INBOX_aicc",
});
const consumer = await jetstream(client).consumers.get("EVENTS", "aicc");
const reader = new Reader();
let taken = 0;
for await (const msg of await consumer.consume({ max_messages: 100 })) {
  taken += Number(reader.take(msg));
  msg.ack();
  if (taken >= count) {
    break;
  }
}
await client.drain();
