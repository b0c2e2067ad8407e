// The JavaScript client of docs/examples in Node, against a gateway of its own: node client.mjs GATEWAY EXAMPLES
// Prints one line for each behaviour; exits with 1 if any failed.
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { writeFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { connect as natsConnect } from "@nats-io/transport-node";
import WebSocket, { WebSocketServer } from "ws";
import { Gateway, Line, check, equal, exit, rejectedAs, until } from "./rig.mjs";

const [binary, examples] = process.argv.slice(2).map((path) => resolve(path));
const { Tidegate } = await import(pathToFileURL(join(examples, "tidegate.js")));

const frames = { sent: 0 };
class Counted extends WebSocket {
  send(data) {
    if (data.includes("publish")) frames.sent++;
    super.send(data);
  }
}

const devices = [];
function device(url, options) {
  const d = new Tidegate(url, { WebSocket: Counted, ...options });
  d.seen = [];
  d.errors = [];
  d.on("state", (state, detail) => d.seen.push({ state, ...detail }));
  d.on("error", (err) => d.errors.push(`${err.code}: ${err.message}`));
  devices.push(d);
  return d;
}
const online = (d) => until("online", () => d.state === "online");
const onlineAgain = (d, times) => until(`online ${times} times`, () => d.seen.filter((s) => s.state === "online").length >= times);
const connects = (d) => d.seen.filter((s) => s.state === "online").map((s) => s.resumed);
const numbers = (n) => Array.from({ length: n }, (_, i) => i);

const gateway = await new Gateway(binary, { GATEWAY_WEBSOCKET_PING_INTERVAL: "1s" }).start();
const line = await new Line(gateway.ports.ws).start();
const url = (client) => `ws://127.0.0.1:${line.port}/ws/${client}`;
let nats = await natsConnect({ servers: `127.0.0.1:${gateway.ports.nats}` });

// told is what happened to the devices of a check that failed.
const told = () => devices.map((d) => `      ${d.client}: ${JSON.stringify(d.seen)} ${JSON.stringify(d.errors)}`).join("\n") + `\n${gateway.log}`;

async function it(name, body) {
  await check(`client: ${name}`, body, told);
  await Promise.all(devices.splice(0).map((d) => d.close()));
}

// heard collects what NATS says on a subject.
async function heard(subject) {
  const messages = [];
  nats.subscribe(subject, { callback: (_, m) => messages.push(m) });
  await nats.flush();
  return messages;
}

await it("values of each kind, both ways", async () => {
  const d = device(url("kinds"));
  const up = await heard("kind.up.*");
  const down = [];
  await d.subscribe("kind/down", (m) => down.push(m.value));
  const values = [21.5, { on: true }, null, "warm", "", new Uint8Array([255, 0, 7])];
  for (const [i, value] of values.entries()) await d.publish(`kind/up/${i}`, value, { qos: i % 2 });
  await d.publish("kind/up/6");
  await until("7 messages at NATS", () => up.length === 7);
  equal(["21.5", '{"on":true}', "null", "warm", "", "/wAH", ""], up.map((m, i) => (i === 5 ? Buffer.from(m.data).toString("base64") : m.string())));
  for (const m of up.slice(0, 6)) nats.publish("kind.down", m.data);
  await until("6 messages at the device", () => down.length === 6);
  equal(values.map((v) => [...(v?.buffer ? v : [v])]), down.map((v) => [...(v?.buffer ? v : [v])]));
});

await it("properties, content type, retain, expiry", async () => {
  const d = device(url("props"));
  const options = { qos: 1, retain: true, expiry: 3600, contentType: "text/plain", properties: [["unit", "C"], ["unit", "K"]] };
  await d.publish("props/kept", "attic", options);
  const got = [];
  const subscription = await d.subscribe("props/#", (m) => got.push(m));
  await until("the kept message", () => got.length);
  const { topic, value, retain, expiry, contentType, properties } = got[0];
  equal(["props/kept", "attic", true, "text/plain", options.properties], [topic, value, retain, contentType, properties]);
  if (!(expiry > 3590 && expiry <= 3600)) throw new Error(`expiry is ${expiry}`);
  await d.publish("props/kept", undefined, { qos: 1, retain: true });
  await until("the deletion", () => got.length === 2);
  await subscription.unsubscribe();
  await d.publish("props/kept", "unheard", { qos: 1 });
  equal(2, got.length);
});

await it("requests both ways, and their errors", async () => {
  const d = device(url("asks"));
  nats.subscribe("svc.double", { callback: (_, m) => m.respond(JSON.stringify(2 * m.json())) });
  nats.subscribe("svc.silent", { callback: () => {} });
  await nats.flush();
  equal(42, await d.request("svc/double", 21));
  equal(true, (await rejectedAs("no_responders", d.request("svc/nobody", 1))).temporary);
  await rejectedAs("timeout", d.request("svc/silent", 1, { timeout: 100 }));
  equal(false, (await rejectedAs("bad_topic", d.publish("bad/#", 1))).temporary);
  d.onRequest(async ({ value }) => ({ told: value }));
  d.onRequest("devices/asks/never", () => "another one");
  equal({ told: { get: "state" } }, (await nats.request("devices.asks.down", '{"get":"state"}')).json());
});

await it("what is said in one turn goes in few frames", async () => {
  const d = device(url("batch"));
  await online(d);
  const up = await heard("batch.up");
  frames.sent = 0;
  await Promise.all(numbers(200).map((i) => d.publish("batch/up", i, { qos: 1 })));
  equal(4, frames.sent, "frames");
  await until("200 messages", () => up.length === 200);
  equal(numbers(200), up.map((m) => m.json()));
});

await it("QoS 1 to the device over a line cut again and again: once each, in order", async () => {
  const d = device(url("down"), { resume: 60, inflight: 50 });
  const got = [];
  let cuts = 0;
  await d.subscribe("down/+", async (m) => {
    got.push(m.value);
    await new Promise((yes) => setImmediate(yes));
    if (got.length % 150 === 0 && ++cuts <= 4) line.cut();
  });
  for (const i of numbers(900)) nats.publish(`down.${i % 7}`, String(i));
  await until("900 messages", () => got.length >= 900);
  await d.publish("down/end", "end", { qos: 1 });
  await until("the end", () => got.at(-1) === "end");
  equal([...numbers(900), "end"], got);
  equal([false, true, true, true, true], connects(d), "resumed");
  equal([], d.errors);
});

await it("QoS 1 from the device over a cut line: all of them, in order", async () => {
  const d = device(url("up"), { resume: 60 });
  const up = await heard("up.n");
  await online(d);
  const published = [];
  for (const i of numbers(500)) {
    published.push(d.publish("up/n", i, { qos: 1 }).catch((err) => d.errors.push(err.code)));
    if (i % 10 === 9) await new Promise((yes) => setImmediate(yes));
    if (i === 250) line.cut();
  }
  await Promise.all(published);
  await until("500 numbers", () => new Set(up.map((m) => m.json())).size === 500);
  equal(numbers(500), [...new Set(up.map((m) => m.json()))]);
  equal([], d.errors);
  equal([false, true], connects(d), "resumed");
});

await it("what is asked without a connection waits, within bounds", async () => {
  const d = device(url("bounds"), { queue: 10 });
  const up = await heard("bounds.up");
  const asked = numbers(10).map((i) => d.publish("bounds/up", i));
  await rejectedAs("queue_full", d.publish("bounds/up", 10));
  await Promise.all(asked);
  await until("10 messages", () => up.length === 10);
  const large = "x".repeat(d.limits.packet_bytes);
  await rejectedAs("too_large", d.publish("bounds/up", large));
  equal(["connecting", "online"], d.seen.map((s) => s.state));
});

await it("a reply outlives a cut line; a message that failed is told and acknowledged", async () => {
  const d = device(url("replies"), { resume: 60 });
  d.onRequest(async () => {
    line.cut();
    return "late";
  });
  await d.subscribe("replies/bad", () => {
    throw new Error("no good");
  });
  equal("late", (await nats.request("devices.replies.down", "?", { timeout: 10000 })).string());
  await d.publish("replies/bad", 1, { qos: 1 });
  await until("the error", () => d.errors.length);
  equal(["undefined: no good"], d.errors);
});

await it("presence, told again after a cut", async () => {
  const d = device(url("looks"), { resume: 60 });
  const changes = [];
  const subscription = await d.subscribe("room/7", () => {}, { presence: (change) => changes.push(change) });
  const first = device(url("first"));
  await first.subscribe("room/7", () => {});
  await until("first to join", () => changes.some((c) => c.joined === "first"));
  const { count, clients, more } = await subscription.presence();
  equal([2, ["first", "looks"], false], [count, clients.sort(), more]);
  d.reconnect();
  await onlineAgain(d, 2);
  await subscription.presence(); // answered after the subscription was made again
  await first.close();
  await until("first to leave", () => changes.some((c) => c.left === "first"));
});

await it("a session token in a store resumes in another page", async () => {
  const kept = new Map();
  const store = { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };
  const before = device(url("kept"), { resume: 60, store });
  await before.subscribe("kept/+", () => {});
  await before.close();
  nats.publish("kept.a", "while away");
  await nats.flush();
  const after = device(url("kept"), { resume: 60, store });
  const got = [];
  after.onMessage((m) => got.push(m.value));
  await until("the message", () => got.length);
  equal([["while away"], [true]], [got, connects(after)]);
});

await it("a dead link is noticed, and left", async () => {
  const d = device(url("dead"), { resume: 60 });
  await online(d);
  line.hold();
  await until("waiting", () => d.state === "waiting");
  equal([1006, "nothing heard for twice the ping interval"], [d.seen.at(-1).closeCode, d.seen.at(-1).reason]);
  line.cut();
  await onlineAgain(d, 2);
  equal([false, true], connects(d), "resumed");
});

await it("a quiet link is kept", async () => {
  const d = device(url("quiet"));
  await online(d);
  await new Promise((yes) => setTimeout(yes, 3500)); // more than twice the ping interval
  equal(["connecting", "online"], d.seen.map((s) => s.state));
});

await it("another connection with the client id stops the first for good", async () => {
  const first = device(url("same"), { resume: 60 });
  await online(first);
  const second = device(url("same"), { resume: 60 });
  await online(second);
  await until("stopped", () => first.state === "stopped");
  equal([4400, "stopped"], [first.seen.at(-1).error.closeCode, first.seen.at(-1).error.code]);
  await rejectedAs("stopped", first.publish("a", 1));
});

await it("a gateway that stops and starts: subscriptions are made again", async () => {
  const d = device(url("restart"), { resume: 60 });
  const got = [];
  await d.subscribe("restart/+", (m) => got.push(m.value));
  await nats.close();
  await gateway.restart();
  nats = await natsConnect({ servers: `127.0.0.1:${gateway.ports.nats}` });
  await onlineAgain(d, 2);
  equal(4000, d.seen.find((s) => s.state === "waiting").closeCode, "close code");
  equal([false, false], connects(d), "resumed");
  await d.publish("restart/own", "own", { qos: 1 }); // after the subscription
  nats.publish("restart.n", "again");
  await until("both messages", () => got.length === 2);
});

await it("tokens: refused without, renewed before the end", async () => {
  const secret = "a secret of thirty-two characters!";
  const dir = await mkdtemp(join(tmpdir(), "tidegate-jwt-"));
  await writeFile(join(dir, "secret"), secret);
  const strict = await new Gateway(binary, { GATEWAY_AUTH_JWT_SECRET_FILE: join(dir, "secret") }).start();
  const at = (client) => `ws://127.0.0.1:${strict.ports.ws}/ws/${client}`;
  const token = (sub, seconds) => {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub, exp: Math.floor(Date.now() / 1000) + seconds })}`;
    return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
  };
  try {
    const stranger = device(at("door"));
    await until("stopped", () => stranger.state === "stopped");
    equal("unauthorized", stranger.seen.at(-1).error.code);
    let asked = 0;
    const guest = device(at("guest"), { token: async () => token("guest", ++asked === 1 ? 4 : 3600) });
    await until("a second token", () => asked === 2);
    await new Promise((yes) => setTimeout(yes, 3000)); // beyond the end of the first one
    await guest.publish("a", 1, { qos: 1 });
    equal(["connecting", "online"], guest.seen.map((s) => s.state));
    const tokens = [() => Promise.reject(new Error("none yet")), () => token("late", 3600)];
    const late = device(at("late"), { token: () => tokens.shift()() });
    await online(late);
    equal(["connecting", "waiting", "connecting", "online"], late.seen.map((s) => s.state));
    const old = device(at("old"), { resume: 60, token: token("old", 2) });
    await until("the end of the token", () => old.seen.some((s) => s.closeCode === 4002));
    await until("stopped", () => old.state === "stopped");
    await Promise.all([guest.close(), late.close(), old.close(), stranger.close()]);
  } finally {
    await strict.remove();
    await rm(dir, { recursive: true, force: true });
  }
});

// The gateway can't be made to say each of these, so this server does.
await it("close codes: at once, wait, stop", async () => {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await once(server, "listening");
  const closes = [];
  server.on("connection", (ws) => ws.on("message", () => ws.close(...closes.shift())));
  try {
    for (const [code, reason, least, most] of [[4000, "shutdown", 0, 1000], [4103, "server_error retry_ms=3000", 3000, 4000], [1001, "", 250, 500]]) {
      closes.push([code, reason]);
      const d = device(`ws://127.0.0.1:${server.address().port}/ws/codes`);
      await until("waiting", () => d.state === "waiting");
      const { retryMs, closeCode } = d.seen.at(-1);
      if (closeCode !== code || retryMs < least || retryMs > most) throw new Error(`${code}: ${JSON.stringify(d.seen)}`);
      await d.close();
    }
    for (const code of [1002, 1003, 1007, 1009, 4401, 4402, 4499]) {
      closes.push([code, "why"]);
      const d = device(`ws://127.0.0.1:${server.address().port}/ws/codes`);
      await until("stopped", () => d.state === "stopped");
      equal(code, d.seen.at(-1).error.closeCode);
    }
  } finally {
    server.close();
  }
});

await nats.close();
line.remove();
await gateway.remove();
exit();
