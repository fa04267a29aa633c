// Receives Infobip's WhatsApp reports and stores each in JetStream before it answers: Fastify with nats.js.
//
// npm ci
// NATS_URL=nats://127.0.0.1:4222 PORT=8000 CHANNEL=1001 PASSWORD=secret node app.js

import { hash, timingSafeEqual } from "node:crypto";

import { jetstream } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import fastify from "fastify";

const BODY_LIMIT = 960 * 1024;
const STORE_TIMEOUT_MS = 5_000;
const passwords = new Map([[process.env.CHANNEL, Buffer.from(process.env.PASSWORD)]]);

const client = await connect({ servers: process.env.NATS_URL, maxReconnectAttempts: -1, noAsyncTraces: true });
const js = jetstream(client, { timeout: STORE_TIMEOUT_MS });
const app = fastify({ bodyLimit: BODY_LIMIT });

// Bodies are stored unchanged, with any media type.
app.removeAllContentTypeParsers();
app.addContentTypeParser("*", { parseAs: "buffer" }, (request, body, done) => done(null, body));

// Runs before the body is read.
async function authenticate(request, reply) {
  const password = passwords.get(request.params.channel);
  // Node reads headers as Latin-1.
  const presented = Buffer.from(request.headers.accountkey ?? "", "latin1");
  // timingSafeEqual wants equal lengths, so the length is not secret.
  if (password?.length !== presented.length || !timingSafeEqual(password, presented)) {
    return reply.code(401).send();
  }
}

app.post("/social/on/whatsapp/infobip/report/:channel", { onRequest: authenticate }, async (request, reply) => {
  const { channel } = request.params;
  const body = request.body ?? Buffer.alloc(0);
  try {
    // The channel is part of the id: two channels may be sent the same body.
    await js.publish(`imchannel.webhook.infobip.${channel}`, body, { msgID: `${channel}-${hash("sha256", body)}` });
  } catch {
    return reply.code(503).send();
  }
  return reply.code(200).send();
});

process.once("SIGTERM", async () => {
  await app.close();
  await client.drain();
});
await app.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });
console.log("ready");
