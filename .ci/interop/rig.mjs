// What the tests of docs/examples share: a gateway to start and stop, a line to cut, pages to serve, checks to count.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createReadStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";

let failed = 0;

// What was started ends with the test, however that ends.
const children = new Set();
process.on("exit", () => children.forEach((child) => child.kill("SIGKILL")));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(1));
process.on("unhandledRejection", (err) => {
  console.log(`FAIL  a promise that nobody awaits: ${err?.stack ?? err}`);
  process.exit(1);
});

export function run(command, args, options) {
  const child = spawn(command, args, options);
  children.add(child);
  child.on("exit", () => children.delete(child));
  return child;
}

// inTime rejects with what was awaited.
export function inTime(promise, what, ms = 20000) {
  let timer;
  const late = new Promise((_, no) => (timer = setTimeout(() => no(new Error(`no ${what} in ${ms} ms`)), ms)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// check prints one line for one behaviour. tell adds to a failure what was seen meanwhile.
export async function check(name, body, tell = () => "") {
  try {
    await inTime(body(), "end", 60000);
    console.log(`ok    ${name}`);
  } catch (err) {
    failed++;
    console.log(`FAIL  ${name}: ${(err && err.message) || err}\n${tell()}`);
  }
}

export const exit = () => process.exit(failed ? 1 : 0);

export function equal(want, got, what = "") {
  const [w, g] = [JSON.stringify(want), JSON.stringify(got)];
  if (w !== g) throw new Error(`${what && what + ": "}wanted ${w}, got ${g}`);
}

// rejectedAs is the error of a promise that must reject with code.
export async function rejectedAs(code, promise) {
  const err = await promise.then(() => new Error("it did not reject"), (e) => e);
  if (err.code !== code) throw new Error(`wanted ${code}, got ${err.code}: ${err.message}`);
  return err;
}

// until asks again and again whether something is so; it returns what ask found.
export async function until(what, ask, ms = 20000) {
  for (const end = Date.now() + ms; ; await new Promise((yes) => setTimeout(yes, 20))) {
    const found = await ask();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not in ${ms} ms: ${what}`);
  }
}

// Gateway is the real binary in an empty directory; started again, it has the ports of the first time.
export class Gateway {
  log = "";

  constructor(binary, env = {}) {
    this.binary = binary;
    this.env = env;
    this.ports = { ws: 0, nats: 0, admin: 0 };
  }

  async start() {
    this.dir ??= await mkdtemp(join(tmpdir(), "tidegate-"));
    const at = (port) => `127.0.0.1:${port}`;
    const args = ["--listen", `ws://${at(this.ports.ws)}`, "--admin", at(this.ports.admin), "--nats-listen", at(this.ports.nats)];
    this.process = run(this.binary, args, { cwd: this.dir, env: { ...process.env, ...this.env }, stdio: ["ignore", "pipe", "pipe"] });
    this.process.stderr.on("data", (data) => (this.log = (this.log + data).slice(-4000)));
    const gone = once(this.process, "exit");
    const ready = await inTime(Promise.race([once(this.process.stdout, "data"), gone]), `ready gateway: ${this.log}`);
    const port = (scheme) => Number(new RegExp(`"${scheme}://[^"]*:(\\d+)"`).exec(String(ready[0]))?.[1]);
    this.ports = { ws: port("ws"), nats: port("nats"), admin: port("http") };
    if (!this.ports.ws) throw new Error(`the gateway did not start: ${this.log}`);
    return this;
  }

  async stop(signal = "SIGTERM") {
    const gone = once(this.process, "exit");
    this.process.kill(signal);
    await inTime(gone, "end of the gateway");
  }

  async restart(signal) {
    await this.stop(signal);
    await this.start();
  }

  async remove() {
    if (this.process.exitCode === null && this.process.signalCode === null) await this.stop("SIGKILL");
    await rm(this.dir, { recursive: true, force: true });
  }
}

// Line is a TCP proxy that can be cut, and held so that nothing passes while it looks alive.
export class Line {
  #pairs = new Set();
  #held = false;

  constructor(port) {
    this.server = net.createServer((near) => {
      const far = net.connect(port, "127.0.0.1");
      const pair = [near, far];
      this.#pairs.add(pair);
      for (const [from, to] of [[near, far], [far, near]]) {
        from.on("data", (data) => this.#held || to.write(data));
        from.on("error", () => {});
        from.on("close", () => {
          to.destroy();
          this.#pairs.delete(pair);
        });
      }
    });
  }

  async start() {
    this.server.listen(0, "127.0.0.1");
    await once(this.server, "listening");
    this.port = this.server.address().port;
    return this;
  }

  cut() {
    this.#held = false;
    for (const pair of this.#pairs) for (const socket of pair) socket.resetAndDestroy();
  }

  hold() {
    this.#held = true;
  }

  release() {
    this.#held = false;
  }

  remove() {
    this.cut();
    this.server.close();
  }
}

// serve gives the files of a directory to browsers of this machine.
export async function serve(dir) {
  const types = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };
  const server = createServer((request, response) => {
    const path = normalize(new URL(request.url, "http://x").pathname).replace(/\/$/, "/index.html");
    const file = createReadStream(join(dir, path));
    file.on("error", () => response.writeHead(404).end());
    file.on("open", () => response.writeHead(200, { "content-type": types[extname(path)] ?? "application/octet-stream" }));
    file.pipe(response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { host: `127.0.0.1:${server.address().port}`, remove: () => server.close() };
}
