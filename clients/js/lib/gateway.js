'use strict';

// One lease and the @discordjs/ws manager that holds its shard.
//
// The library asks `retrieveSessionInfo` before it connects, before each
// heartbeat and before it passes an event on. That is where it learns that the
// lease has run out; the connection is then left and, once the manager answers
// again, opened anew by `connect`.

const { once } = require('node:events');

const { sleep } = require('./manager');

// Close codes with which Discord refuses for good (Discord, "Opcodes and Status
// Codes", Gateway Close Event Codes).
const REFUSALS = [4004, 4010, 4011, 4012, 4013, 4014];
// With this code Discord keeps the session for a RESUME, unlike with 1000.
const RESUMABLE = 4200;
const CLOSE_TIMEOUT_MS = 2_000;
const LAST_BEAT_TIMEOUT_MS = 5_000;
// The library may be between two connections, which takes it half a second.
const BETWEEN_CONNECTIONS_MS = 1_000;
// `WebSocketShardDestroyRecovery.Resume`.
const RECOVER_BY_RESUME = 1;

const never = () => new Promise(() => {});
const within = (ms, promise) => Promise.race([promise, sleep(ms)]);
/** What an event carries: in version 1 of the library an object around it, later the thing itself. */
const carried = (event, key) => event?.[key] ?? event;

class Gateway {
  /** When the last event came in. */
  lastEvent;
  /** How many came in. */
  events = 0;
  /** The latest round trip of a heartbeat, in milliseconds. */
  ping;
  /** The close code with which Discord refused for good. */
  refusal;

  #lease;
  #ws;
  #updateSessionInfo;
  #retrieveSessionInfo;
  #session;
  #ready = false;
  #paused = false;
  #left = false;
  #connected;

  constructor(lease) {
    this.#lease = lease;
    this.#connected = new Promise((resolve) => (this.isConnected = resolve));
  }

  /** Options for the library, which call before each IDENTIFY. */
  get throttler() {
    return { waitForIdentify: (shardId, signal) => this.#waitForIdentify(signal) };
  }

  /** Takes a `WebSocketManager` into its keeping, before it connects. */
  attach(ws, { reportsReady = true } = {}) {
    this.#ws = ws;
    this.#retrieveSessionInfo = ws.options.retrieveSessionInfo;
    this.#updateSessionInfo = ws.options.updateSessionInfo;
    ws.options.retrieveSessionInfo = (id) => this.#retrieve(id);
    ws.options.updateSessionInfo = (id, session) => this.#update(id, session);
    ws.on('hello', () => this.#session && this.#lease.report('resuming'));
    ws.on('ready', () => this.#isReady(reportsReady));
    ws.on('resumed', () => this.#isReady(reportsReady));
    ws.on('dispatch', () => {
      this.lastEvent = performance.now();
      this.events++;
    });
    ws.on('heartbeat', ({ latency }) => (this.ping = latency));
    ws.on('closed', (event) => this.#closed(carried(event, 'code')));
    this.#lease.on('silent', () => this.#pause());
    this.#lease.on('reconnect', () => this.#reconnect());
  }

  /** The session to resume, as the library keeps it. */
  get session() {
    return this.#session;
  }

  /** What the beats say of any gateway connection. */
  figures() {
    const figures = { event_count: this.events };
    if (this.ping >= 0) figures.latency = this.ping / 1_000;
    if (this.lastEvent) figures.last_event_age = (performance.now() - this.lastEvent) / 1_000;
    return figures;
  }

  /** Waits for the first READY or RESUMED; throws what `connecting` throws before. */
  up(connecting) {
    return Promise.race([this.#connected, connecting.then(never)]);
  }

  /** Waits until the lease ends, or Discord refuses for good: says which. */
  async end() {
    if (this.refusal) return 'refused';
    if (this.#lease.ended) return this.#lease.ended;
    const refused = new Promise((resolve) => (this.isRefused = resolve));
    const [end] = await Promise.race([once(this.#lease, 'end'), refused]);
    return end;
  }

  /** Leaves the gateway, however slow the other side is. The library does not come back. */
  async leave(code) {
    this.#left = true;
    this.#ready = false;
    await within(CLOSE_TIMEOUT_MS, this.#ws?.destroy({ code, reason: 'the shard is given back' }));
  }

  /** Tells that Discord refused for good: where no restart can help, the manager halts the fleet. */
  async tellRefusal(code) {
    await within(LAST_BEAT_TIMEOUT_MS, this.#lease.report('disconnected', code));
  }

  async #waitForIdentify(signal) {
    this.#lease.report('waiting');
    try {
      await this.#lease.permit(signal);
    } catch (error) {
      signal.throwIfAborted();
      // The shard is lost, and the connection about to be closed. The library
      // would identify nevertheless.
      await never(error);
    }
    // Told once IDENTIFY is on its way.
    setImmediate(() => this.#lease.report('identifying'));
  }

  async #retrieve(id) {
    if (this.#left) return never();
    if (this.#lease.expired) {
      this.#pause();
      return never();
    }
    this.#session = await this.#retrieveSessionInfo(id);
    return this.#session;
  }

  async #update(id, session) {
    // Leaving on our own must not cost the session.
    if (!session && (this.#paused || this.#left)) return;
    this.#session = session;
    await this.#updateSessionInfo(id, session);
  }

  #isReady(reports) {
    this.#ready = true;
    this.isConnected();
    if (reports) this.#lease.report('ready');
  }

  #closed(code) {
    this.#ready = false;
    if (!REFUSALS.includes(code)) return void this.#lease.report('disconnected');
    this.refusal = code;
    this.isRefused?.(['refused']);
  }

  /** Stays off the gateway until the manager answers. */
  async #pause() {
    if (this.#paused || this.#left) return;
    this.#paused = true;
    await within(CLOSE_TIMEOUT_MS, this.#ws.destroy({ code: RESUMABLE, reason: 'the manager is silent' }));
    await sleep(BETWEEN_CONNECTIONS_MS);
    while (!this.#left) {
      try {
        await this.#lease.held();
        this.#paused = false;
        return await this.#ws.connect();
      } catch {
        // Lost, which `end` tells, or Discord's REST is away.
        if (this.#lease.ended) return;
        await sleep(5_000);
      }
    }
  }

  #reconnect() {
    if (!this.#ready) return;
    this.#ready = false;
    for (const shard of this.#ws.strategy?.shards?.values() ?? []) {
      shard.destroy({ reason: 'the manager wants another connection', recover: RECOVER_BY_RESUME });
    }
  }
}

module.exports = { Gateway, LAST_BEAT_TIMEOUT_MS, RESUMABLE, within };
