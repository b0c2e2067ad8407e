// TLS of Node, and MQTT.js over mqtts and wss in Node and in Chromium, against a running gateway:
// node tls.mjs DIR MQTTS WSS TLS REQUIRED
// DIR has the certificates of certs.sh; the others are ports, the last that of mqtts that demands certificates of devices.
// Prints one line for each behaviour; exits with 1 if any failed.
import { once } from "node:events";
import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import tls from "node:tls";
import mqtt from "mqtt";
import { Chromium } from "./chromium.mjs";
import { check, equal, exit, inTime, serve, until } from "./rig.mjs";

const [dir, ...ports] = process.argv.slice(2);
const [mqtts, wss, both, required] = ports.map(Number);
const file = (name) => readFile(join(dir, name));
const ca = await file("ca.pem");
const shows = async (name) => ({ cert: await file(`${name}.pem`), key: await file(`${name}.key`) });

// CONNECT (3.1.1, no client id), PINGREQ, DISCONNECT, upon which the gateway closes; and what it answers before.
const connect = Buffer.from("100c00044d5154540402003c0000c000e000", "hex");
const answer = "20020000d000";

// device is one that is Node's tls: what the gateway answers, and the connection.
async function device(port, options = {}) {
  const socket = tls.connect({ host: "127.0.0.1", port, ca, ...options });
  let session;
  socket.on("session", (s) => (session = s));
  const parts = [];
  socket.on("data", (data) => parts.push(data));
  const ended = new Promise((yes, no) => socket.on("error", no).on("end", yes));
  const secured = once(socket, "secureConnect");
  secured.catch(() => {}); // ended tells it, too
  await inTime(Promise.race([secured, ended]), "handshake");
  const [reused, protocol, alpn, name] = [socket.isSessionReused(), socket.getProtocol(), socket.alpnProtocol, socket.getPeerCertificate().subject?.CN];
  socket.write(connect);
  await inTime(ended, "end");
  return { said: Buffer.concat(parts).toString("hex"), session, reused, protocol, alpn, name };
}

async function refused(promise) {
  const err = await promise.then(() => new Error("it was let in"), (e) => e);
  if (!/alert/.test(err.message)) throw err;
}

for (const version of ["TLSv1.2", "TLSv1.3"]) {
  const only = { minVersion: version, maxVersion: version };
  await check(`Node ${version} MQTT, resumed`, async () => {
    const first = await device(mqtts, only);
    equal([answer, false, version, "server"], [first.said, first.reused, first.protocol, first.name]);
    const second = await device(mqtts, { ...only, session: first.session });
    equal([answer, true, version], [second.said, second.reused, second.protocol]);
  });
  await check(`Node ${version} ALPN, SNI`, async () => {
    const got = await device(both, { ...only, ALPNProtocols: ["mqtt"], servername: "other.test" });
    equal([answer, "mqtt", "other"], [got.said, got.alpn, got.name]);
  });
  await check(`Node ${version} certificates of devices`, async () => {
    equal(answer, (await device(required, { ...only, ...(await shows("device")) })).said);
    await refused(device(required, only));
    await refused(device(required, { ...only, ...(await shows("revoked")) }));
    await refused(device(required, { ...only, ...(await shows("stranger")) }));
  });
}

// round is a message to itself and a large one, at QoS 2. Chromium runs it, too.
async function round(mqtt, url, options) {
  const client = await mqtt.connectAsync(url, { reconnectPeriod: 0, connectTimeout: 15000, ...options });
  const messages = [];
  const both = new Promise((yes) => client.on("message", (_, payload) => messages.push(payload.length) === 2 && yes()));
  const topic = `tls/${Math.random()}`;
  await client.subscribeAsync(topic, { qos: 2 });
  await client.publishAsync(topic, "short", { qos: 2 });
  await client.publishAsync(topic, "x".repeat(300000), { qos: 2 });
  await both;
  await client.endAsync();
  return messages;
}

const versions = { "3.1": { protocolId: "MQIsdp", protocolVersion: 3 }, "3.1.1": { protocolVersion: 4 }, 5: { protocolVersion: 5 } };
for (const [name, version] of Object.entries(versions)) {
  for (const [way, url, more] of [
    ["mqtts", `mqtts://localhost:${mqtts}`],
    ["mqtts, one port, ALPN", `mqtts://localhost:${both}`, { ALPNProtocols: ["mqtt"] }],
    ["mqtts, certificate", `mqtts://localhost:${required}`, await shows("device")],
    ["wss", `wss://localhost:${wss}/mqtt`],
    ["wss, one port", `wss://localhost:${both}/mqtt`],
  ]) {
    await check(`MQTT.js ${name} ${way}`, async () => equal([5, 300000], await round(mqtt, url, { ca, ...version, ...more })));
  }
}
await check("MQTT.js does not trust an unknown authority", async () => {
  const err = await mqtt.connectAsync(`mqtts://localhost:${mqtts}`, { reconnectPeriod: 0 }).then(() => ({}), (e) => e);
  equal("UNABLE_TO_VERIFY_LEAF_SIGNATURE", err.code);
});

// A page that has MQTT.js, in a Chromium that knows the key of the gateway.
const pages = await mkdtemp(join(tmpdir(), "tls-page-"));
await copyFile(join(createRequire(import.meta.url).resolve("mqtt/package.json"), "../dist/mqtt.min.js"), join(pages, "mqtt.js"));
await writeFile(join(pages, "index.html"), "<!doctype html><script src=mqtt.js></script>");
const site = await serve(pages);
const spki = String(await file("server.spki")).trim();
const chromium = await new Chromium(`--ignore-certificate-errors-spki-list=${spki}`).start();
for (const [name, version] of Object.entries(versions)) {
  for (const [way, port] of [["wss", wss], ["wss, one port", both]]) {
    await check(`Chromium, MQTT.js ${name} ${way}`, async () => {
      const page = await chromium.open(`http://${site.host}/`);
      await until("the page", () => page.run(() => Boolean(window.mqtt)));
      const got = await page.run(`(url, options) => (${round})(mqtt, url, options)`, `wss://127.0.0.1:${port}/mqtt`, version);
      equal([5, 300000], got);
      await page.close();
    }, () => chromium.console.join("\n"));
  }
}
await chromium.remove();
site.remove();
await rm(pages, { recursive: true });
exit();
