// MQTT.js over WebSocket, and plain WebSocket devices, against a running gateway: node mqttjs.cjs HOST PORT
// Prints one line for each behaviour; exits with 1 if any failed.
const mqtt = require("mqtt");
const WebSocket = require("ws");
const [host, port] = process.argv.slice(2);
const base = `ws://${host}:${port}`;
let failed = 0;

const timeLimit = (promise, what) =>
  Promise.race([promise, new Promise((_, no) => setTimeout(() => no(new Error(`no ${what} in 15 s`)), 15000).unref())]);

async function check(name, body) {
  try {
    await timeLimit(body(), "end");
    console.log(`ok    ${name}`);
  } catch (err) {
    failed++;
    console.log(`FAIL  ${name}: ${err && err.message}`);
  }
}

function equal(want, got) {
  const [w, g] = [JSON.stringify(want), JSON.stringify(got)];
  if (w !== g) throw new Error(`wanted ${w}, got ${g}`);
}

const connect = (options) => mqtt.connectAsync(`${base}/mqtt`, { reconnectPeriod: 0, connectTimeout: 10000, ...options });
const nextMessage = (client) =>
  new Promise((yes) => client.once("message", (topic, payload, packet) => yes({ topic, payload, packet })));

const versions = [
  { name: "3.1", protocolId: "MQIsdp", protocolVersion: 3 },
  { name: "3.1.1", protocolVersion: 4 },
  { name: "5", protocolVersion: 5 },
];

async function mqttOverWebSocket({ name, ...version }) {
  for (const qos of [0, 1, 2]) {
    await check(`MQTT.js ${name} QoS ${qos} publish, subscribe`, async () => {
      const client = await connect(version);
      await client.subscribeAsync(`js/${name}/+`, { qos });
      const message = nextMessage(client);
      await client.publishAsync(`js/${name}/t${qos}`, `m${qos}`, { qos });
      const { topic, payload } = await message;
      equal([`js/${name}/t${qos}`, `m${qos}`], [topic, payload.toString()]);
      await client.endAsync();
    });
  }
  await check(`MQTT.js ${name} 300 kB payload`, async () => {
    const client = await connect(version);
    await client.subscribeAsync(`js/${name}/large`, { qos: 1 });
    const message = nextMessage(client);
    await client.publishAsync(`js/${name}/large`, Buffer.alloc(300000, 7), { qos: 1 });
    equal(300000, (await message).payload.length);
    await client.endAsync();
  });
  await check(`MQTT.js ${name} retained`, async () => {
    const client = await connect(version);
    await client.publishAsync(`js/${name}/kept`, "kept", { qos: 1, retain: true });
    const message = nextMessage(client);
    await client.subscribeAsync(`js/${name}/kept`);
    const { payload, packet } = await message;
    equal(["kept", true], [payload.toString(), packet.retain]);
    await client.publishAsync(`js/${name}/kept`, "", { qos: 1, retain: true });
    await client.endAsync();
  });
  await check(`MQTT.js ${name} takeover closes the older connection`, async () => {
    const older = await connect({ ...version, clientId: `js-same-${name}` });
    const closed = new Promise((yes) => older.once("close", yes));
    const newer = await connect({ ...version, clientId: `js-same-${name}` });
    await closed;
    equal(true, newer.connected);
    await newer.endAsync();
  });
}

async function mqtt5() {
  await check("MQTT.js 5 request, response with properties", async () => {
    const client = await connect({ protocolVersion: 5 });
    await client.subscribeAsync("js/5/request", { qos: 1 });
    const message = nextMessage(client);
    const properties = { responseTopic: "js/5/answer", correlationData: Buffer.from("c-7"), contentType: "text/plain", userProperties: { k: "v" } };
    await client.publishAsync("js/5/request", "q", { qos: 1, properties });
    const got = (await message).packet.properties;
    equal(["js/5/answer", "c-7", "text/plain", "v"], [got.responseTopic, got.correlationData.toString(), got.contentType, got.userProperties.k]);
    await client.endAsync();
  });
  await check("MQTT.js 5 session is present after a reconnect", async () => {
    const options = { protocolVersion: 5, clientId: "js-kept", clean: false, properties: { sessionExpiryInterval: 60 } };
    const first = await connect({ ...options, clean: true }); // a session of an earlier run has what waited for it
    await first.subscribeAsync("js/5/kept/#", { qos: 1 });
    await first.endAsync();
    const other = await connect({ protocolVersion: 5 });
    await other.publishAsync("js/5/kept/a", "while away", { qos: 1 });
    await other.endAsync();
    const second = mqtt.connect(`${base}/mqtt`, { ...options, reconnectPeriod: 0 });
    const present = new Promise((yes) => second.once("connect", (connack) => yes(connack.sessionPresent)));
    const message = nextMessage(second);
    equal([true, "while away"], [await present, (await message).payload.toString()]);
    await second.endAsync();
  });
}

function socket(path, protocols) {
  const ws = new WebSocket(base + path, protocols);
  const waiting = [];
  const queue = [];
  ws.on("message", (data, binary) => {
    const item = { text: data.toString(), binary };
    if (waiting.length) waiting.shift()(item);
    else queue.push(item);
  });
  const next = () => (queue.length ? Promise.resolve(queue.shift()) : new Promise((yes) => waiting.push(yes)));
  const open = new Promise((yes, no) => {
    ws.once("open", yes);
    ws.once("error", no);
  });
  return { ws, next, open };
}

async function plainDevices() {
  await check("plain WebSocket device, up and down", async () => {
    const backend = await connect({ protocolVersion: 5 });
    await backend.subscribeAsync("devices/js-lamp/up");
    const device = socket("/ws/js-lamp");
    await device.open;
    const up = nextMessage(backend);
    device.ws.send("on");
    equal("on", (await up).payload.toString());
    await backend.publishAsync("devices/js-lamp/down", "off", { qos: 1 });
    equal({ text: "off", binary: false }, await device.next());
    device.ws.close();
    await backend.endAsync();
  });
  await check("plain WebSocket device, compressed", async () => {
    const backend = await connect({ protocolVersion: 5 });
    await backend.subscribeAsync("devices/js-deflate/up");
    const device = socket("/ws/js-deflate");
    await device.open;
    equal("permessage-deflate", device.ws.extensions);
    const text = "temperature 21.5 °C, ".repeat(1000);
    for (let n = 0; n < 3; n++) {
      const up = nextMessage(backend);
      device.ws.send(text + n);
      equal(text + n, (await up).payload.toString());
      await backend.publishAsync("devices/js-deflate/down", text + n, { qos: 1 });
      equal({ text: text + n, binary: false }, await device.next());
    }
    equal(true, device.ws._socket.bytesWritten < text.length && device.ws._socket.bytesRead < text.length);
    device.ws.close();
    await backend.endAsync();
  });
  await check("tidegate.json.v1: connect, subscribe, publish, ack, ping, error", async () => {
    const device = socket("/ws/js-json", "tidegate.json.v1");
    await device.open;
    equal("tidegate.json.v1", device.ws.protocol);
    const ask = async (command) => {
      device.ws.send(JSON.stringify(command));
      for (;;) {
        const answer = JSON.parse((await device.next()).text);
        if (answer.id === command.id) return answer;
        messages.push(answer);
      }
    };
    const messages = [];
    const connected = await ask({ id: 5, op: "connect", resume_s: 60 });
    equal([true, "js-json", false], [connected.ok, connected.client, connected.resumed]);
    equal({ id: 1, ok: true }, await ask({ id: 1, op: "subscribe", filter: "js/json/+" }));
    equal({ id: 2, ok: true }, await ask({ id: 2, op: "publish", topic: "js/json/temp", json: 21.5 }));
    if (!messages.length) messages.push(JSON.parse((await device.next()).text));
    equal({ op: "message", topic: "js/json/temp", ack: 1, json: 21.5 }, messages[0]);
    device.ws.send(JSON.stringify({ op: "ack", ack: 1 }));
    equal({ id: 3, ok: true }, await ask({ id: 3, op: "ping" }));
    const { error } = await ask({ id: 4, op: "publish", topic: "bad/#", text: "x" });
    equal(["bad_topic", false], [error.code, error.temporary]);
    device.ws.close();
  });
}

(async () => {
  for (const version of versions) await mqttOverWebSocket(version);
  await mqtt5();
  await plainDevices();
  process.exit(failed ? 1 : 0);
})();
