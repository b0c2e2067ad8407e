// What index.html does: forms in, a Tidegate device, lines out.
import { Tidegate } from "./tidegate.js";

const byId = (id) => document.getElementById(id);
const fields = (form) => Object.fromEntries(new FormData(form));
const rowsMax = 500;
let device;

// Defaults that a link may change: ?gateway=ws://127.0.0.1:8083&client=lamp-2
const query = new URLSearchParams(location.search);
const connectForm = byId("connect");
connectForm.gateway.value = query.get("gateway") ?? `ws://${location.hostname || "127.0.0.1"}:8083`;
connectForm.client.value = query.get("client") ?? "lamp-1";

function connect() {
  device?.close();
  const { gateway, client, resume, token } = fields(connectForm);
  byId("subscriptions").replaceChildren();
  byId("presence").textContent = byId("error").textContent = "";
  for (const span of document.querySelectorAll(".client")) span.textContent = client;
  try {
    device = new Tidegate(`${gateway}/ws/${encodeURIComponent(client)}`, { resume: Number(resume), token: token || undefined });
  } catch (err) {
    return show("closed", err.message);
  }
  window.device = device; // for the console
  device.on("state", showState);
  device.on("error", (err) => (byId("error").textContent = `${err.code ?? err.name}: ${err.message}`));
  device.onMessage(showMessage);
  device.onRequest((request) => {
    byId("asked").textContent = `${request.topic}: ${asText(request.value)}`;
    return asValue(byId("reply").value);
  });
}

function showState(state, { resumed, resumeSeconds, retryMs, closeCode, reason, error }) {
  switch (state) {
    case "online":
      return show(state, `online as ${device.client}, resumed: ${resumed}, the session outlives a cut by ${resumeSeconds} s`);
    case "waiting":
      return show(state, `connects again in ${retryMs} ms: ${[closeCode, reason].filter(Boolean).join(" ")}`);
    case "stopped":
      return show(state, `stopped: ${error.message}`);
    default:
      return show(state, state);
  }
}

function show(state, text) {
  byId("state").dataset.state = state;
  byId("state").textContent = text;
}

function showMessage({ topic, value, dup, retain }) {
  const marks = [dup && "dup", retain && "retained"].filter(Boolean).join(" ");
  const list = byId("messages");
  list.prepend(row(new Date().toLocaleTimeString(), topic, asText(value), marks));
  while (list.rows.length > rowsMax) list.lastElementChild.remove();
}

function row(...cells) {
  const tr = document.createElement("tr");
  for (const cell of cells) tr.insertCell().append(cell);
  return tr;
}

function button(text, onclick) {
  return Object.assign(document.createElement("button"), { type: "button", textContent: text, onclick });
}

// What is typed: JSON where it is JSON, else text.
function asValue(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function asText(value) {
  if (value instanceof Uint8Array) return `${value.length} bytes: ${[...value.subarray(0, 64)].map((b) => b.toString(16).padStart(2, "0")).join(" ")}`;
  return typeof value === "string" ? value : JSON.stringify(value);
}

// onSubmit runs a form's action, and shows in output what became of it.
function onSubmit(form, output, action) {
  byId(form).onsubmit = async (event) => {
    event.preventDefault();
    try {
      output.textContent = (await action(fields(event.target))) ?? "";
    } catch (err) {
      output.textContent = `${err.code ?? err.name}: ${err.message}`;
    }
  };
}

onSubmit("connect", byId("error"), () => connect());

onSubmit("subscribe", byId("presence"), async ({ filter, qos }) => {
  const presence = ({ joined, left }) => {
    byId("presence").textContent = joined ? `${joined} came to ${filter}` : left ? `${left} left ${filter}` : `changes on ${filter} were missed`;
  };
  const subscription = await device.subscribe(filter, showMessage, { qos: Number(qos), presence });
  const who = async () => {
    const { count, clients } = await subscription.presence();
    byId("presence").textContent = `${filter}: ${count} here, ${clients.join(", ")}`;
  };
  const away = async () => {
    line.remove();
    await subscription.unsubscribe();
  };
  const line = row(filter, `QoS ${qos}`, button("Who is here?", who), button("Unsubscribe", away));
  byId("subscriptions").append(line);
});

onSubmit("publish", byId("published"), async ({ topic, value, qos, retain }) => {
  await device.publish(topic, value === "" ? undefined : asValue(value), { qos: Number(qos), retain: retain === "on" });
  return `published on ${topic}`;
});

onSubmit("request", byId("answer"), async ({ topic, value }) => {
  byId("answer").textContent = "…";
  return asText(await device.request(topic, asValue(value)));
});

byId("cut").onclick = () => device?.reconnect();
byId("close").onclick = () => device?.close();
byId("clear").onclick = () => byId("messages").replaceChildren();

connect();
