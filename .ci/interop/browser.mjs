// The page of docs/examples in Chromium, against a gateway of its own: node browser.mjs GATEWAY EXAMPLES
// Prints one line for each behaviour; exits with 1 if any failed.
import { resolve } from "node:path";
import { connect as natsConnect } from "@nats-io/transport-node";
import { Chromium } from "./chromium.mjs";
import { Gateway, check, equal, exit, serve, until } from "./rig.mjs";

const [binary, examples] = process.argv.slice(2).map((path) => resolve(path));
const site = await serve(examples);
const gateway = await new Gateway(binary, { GATEWAY_WEBSOCKET_ORIGINS: site.host }).start();
const chromium = await new Chromium().start();
let nats = await natsConnect({ servers: `127.0.0.1:${gateway.ports.nats}` });

const pages = [];

// open shows the page as a device, and counts its connections.
async function open(client, host = site.host) {
  const page = await chromium.open(`http://${host}/?gateway=ws://127.0.0.1:${gateway.ports.ws}&client=${client}`);
  pages.push(page);
  await until(`${client} runs`, () => page.run(() => Boolean(window.device)));
  await page.run(() => {
    window.seen = [];
    device.on("state", (state, detail) => seen.push({ state, ...detail }));
  });
  return page;
}
const isNow = (page, state) => until(state, async () => (await page.run(() => device.state)) === state);
const shows = (page, selector, text) => until(`${selector} shows ${text}`, async () => (await page.text(selector)).includes(text));
// resumedAs waits for the next connection and returns whether the session went on.
const resumed = (page) => until("online again", () => page.run(() => seen.find((s) => s.state === "online"))).then((s) => s.resumed);

// told is what the pages of a check that failed show.
let shown = "";
async function it(name, body) {
  await check(`browser: ${name}`, async () => {
    try {
      await body();
    } catch (err) {
      const texts = await Promise.all(pages.map((p) => p.run(() => `${device.client}: ${document.querySelector("#state").innerText} | ${document.querySelector("#error").innerText} | ${JSON.stringify(window.seen)}`).catch(String)));
      shown = [...texts, ...chromium.console].map((text) => `      ${text}`).join("\n");
      throw err;
    }
  }, () => `${shown}\n${gateway.log}`);
  await Promise.all(pages.splice(0).map((p) => p.close()));
}

await it("what the page publishes is seen at NATS", async () => {
  const page = await open("pub");
  const up = nats.subscribe("room.7.temp", { max: 1 });
  await nats.flush();
  await page.fill("publish", { topic: "room/7/temp", value: '{"warm":true}' });
  for await (const m of up) equal({ warm: true }, m.json());
  await shows(page, "#published", "published on room/7/temp");
});

await it("what NATS publishes is seen in the page", async () => {
  const page = await open("sub");
  await page.fill("subscribe", { filter: "room/+/name" });
  await shows(page, "#subscriptions", "room/+/name");
  nats.publish("room.7.name", "attic");
  nats.publish("devices.sub.down", "hello");
  await shows(page, "#messages", "attic");
  await shows(page, "#messages", "hello");
});

await it("requests both ways", async () => {
  const page = await open("asks");
  nats.subscribe("svc.upper", { callback: (_, m) => m.respond(m.string().toUpperCase()) });
  await nats.flush();
  await page.fill("request", { topic: "svc/upper", value: "now?" });
  await shows(page, "#answer", "NOW?");
  await page.fill("request", { topic: "svc/nobody", value: "?" });
  await shows(page, "#answer", "no_responders");
  equal({ on: true }, (await nats.request("devices.asks.down", "state", { timeout: 10000 })).json());
  await shows(page, "#asked", "devices/asks/down: state");
});

await it("500 numbered messages, cut in the middle: once each, in order, resumed", async () => {
  const page = await open("numbers");
  await isNow(page, "online");
  await page.run(async () => {
    window.numbers = [];
    window.seen = [];
    await device.subscribe("n/+", async ({ value }) => {
      await new Promise((yes) => setTimeout(yes));
      numbers.push(value);
      if (numbers.length === 250) document.querySelector("#cut").click();
    });
  });
  for (let i = 0; i < 500; i++) nats.publish(`n.${i % 5}`, String(i));
  await until("500 messages", () => page.run(() => numbers.length >= 500));
  nats.publish("n.end", "500");
  await until("the end", () => page.run(() => numbers.at(-1) === 500));
  equal(Array.from({ length: 501 }, (_, i) => i), await page.run(() => numbers));
  equal(true, await resumed(page), "resumed");
});

await it("presence of two pages", async () => {
  const page = await open("looks");
  await page.fill("subscribe", { filter: "room/8" });
  await shows(page, "#subscriptions", "room/8");
  const other = await open("comes");
  await other.fill("subscribe", { filter: "room/8" });
  await shows(page, "#presence", "comes came to room/8");
  await page.click("#subscriptions button");
  await shows(page, "#presence", "room/8: 2 here");
  await other.click("#close");
  await shows(page, "#presence", "comes left room/8");
});

await it("a second page with the client id stops the first, which does not fight", async () => {
  const page = await open("same");
  await isNow(page, "online");
  await page.run(() => (window.seen = []));
  const second = await open("same");
  await isNow(second, "online");
  await isNow(page, "stopped");
  await shows(page, "#state", "4400");
  await new Promise((yes) => setTimeout(yes, 1500)); // longer than the pause before a connection at once
  equal(["stopped"], await page.run(() => seen.map((s) => s.state)));
  equal("online", await second.run(() => device.state));
});

await it("a page of another host is refused, and told why it may be", async () => {
  const other = await serve(examples);
  try {
    const page = await open("stranger", other.host);
    await shows(page, "#state", "websocket.origins");
  } finally {
    other.remove();
  }
});

await it("a gateway that was killed: subscriptions are made again", async () => {
  const page = await open("restart");
  await page.fill("subscribe", { filter: "again/+" });
  await shows(page, "#subscriptions", "again/+");
  await page.run(() => (window.seen = []));
  await nats.close();
  await gateway.restart("SIGKILL");
  nats = await natsConnect({ servers: `127.0.0.1:${gateway.ports.nats}` });
  equal(false, await resumed(page), "resumed");
  await page.fill("publish", { topic: "again/own", value: "own" }); // after the subscription
  await shows(page, "#messages", "own");
  nats.publish("again.n", "heard again");
  await shows(page, "#messages", "heard again");
});

await nats.close();
await chromium.remove();
site.remove();
await gateway.remove();
exit();
