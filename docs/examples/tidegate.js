// A device on Tidegate, for browsers and Node: the subprotocol tidegate.json.v1 of ../websocket-protocol.md.
//
//   const device = new Tidegate("ws://127.0.0.1:8083/ws/lamp-1", { resume: 300 });
//   await device.subscribe("room/+/temp", (message) => console.log(message.topic, message.value));
//   await device.publish("room/7/temp", 21.5, { qos: 1 });
//
// It connects by itself and stays connected. What is asked of it while there is no connection waits for one; what was
// under way when a connection broke is said again where that does no harm, else its promise rejects with
// `connection_lost` (a message of QoS 0 counts as sent). Messages are acknowledged when their handler is done, and one that comes again because its
// acknowledgement was lost does not reach the handler a second time.

const protocol = "tidegate.json.v1";
const acksMax = 1024; // numbers in one ack
const connectMs = 20_000; // from the first packet to the answer to connect
const pauseMsMin = 500; // the first pause after a broken connection; each further one is twice as long
const pauseMsMax = 30_000;
const timerMsMax = 2 ** 31 - 1;

/**
 * What went wrong: `code` is one of the gateway's (`bad_topic`, `timeout`, `quota`, …) or one of the client's own:
 * `connection_lost`, `queue_full`, `closed`, `stopped`.
 */
export class TidegateError extends Error {
  /** @param {string} code @param {string} message @param {{temporary?: boolean, retryMs?: number, closeCode?: number}} [more] */
  constructor(code, message, { temporary = false, retryMs, closeCode } = {}) {
    super(message);
    this.name = "TidegateError";
    this.code = code;
    /** The same may succeed later. */
    this.temporary = temporary;
    /** How long to wait at least, in milliseconds. */
    this.retryMs = retryMs;
    /** The code with which the connection was closed. */
    this.closeCode = closeCode;
  }
}

/**
 * @typedef {object} Options
 * @property {number} [resume] seconds that the session outlives a broken connection; 0 (the default): not at all
 * @property {string | (() => string | Promise<string>)} [token] a JWT; a function is asked again before it expires
 * @property {number} [inflight] messages taken before any is acknowledged; the gateway's own bound if not given
 * @property {0 | 1} [downQos] QoS of `devices/{client-id}/down`; 1 if not given
 * @property {Pick<Storage, "getItem" | "setItem">} [store] keeps the session token beyond this page, such as sessionStorage
 * @property {number} [queue] commands that may wait for their answers; further ones reject with `queue_full`. 1000
 * @property {number} [queueBytes] the same in bytes, 16 MiB
 * @property {typeof WebSocket} [WebSocket] for a Node without one: the class of the npm package ws
 *
 * @typedef {object} Message
 * @property {string} topic
 * @property {any} value what the JSON says, else a string, else a Uint8Array
 * @property {boolean} dup it may have come before, to an earlier page
 * @property {boolean} retain it was kept, and is not new
 * @property {number} [expiry] seconds it is still good for
 * @property {string} [contentType]
 * @property {[string, string][]} [properties]
 * @property {string} [call] a backend waits for an answer, see {@link Tidegate.onRequest}
 *
 * @typedef {object} PublishOptions
 * @property {0 | 1} [qos]
 * @property {boolean} [retain] keep it for later subscribers; an empty payload deletes what is kept
 * @property {number} [expiry] seconds after which nobody wants it
 * @property {string} [contentType]
 * @property {[string, string][]} [properties]
 *
 * @typedef {object} SubscribeOptions
 * @property {0 | 1} [qos] 1 if not given
 * @property {boolean} [noLocal] not what this device publishes
 * @property {boolean} [retainAsPublished]
 * @property {0 | 1 | 2} [retainHandling] kept messages come always (0), for a new subscription only (1), never (2)
 * @property {(change: {joined?: string, left?: string, missed?: boolean}) => void} [presence] hears who comes and goes
 *
 * @typedef {object} Subscription
 * @property {string} filter
 * @property {() => Promise<void>} unsubscribe hears no more
 * @property {() => Promise<Presence>} presence who is subscribed to this filter
 *
 * @typedef {{count: number, clients: string[], more: boolean}} Presence count may be more than the clients that are named
 *
 * @typedef {object} StateDetail
 * @property {boolean} [resumed] online: the session went on, nothing was missed
 * @property {number} [resumeSeconds] online: how long the session outlives the connection, as granted
 * @property {number} [retryMs] waiting: when it connects again
 * @property {number} [closeCode] waiting: why the last connection ended, with `reason`
 * @property {string} [reason]
 * @property {TidegateError} [error] stopped: why
 *
 * @typedef {object} Entry a command that waits for its answer
 * @property {number} id @property {string} text @property {number} bytes
 * @property {boolean} repeat said again on the next connection @property {boolean} sent on this connection
 * @property {(answer: any) => void} resolve @property {(err: Error) => void} reject
 */

export class Tidegate {
  /** `connecting`, `online`, `waiting` (to connect again), `stopped` (by the gateway, for good) or `closed` (by close). */
  state = "connecting";
  /** The client id, once the gateway has told it. */
  client = "";
  /** What the gateway holds this device to: bytes, counts. @type {Record<string, number>} */
  limits = { batch: 1, packet_bytes: Infinity };
  /** QoS 0 messages dropped because the handlers did not keep up. */
  dropped = 0;

  #url;
  #options;
  #WebSocket;
  #listeners = /** @type {Record<string, Set<Function>>} */ ({ state: new Set(), error: new Set() });
  #routes = /** @type {Set<Route>} */ (new Set());

  #ws = /** @type {WebSocket | null} */ (null);
  #session = new Session("");
  #attempt = 0; // connections left so far
  #failures = 0;
  #heard = false; // something came since the link was looked at
  #connectTimer = /** @type {any} */ (0);
  #linkTimer = /** @type {any} */ (0);
  #tokenTimer = /** @type {any} */ (0);

  #nextId = 1;
  #connectId = 0;
  #ending = /** @type {Error | null} */ (null); // why there is no connection any more
  #waiting = /** @type {Map<number, Entry>} */ (new Map());
  #waitingBytes = 0;
  #outbox = /** @type {Entry[]} */ ([]); // of this turn of the event loop
  #flushing = false;
  #unhandled = 0;

  /** @param {string} url `ws://host:port/ws/{client-id}` @param {Options} [options] */
  constructor(url, options = {}) {
    this.#url = String(new URL(url));
    this.#options = { resume: 0, queue: 1000, queueBytes: 16 << 20, ...options };
    this.#WebSocket = options.WebSocket ?? globalThis.WebSocket;
    if (!this.#WebSocket) throw new TypeError("there is no WebSocket here: give the class of the npm package ws as options.WebSocket");
    this.#session.token = this.#stored();
    queueMicrotask(() => this.#connect()); // after the caller has put its listeners in place
  }

  /**
   * `state`: (state, {@link StateDetail}); `error`: (Error), what no promise tells, such as a handler that threw. Errors that
   * nobody listens to go to the console. Returns what takes the listener away.
   * @param {"state" | "error"} name @param {(...args: any[]) => void} listener @returns {() => void}
   */
  on(name, listener) {
    if (!this.#listeners[name]) throw new TypeError(`no event ${name}: there are state and error`);
    this.#listeners[name].add(listener);
    return () => this.#listeners[name].delete(listener);
  }

  /**
   * Publishes value: a string as it is, bytes as they are, undefined as an empty payload, anything else as JSON. At QoS 1 it
   * is repeated on later connections until the gateway has answered; at QoS 0 it is sent once, and rejects only if it was refused.
   * @param {string} topic @param {any} [value] @param {PublishOptions} [options] @returns {Promise<void>}
   */
  async publish(topic, value, options = {}) {
    const { qos = 0, retain, expiry, contentType, properties } = options;
    const command = { op: "publish", topic, ...payload(value), qos, retain, expiry_s: expiry, content_type: contentType, properties };
    try {
      await this.#ask(command, qos === 1);
    } catch (err) {
      if (qos === 1 || err.code !== "connection_lost") throw err;
    }
  }

  /**
   * Hears what is published where filter matches. Messages come one after another: the next one waits until the handler's
   * promise is fulfilled. Resolves when the gateway has the subscription; from then on it is made again wherever needed.
   * @param {string} filter @param {(message: Message) => any} handler @param {SubscribeOptions} [options]
   * @returns {Promise<Subscription>}
   */
  async subscribe(filter, handler, options = {}) {
    const route = new Route("message", filter, handler, options);
    this.#routes.add(route); // at once: a message may be faster than the answer
    try {
      await this.#subscribe(route, options.retainHandling);
    } catch (err) {
      this.#routes.delete(route);
      throw err;
    }
    return { filter, unsubscribe: () => this.#unsubscribe(route), presence: () => this.presence(filter) };
  }

  /**
   * Hears the messages that match no subscription made here, such as those on `devices/{client-id}/down`.
   * @param {(message: Message) => any} handler @returns {() => void} takes the handler away
   */
  onMessage(handler) {
    return this.#addRoute(new Route("rest", "#", handler));
  }

  /**
   * Answers the requests of backends (`nats request devices.lamp-1.down state`) on the topics that filter matches, or on all: what
   * the handler returns is the answer. A handler that throws gives none. Other requests come as messages.
   * @param {string | ((request: Message) => any)} filter @param {(request: Message) => any} [handler]
   * @returns {() => void} takes the handler away
   */
  onRequest(filter, handler) {
    const route = typeof filter === "function" ? new Route("request", "#", filter) : new Route("request", filter, handler);
    return this.#addRoute(route);
  }

  /**
   * Asks a backend that answers NATS requests, and resolves with what it says.
   * @param {string} topic @param {any} [value] @param {{timeout?: number}} [options] timeout in milliseconds, up to 60,000
   * @returns {Promise<any>}
   */
  async request(topic, value, { timeout = 5000 } = {}) {
    const late = new TidegateError("timeout", `no answer on ${topic} in ${timeout} ms`, { temporary: true });
    const id = this.#nextId;
    const answer = this.#ask({ op: "request", topic, ...payload(value), timeout_ms: timeout }, false);
    // The gateway keeps the time, this is for a gateway that is not there.
    const timer = setTimeout(() => this.#settle(id)?.reject(late), timeout + 1000);
    try {
      return valueOf(await answer);
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Who is connected now and subscribed to exactly this filter; this device must be, too.
   * @param {string} filter @returns {Promise<Presence>}
   */
  async presence(filter) {
    const { count, clients, more = false } = await this.#ask({ op: "presence", filter }, false);
    return { count, clients, more };
  }

  /** Leaves the connection there is and makes another one, at once. */
  reconnect() {
    if (this.#ending) return;
    this.#leave(3000, "reconnect");
    this.#pause(0, { reason: "asked to" });
  }

  /** Closes the connection; what has no answer yet rejects with `closed`. The session goes on for the seconds of `resume`. */
  async close() {
    if (this.#ending) return;
    this.#flush();
    await new Promise((gone) => {
      const timer = setTimeout(gone, 2000); // the other side may not be there any more
      const closed = () => gone(clearTimeout(timer));
      this.#end("closed", new TidegateError("closed", "the device was closed"), closed);
    });
  }

  // The connection.

  async #connect() {
    if (this.#ending || this.#ws) return;
    this.#become("connecting", {});
    this.#connectTimer = setTimeout(() => this.#lost(1006, "no answer to connect"), connectMs);
    const attempt = this.#attempt;
    let token;
    try {
      token = await this.#token();
    } catch (err) {
      this.#tell(err);
      if (attempt === this.#attempt) this.#lost(1006, `no token: ${err?.message ?? err}`);
      return;
    }
    if (attempt !== this.#attempt) return; // the token came too late
    try {
      this.#ws = new this.#WebSocket(this.#url, protocol);
    } catch (err) {
      return this.#stop(new TidegateError("stopped", `no WebSocket to ${this.#url}: ${err.message}`));
    }
    this.#listen(this.#ws, token);
  }

  #listen(ws, token) {
    let why = "no connection: is the gateway there, is the client id one topic level, is this page's host in websocket.origins?";
    ws.onopen = () => {
      why = "";
      this.#sayConnect(ws, token);
    };
    ws.onmessage = (event) => this.#receive(event.data);
    ws.onerror = (event) => (why = event.message || why);
    ws.onclose = (event) => this.#lost(event.code, event.reason || why);
  }

  #token() {
    const { token } = this.#options;
    return typeof token === "function" ? token() : token;
  }

  #sayConnect(ws, token) {
    const { resume, inflight, downQos } = this.#options;
    this.#connectId = this.#nextId++;
    const session = this.#session.token || undefined;
    const command = { op: "connect", session, token, resume_s: resume, inflight, down_qos: downQos, batch: true };
    ws.send(JSON.stringify({ id: this.#connectId, ...command }));
  }

  #onConnected(answer) {
    clearTimeout(this.#connectTimer);
    if (answer.error) return this.#onConnectRefused(errorOf(answer.error));
    this.#failures = 0;
    this.client = answer.client;
    this.limits = answer.limits;
    if (!answer.resumed) this.#session = new Session(answer.session);
    this.#session.token = answer.session;
    this.#session.inflight = Math.max(this.#session.inflight, answer.limits.inflight);
    this.#store(answer.session);
    this.#watchLink(answer.ping_s);
    if (answer.token_s) this.#refreshIn(answer.token_s);
    this.state = "online";
    this.#subscribeAgain(answer.resumed);
    for (const entry of this.#waiting.values()) if (!entry.sent) this.#write(entry);
    this.#flushSoon();
    this.#emit("state", "online", { resumed: answer.resumed, resumeSeconds: answer.resume_s });
  }

  // The gateway closes after most errors, but need not: then nothing can follow.
  #onConnectRefused(err) {
    if (!err.temporary) return this.#stop(err);
    this.#leave(1000);
    this.#pause(Math.max(err.retryMs ?? 0, this.#growingPause()), { reason: err.message });
  }

  // Browsers answer the gateway's pings without telling the page, so a silent link is asked. Looking twice instead of at the
  // clock, and once more after what waits to be read, does not take a page that was held back for a dead link.
  #watchLink(pingSeconds) {
    const ws = this.#ws;
    let asked = false;
    const giveUp = () => {
      if (!this.#heard && ws === this.#ws) this.#lost(1006, "nothing heard for twice the ping interval");
    };
    this.#heard = false;
    this.#linkTimer = setInterval(() => {
      if (asked && !this.#heard) return nextTurn(giveUp);
      asked = !this.#heard;
      this.#heard = false;
      if (asked) this.#ask({ op: "ping" }, false).catch(() => {});
    }, pingSeconds * 1000);
  }

  // A newer token is shown when a fifth of the time is left; if that fails, when a fifth of the rest is left, and so on.
  #refreshIn(seconds) {
    if (typeof this.#options.token !== "function" || seconds < 1) return;
    this.#tokenTimer = setTimeout(async () => {
      const ws = this.#ws;
      let left = seconds * 0.2;
      try {
        const answer = await this.#ask({ op: "refresh", token: await this.#token() }, false);
        left = answer.token_s;
      } catch (err) {
        this.#tell(err);
      }
      if (ws === this.#ws) this.#refreshIn(left);
    }, Math.min(seconds * 800, timerMsMax));
  }

  // Takes leave of a connection: nothing that still comes from it counts.
  #leave(code = 1000, reason = "", then = () => {}) {
    const ws = this.#ws;
    this.#ws = null;
    this.#attempt++;
    clearTimeout(this.#connectTimer);
    clearTimeout(this.#tokenTimer);
    clearInterval(this.#linkTimer);
    this.#outbox = [];
    for (const [id, entry] of [...this.#waiting]) {
      if (entry.sent && !entry.repeat) this.#settle(id)?.reject(connectionLost());
      entry.sent = false;
    }
    if (!ws) return then();
    ws.onopen = ws.onmessage = null;
    ws.onerror = () => {}; // ws of npm throws what nobody hears
    ws.onclose = then;
    if (ws.readyState < ws.CLOSING) ws.close(code, reason);
    else then();
  }

  #lost(closeCode, reason) {
    this.#leave();
    if (mustStop(closeCode)) {
      const why = reason ? `${closeCode} ${reason}` : `${closeCode}`;
      return this.#stop(new TidegateError("stopped", `the gateway closed the connection for good: ${why}`, { closeCode }));
    }
    this.#pause(this.#pauseAfter(closeCode, reason), { closeCode, reason });
  }

  #pauseAfter(closeCode, reason) {
    const second = Math.random() * 1000;
    if (closeCode >= 4000 && closeCode < 4100) return second;
    if (closeCode >= 4100 && closeCode < 4200) return Number(/retry_ms=(\d+)/.exec(reason)?.[1] ?? 5000) + second;
    return this.#growingPause();
  }

  #growingPause() {
    const most = Math.min(pauseMsMax, pauseMsMin * 2 ** this.#failures++);
    return most * (0.5 + Math.random() / 2);
  }

  #pause(retryMs, why) {
    this.#connectTimer = setTimeout(() => this.#connect(), retryMs);
    this.#become("waiting", { retryMs: Math.round(retryMs), ...why });
  }

  #stop(error) {
    this.#end("stopped", error);
  }

  #end(state, error, then) {
    this.#ending = error;
    for (const id of [...this.#waiting.keys()]) this.#settle(id)?.reject(error);
    this.#leave(1000, "", then);
    this.#become(state, state === "stopped" ? { error } : {});
  }

  #become(state, detail) {
    this.state = state;
    this.#emit("state", state, detail);
  }

  // Commands and answers.

  // repeat: on later connections too, until there is an answer.
  #ask(command, repeat) {
    return new Promise((resolve, reject) => {
      if (this.#ending) throw this.#ending;
      const id = this.#nextId++;
      const text = JSON.stringify({ id, ...command });
      const bytes = new TextEncoder().encode(text).length;
      const { queue, queueBytes } = this.#options;
      if (this.#waiting.size >= queue || this.#waitingBytes + bytes > queueBytes) {
        throw new TidegateError("queue_full", `${this.#waiting.size} commands wait for their answers`, { temporary: true });
      }
      const entry = { id, text, bytes, repeat, sent: false, resolve, reject };
      this.#waiting.set(id, entry);
      this.#waitingBytes += bytes;
      if (this.state === "online") this.#write(entry);
    });
  }

  // The entry that waits for an answer, for the one who has it; undefined if another one had it before.
  #settle(id) {
    const entry = this.#waiting.get(id);
    if (this.#waiting.delete(id)) this.#waitingBytes -= entry.bytes;
    return entry;
  }

  #write(entry) {
    entry.sent = true;
    this.#outbox.push(entry);
    this.#flushSoon();
  }

  // What is said in one turn of the event loop goes in as few frames as the limits allow.
  #flushSoon() {
    if (this.#flushing) return;
    this.#flushing = true;
    nextTurn(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  #flush() {
    if (this.state !== "online") return;
    const { acks } = this.#session;
    const items = [];
    while (acks.length) items.push(listed(JSON.stringify({ op: "ack", acks: acks.splice(0, acksMax) })));
    items.push(...this.#outbox.splice(0).filter((entry) => this.#fits(entry)));
    while (items.length) this.#ws.send(this.#nextFrame(items));
  }

  // One that is too large would close the connection, for good.
  #fits(entry) {
    if (entry.bytes <= this.limits.packet_bytes) return true;
    const err = new TidegateError("too_large", `${entry.bytes} bytes are more than the ${this.limits.packet_bytes} of one message`);
    this.#settle(entry.id)?.reject(err);
    return false;
  }

  #nextFrame(items) {
    let n = 0;
    for (let bytes = 1; n < items.length && n < this.limits.batch; n++) {
      bytes += items[n].bytes + 1; // brackets and commas
      if (bytes > this.limits.packet_bytes && n > 0) break;
    }
    const texts = items.splice(0, n).map((item) => item.text);
    return texts.length === 1 ? texts[0] : `[${texts}]`;
  }

  #receive(data) {
    this.#heard = true;
    let said;
    try {
      said = JSON.parse(data);
    } catch {
      return this.#tell(new TidegateError("bad_frame", "the gateway sent what is not JSON"));
    }
    for (const item of Array.isArray(said) ? said : [said]) this.#receiveOne(item);
  }

  #receiveOne(item) {
    if (item.op === "message" || item.op === "request") this.#onMessage(item);
    else if (item.op === "presence") this.#onPresence(item);
    else if (item.op) return; // of a later version
    else if (item.id === this.#connectId) this.#onConnected(item);
    else if (item.id === undefined) this.#tell(errorOf(item.error));
    else if (item.error) this.#settle(item.id)?.reject(errorOf(item.error));
    else this.#settle(item.id)?.resolve(item);
  }

  // Messages to the device.

  async #onMessage(item) {
    const session = this.#session;
    const again = session.begin(item);
    if (again) {
      if (session.done.has(item.ack)) this.#acknowledge(session, item.ack);
      return;
    }
    if (!item.ack && this.#unhandled >= this.#options.queue) return void this.dropped++;
    this.#unhandled++;
    await this.#handle(item);
    this.#unhandled--;
    if (!item.ack) return;
    session.finish(item.ack);
    this.#acknowledge(session, item.ack);
  }

  #acknowledge(session, ack) {
    session.acks.push(ack);
    if (session === this.#session) this.#flushSoon();
  }

  // Fulfilled when each handler is done, well or badly.
  async #handle(item) {
    const { topic, dup = false, retain = false, expiry_s: expiry, content_type: contentType, properties, call } = item;
    const message = { topic, value: valueOf(item), dup, retain, expiry, contentType, properties, call };
    const routes = [...this.#routes].filter((route) => matches(route.filter, topic));
    const answering = call && routes.find((route) => route.kind === "request");
    if (answering) return this.#answer(answering, message);
    const subscribed = routes.filter((route) => route.kind === "message");
    const hearing = subscribed.length ? subscribed : routes.filter((route) => route.kind === "rest");
    await Promise.all(hearing.map((route) => route.run(message).catch((err) => this.#tell(err))));
  }

  // The reply is repeated like a QoS 1 message; the message itself may be acknowledged before it has arrived.
  async #answer(route, message) {
    try {
      const value = await route.handler(message);
      this.#ask({ op: "reply", call: message.call, ...payload(value) }, true).catch((err) => this.#tell(err));
    } catch (err) {
      this.#tell(err);
    }
  }

  #onPresence({ filter, joined, left, missed = false }) {
    for (const route of this.#routes) {
      if (route.filter !== filter || !route.options.presence) continue;
      try {
        route.options.presence({ joined, left, missed });
      } catch (err) {
        this.#tell(err);
      }
    }
  }

  // Subscriptions.

  #addRoute(route) {
    this.#routes.add(route);
    return () => this.#routes.delete(route);
  }

  async #subscribe(route, retainHandling) {
    const { qos = 1, noLocal, retainAsPublished, presence } = route.options;
    const command = { op: "subscribe", filter: route.filter, qos, no_local: noLocal, retain_as_published: retainAsPublished };
    route.made = false;
    await this.#ask({ ...command, retain_handling: retainHandling, presence: presence ? true : undefined }, true);
    route.made = true;
  }

  // A session that began anew has no subscriptions; one that goes on has, but tells nobody's presence any more.
  #subscribeAgain(resumed) {
    for (const route of this.#routes) {
      if (!route.made || (resumed && !route.options.presence)) continue;
      const { retainHandling = 0 } = route.options;
      this.#subscribeUntilMade(route, resumed ? Math.max(1, retainHandling) : retainHandling);
    }
  }

  async #subscribeUntilMade(route, retainHandling) {
    try {
      await this.#subscribe(route, retainHandling);
    } catch (err) {
      if (this.#ending || !this.#routes.has(route)) return;
      this.#tell(err);
      if (err.temporary) setTimeout(() => this.#subscribeUntilMade(route, retainHandling), err.retryMs ?? 1000);
      else this.#routes.delete(route);
    }
  }

  async #unsubscribe(route) {
    if (!this.#routes.delete(route)) return;
    const others = [...this.#routes].some((other) => other.kind === "message" && other.filter === route.filter);
    if (!others) await this.#ask({ op: "unsubscribe", filter: route.filter }, true);
  }

  // Listeners, and what is kept.

  #emit(name, ...args) {
    for (const listener of this.#listeners[name]) {
      try {
        listener(...args);
      } catch (err) {
        console.error(err); // a listener's mistake must not stop the device
      }
    }
  }

  #tell(err) {
    if (this.#listeners.error.size) this.#emit("error", err);
    else console.error(err);
  }

  #stored() {
    return this.#options.store?.getItem(`tidegate ${this.#url}`) ?? "";
  }

  #store(token) {
    try {
      if (this.#options.resume) this.#options.store?.setItem(`tidegate ${this.#url}`, token);
    } catch (err) {
      this.#tell(err); // no room: this page goes on without
    }
  }
}

// A handler, what it is for ("message": a subscription, "rest", "request"), and where it listens.
class Route {
  made = false; // the gateway has the subscription
  #last = Promise.resolve();

  constructor(kind, filter, handler, options = {}) {
    if (typeof handler !== "function") throw new TypeError("the handler must be a function");
    this.kind = kind;
    this.filter = filter;
    this.handler = handler;
    this.options = options;
  }

  // One message after another.
  run(message) {
    const run = this.#last.then(() => this.handler(message));
    this.#last = run.catch(() => {});
    return run;
  }
}

// What is known of a session: the numbers to acknowledge, and those of messages that a handler has or had. The gateway sends
// again only what it has no acknowledgement for. Those are in the order of a connection, so of what was acknowledged only
// the last ones, as many as may be under way, can have been lost.
class Session {
  inflight = 1;
  acks = [];
  running = new Set();
  done = new Set();

  constructor(token) {
    this.token = token;
  }

  // begin tells whether a message has come before.
  begin({ ack, dup }) {
    if (!ack) return false;
    if (dup && (this.running.has(ack) || this.done.has(ack))) return true;
    this.done.delete(ack);
    this.running.add(ack);
    return false;
  }

  finish(ack) {
    this.running.delete(ack);
    this.done.add(ack);
    if (this.done.size > this.inflight) this.done.delete(this.done.values().next().value);
  }
}

const connectionLost = () =>
  new TidegateError("connection_lost", "the connection broke before the answer came", { temporary: true });

const errorOf = ({ code, message, temporary, retry_ms: retryMs }) => new TidegateError(code, message, { temporary, retryMs });

const mustStop = (closeCode) => (closeCode >= 4400 && closeCode < 4500) || [1002, 1003, 1007, 1009].includes(closeCode);

const listed = (text) => ({ text, bytes: text.length }); // ASCII

function payload(value) {
  if (value === undefined) return {};
  if (typeof value === "string") return { text: value };
  if (value instanceof ArrayBuffer) return { base64: toBase64(new Uint8Array(value)) };
  if (ArrayBuffer.isView(value)) return { base64: toBase64(new Uint8Array(value.buffer, value.byteOffset, value.byteLength)) };
  return { json: value };
}

function valueOf(item) {
  if (item.json !== undefined) return item.json;
  if (item.base64 !== undefined) return Uint8Array.from(atob(item.base64), (c) => c.charCodeAt(0));
  return item.text ?? "";
}

function toBase64(bytes) {
  let binary = "";
  for (let i = 0; i < bytes.length; i += 8192) binary += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(binary);
}

function matches(filter, topic) {
  const levels = topic.split("/");
  const wanted = filter.split("/");
  if (wanted[0] === "$share") wanted.splice(0, 2);
  for (let i = 0; i < wanted.length; i++) {
    if (wanted[i] === "#") return true;
    if (i >= levels.length || (wanted[i] !== "+" && wanted[i] !== levels[i])) return false;
  }
  return wanted.length === levels.length;
}

// A task of its own, after this turn of the event loop. Not by a timer: those are held back in pages that are not seen.
const nextTurn =
  globalThis.setImmediate ??
  (() => {
    const { port1, port2 } = new MessageChannel();
    const tasks = [];
    port1.onmessage = () => tasks.shift()();
    return (task) => {
      tasks.push(task);
      port2.postMessage(0);
    };
  })();
