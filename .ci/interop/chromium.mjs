// A headless Chromium and its pages, through the DevTools protocol.
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import WebSocket from "ws";
import { inTime, run } from "./rig.mjs";

export class Chromium {
  #calls = new Map();
  #nextId = 1;
  /** What pages wrote to their consoles, and what they threw. */
  console = [];

  constructor(...flags) {
    this.flags = flags;
  }

  async start() {
    this.dir = await mkdtemp(join(tmpdir(), "chromium-"));
    const flags = [
      "--headless=new", "--remote-debugging-port=0", `--user-data-dir=${this.dir}`, "--no-first-run", "--disable-gpu",
      "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync",
      "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", // nothing leaves this machine
      ...(process.getuid() === 0 ? ["--no-sandbox"] : []),
      ...this.flags,
    ];
    this.process = run("chromium", [...flags, "about:blank"], { stdio: ["ignore", "ignore", "pipe"] });
    let log = "";
    const url = new Promise((yes, no) => {
      this.process.on("error", no);
      this.process.on("exit", (code) => no(new Error(`chromium ended with ${code}: ${log}`)));
      this.process.stderr.on("data", (data) => {
        log += data;
        const found = /DevTools listening on (ws:\S+)/.exec(log);
        if (found) yes(found[1]);
      });
    });
    this.ws = new WebSocket(await inTime(url, "DevTools of chromium", 60000));
    this.ws.on("message", (data) => this.#receive(JSON.parse(data)));
    await once(this.ws, "open");
    return this;
  }

  #receive({ id, result, error, method, params }) {
    if (method === "Runtime.consoleAPICalled") this.console.push(params.args.map((a) => a.value ?? a.description).join(" "));
    if (method === "Runtime.exceptionThrown") this.console.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    if (error) call?.no(new Error(`${call.method}: ${error.message}`));
    else call?.yes(result);
  }

  call(method, params = {}, sessionId) {
    const id = this.#nextId++;
    this.ws.send(JSON.stringify({ id, method, params, sessionId }));
    return inTime(new Promise((yes, no) => this.#calls.set(id, { yes, no, method })), `answer to ${method}`, 40000);
  }

  async open(url) {
    const { targetId } = await this.call("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.call("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page(this, targetId, sessionId);
    await this.call("Runtime.enable", {}, sessionId);
    await this.call("Page.enable", {}, sessionId);
    await this.call("Page.navigate", { url }, sessionId);
    return page;
  }

  async remove() {
    this.process.removeAllListeners("exit");
    const gone = once(this.process, "exit");
    this.ws?.send(JSON.stringify({ id: 0, method: "Browser.close" }));
    await inTime(gone, "end of chromium").catch(() => this.process.kill("SIGKILL"));
    await rm(this.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

export class Page {
  constructor(browser, targetId, sessionId) {
    Object.assign(this, { browser, targetId, sessionId });
  }

  // run calls a function inside the page, with arguments that survive JSON, and returns what it returns.
  async run(what, ...args) {
    const expression = `(${what})(...${JSON.stringify(args)})`;
    const options = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await this.browser.call("Runtime.evaluate", options, this.sessionId);
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  // text is what an element shows.
  text(selector) {
    return this.run((s) => document.querySelector(s)?.innerText ?? "", selector);
  }

  // fill types into the fields of a form and sends it off.
  fill(form, values) {
    return this.run((id, entries) => {
      const f = document.getElementById(id);
      for (const [name, value] of Object.entries(entries)) f.elements[name].value = value;
      f.requestSubmit();
    }, form, values);
  }

  click(selector) {
    return this.run((s) => document.querySelector(s).click(), selector);
  }

  close() {
    return this.browser.call("Target.closeTarget", { targetId: this.targetId });
  }
}
