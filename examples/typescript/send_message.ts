/**
 * Sends one WhatsApp text through imchannel, and waits for its outcome.
 *
 *     npm ci
 *     npm run send --silent -- --nats-url nats://127.0.0.1:4222 --channel CHANNEL --to 8618257518838 --text Hello
 *
 * Exit code 0: the message reached the status of --until. 1: it did not, or not in time. 2: wrong options.
 *
 * Waiting for the events of one message is for trials only. A back end publishes as in this example, and gets the
 * outcomes with all of its events (see read_events.ts).
 */

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { DeliverPolicy, jetstream, type JetStreamClient, type JsMsg } from "@nats-io/jetstream";
import { connect, headers, nkeyAuthenticator } from "@nats-io/transport-node";

// Generated from ../../proto by `npm run generate`, which `npm run send` runs first; with the names of the .proto files.
import { imchannel } from "./events.js";

const { ReportEvent, ReportStatus, SendOutcome, SendResult } = imchannel.v1;
const ACK_WAIT_MS = 2_000;
const GIVE_BACK_MS = 5_000;
// A message has reached a goal when a report has this status or one of a higher rank.
const GOALS = new Map<string, imchannel.v1.ReportStatus>([
  ["accepted", ReportStatus.REPORT_STATUS_PENDING],
  ["delivered", ReportStatus.REPORT_STATUS_DELIVERED],
  ["read", ReportStatus.REPORT_STATUS_READ],
]);

/** The state of one command according to its events. */
class Watch {
  private readonly seen = new Set<string>();
  private outcome?: imchannel.v1.SendOutcome;
  private furthest = 0;
  private end!: (reached: boolean) => void;
  /** Whether the message reached the goal. */
  readonly reached = new Promise<boolean>((resolve) => (this.end = resolve));

  constructor(
    private readonly commandId: string,
    private readonly messageId: string,
    private readonly goal: imchannel.v1.ReportStatus,
  ) {}

  /** Processes an event if it is about this command; returns whether it is. */
  take(msg: JsMsg): boolean {
    const kind = msg.subject.split(".")[2];
    if (kind !== "send" && kind !== "report") {
      return false;
    }
    const event = kind === "send" ? SendResult.decode(msg.data) : ReportEvent.decode(msg.data);
    // The result of a command without a usable id (for example a reused one) has the message id of the publish.
    const isAnswer = event instanceof SendResult && event.command_msg_id === this.messageId;
    if (event.command_id !== this.commandId && !isAnswer) {
      return false;
    }
    // Events are delivered at least once.
    if (!this.seen.has(event.event_id)) {
      this.seen.add(event.event_id);
      if (event instanceof SendResult) {
        this.takeResult(event);
      } else {
        this.takeReport(event);
      }
    }
    return true;
  }

  private takeResult(event: imchannel.v1.SendResult): void {
    this.outcome = event.outcome;
    if (event.outcome === SendOutcome.SEND_OUTCOME_ACCEPTED) {
      // Equivalent to this report.
      this.furthest = Math.max(this.furthest, ReportStatus.REPORT_STATUS_PENDING);
    }
    // A later version may have more values than these files.
    const outcome = SendOutcome[event.outcome]?.replace("SEND_OUTCOME_", "") ?? event.outcome;
    const faults = event.faults.map((fault) => `${fault.field}: ${fault.rule}`);
    this.say(event, `result ${this.commandId} is ${outcome}`, faults);
  }

  private takeReport(event: imchannel.v1.ReportEvent): void {
    // The number of a status is its rank: a late FAILED never replaces a DELIVERED.
    this.furthest = Math.max(this.furthest, event.status);
    const status = ReportStatus[event.status]?.replace("REPORT_STATUS_", "") ?? event.status;
    this.say(event, `report ${event.message_id} is ${status}`, []);
  }

  private say(event: imchannel.v1.SendResult | imchannel.v1.ReportEvent, what: string, faults: string[]): void {
    const reasons = [event.error?.code, event.error?.description, ...faults].filter(Boolean).join("; ");
    console.log(`${event.bsp}/${event.channel_id} ${what}${reasons ? ` (${reasons})` : ""}`);
    this.decide();
  }

  private decide(): void {
    // Events have no order, so a report may arrive before the result.
    if (this.outcome === undefined) {
      return;
    }
    const lost: number[] = [ReportStatus.REPORT_STATUS_FAILED, ReportStatus.REPORT_STATUS_DELETED];
    if (lost.includes(this.furthest) || this.furthest < ReportStatus.REPORT_STATUS_PENDING) {
      // Without a report the result decides: REJECTED, EXPIRED or UNKNOWN.
      this.end(false);
    } else if (this.furthest >= this.goal) {
      this.end(true);
    }
  }
}

function refuse(why: string): never {
  console.error(`send_message: ${why}`);
  process.exit(2);
}

function parse() {
  try {
    return parseArgs({
      options: {
        "nats-url": { type: "string", default: "nats://127.0.0.1:4222" },
        // Seed of the AICC back end's user, if the server requires one.
        "nkey-file": { type: "string" },
        // PEM file with the CA of a tls:// server, if it is not a system CA.
        "ca-file": { type: "string" },
        // The channel's id.
        channel: { type: "string" },
        // The customer's number in international form.
        to: { type: "string" },
        text: { type: "string" },
        "command-id": { type: "string", default: randomUUID() },
        // The status to wait for: accepted, delivered or read.
        until: { type: "string", default: "read" },
        // Seconds to wait.
        timeout: { type: "string", default: "60" },
      },
    }).values;
  } catch (error) {
    refuse(String(error));
  }
}

const args = parse();
const { channel, to, text, until, "command-id": commandId } = args;
const goal = GOALS.get(until);
const timeout = Number(args.timeout) * 1_000;
if (!channel || !to || !text || goal === undefined || !(timeout > 0)) {
  refuse("needs --channel, --to and --text; --until is accepted, delivered or read; --timeout is in seconds");
}

/** Watches with ephemeral consumers, which end with the connection and affect no other consumer. */
async function watchBeside(stream: JetStreamClient, channel: string, watch: Watch): Promise<void> {
  // Servers before 2.10 accept one filter per consumer.
  for (const kind of ["send", "report"]) {
    const consumer = await stream.consumers.get("EVENTS", {
      filter_subjects: `imchannel.event.${kind}.*.${channel}`,
      deliver_policy: DeliverPolicy.New,
    });
    await consumer.consume({ callback: (msg) => void watch.take(msg) });
  }
}

/**
 * Watches with the durable `aicc`, for the AICC back end's user, which may not create consumers.
 *
 * Every event is delivered to one reader only: a back end that runs at the same time may get those of this command. Events
 * about other commands get a nak and are redelivered, here or there. The nak has a delay, because the server delivers
 * redeliveries before new events. It delivers at most 20 000 unacknowledged events: if more wait for
 * the back end, none of this command arrive.
 */
async function watchByDurable(stream: JetStreamClient, watch: Watch): Promise<void> {
  const consumer = await stream.consumers.get("EVENTS", "aicc");
  const callback = (msg: JsMsg) => (watch.take(msg) ? msg.ack() : msg.nak(GIVE_BACK_MS));
  await consumer.consume({ max_messages: 100, callback });
}

async function send(channel: string, goal: imchannel.v1.ReportStatus): Promise<boolean> {
  const stream = jetstream(client);
  // The stream compares ids of all channels.
  const messageId = `${channel}.${commandId}`;
  const watch = new Watch(commandId, messageId, goal);
  // Before the command is published, so that no event is missed.
  await (args["nkey-file"] ? watchByDurable(stream, watch) : watchBeside(stream, channel, watch));
  // `SendCommand` as proto3 JSON, for callers without generated code; protobuf works too.
  const command = { commandId, channelId: channel, recipient: to, text: { body: text } };
  const contentType = headers();
  contentType.set("Content-Type", "application/json");
  const publish = () => stream.publish(`imchannel.command.send.${channel}`, JSON.stringify(command), {
    headers: contentType,
    // Without an acknowledgement the command may or may not be stored. Publish it again with the same
    // Nats-Msg-Id: the stream drops the duplicate, and after its duplicate window the gateway still sends a
    // command once. A new id would be a second message to the customer.
    msgID: messageId,
    timeout: ACK_WAIT_MS,
    retries: Infinity,
  });
  let ack = await publish();
  // A cluster of nats-server 2.10 may know an id whose message it has not stored: a duplicate with sequence 0.
  while (ack.seq === 0) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    ack = await publish();
  }
  console.log(`command ${commandId} is ${ack.duplicate ? "already " : ""}stored`);
  return watch.reached;
}

const late = setTimeout(() => {
  console.error(`timed out: the message is not ${until}`);
  process.exit(1);
}, timeout);
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
process.exitCode = (await send(channel, goal)) ? 0 : 1;
clearTimeout(late);
await client.drain();
