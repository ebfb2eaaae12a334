'use strict';

// One shard, ours as long as the manager answers our beats.

const { EventEmitter } = require('node:events');

const { jittered, LeaseLost, now, Refused, sleep } = require('./manager');

// The part of the lease time that may pass unanswered, counted from when the
// last answered beat was sent: the manager counts from when it arrived.
const SHARE = 0.8;
// What a manager that does not say so means by MAX_SECONDS.
const MAX_SECONDS = 60;
// Between a failed beat and the next try.
const RETRY_MS = 500;
// Changes of state that may wait while the manager is away.
const CHANGES_MAX = 64;
// A permit that may have waited longer than this to be read is not used: the
// process or its host stood still, and the line has moved on.
const STALE_MS = 3_000;
// POST /identify is answered late on purpose.
const LONG_POLL_TIMEOUT_MS = 90_000;
const RELEASE_TIMEOUT_MS = 2_000;
// How often a clock that goes on while the host is suspended is looked at.
const GLANCE_MS = 1_000;

const positive = (value) => (Number.isFinite(value) && value > 0 ? value : undefined);

/**
 * Events: `silent` (close the gateway, resumably, at once), `reconnect` (the manager wants the shard on
 * another gateway connection), `end` (with `lost` or `drain`).
 */
class Lease extends EventEmitter {
  /** What the beats say; called before each. */
  figures = () => ({});

  #manager;
  // Keeps or releases the lease: never shown.
  #sessionId;
  #epoch;
  #leaseMs;
  #heartbeatMs;
  #sent;
  #number = 0;
  #heard = false;
  #end;
  #changes = [];
  #wake = () => {};
  #answered = () => {};
  #nextAnswer;
  #glances;

  constructor(manager, answer, sent) {
    super();
    this.shardId = answer.shard_id;
    this.shardCount = answer.max_shards;
    this.gatewayUrl = answer.gateway_url;
    this.resume = answer.resume;
    this.#manager = manager;
    this.#sessionId = answer.session_id;
    this.#epoch = answer.epoch;
    this.#leaseMs = (positive(answer.max_seconds) ?? MAX_SECONDS) * 1_000;
    this.#heartbeatMs = positive(answer.heartbeat_seconds * 1_000) ?? Math.min(10_000, this.#leaseMs / 6);
    this.#sent = sent;
    this.#expectAnswer();
  }

  /** Begins to beat. */
  start() {
    this.#beat();
    let silent = false;
    this.#glances = setInterval(
      () => {
        if (this.expired && !silent) this.emit('silent');
        silent = this.expired;
      },
      Math.min(GLANCE_MS, this.#leaseMs / 50),
    );
  }

  /** Whether the shard may be somebody else's by now. Look before each use of the gateway. */
  get expired() {
    const { steady, wall } = now();
    const left = SHARE * this.#leaseMs;
    return this.#end !== undefined || steady >= this.#sent.steady + left || wall >= this.#sent.wall + left;
  }

  /** `lost` or `drain`, once the lease is over. */
  get ended() {
    return this.#end;
  }

  /** Waits until a beat has been answered in time. Throws `LeaseLost`. */
  async held() {
    while (this.expired || !this.#heard) {
      if (this.#end) throw new LeaseLost();
      await this.#nextAnswer;
    }
  }

  /**
   * Tells a new state at once, in order; resolves when the manager has heard it. `identifying` says that
   * a permit was just used, so it belongs right after IDENTIFY.
   */
  report(state, closeCode) {
    return new Promise((told) => {
      this.#changes.push({ state, closeCode, told });
      if (this.#changes.length > CHANGES_MAX) this.#changes.shift();
      this.#wake();
    });
  }

  /**
   * Waits for the right to send one IDENTIFY; send it right after. Throws `LeaseLost`. An aborted call
   * gives its place in the line back.
   */
  async permit(signal) {
    for (let failures = 0; ; ) {
      await this.held();
      signal?.throwIfAborted();
      const asked = performance.now();
      let alive = asked;
      const glances = setInterval(() => (alive = performance.now()), STALE_MS / 3);
      const json = { session_id: this.#sessionId };
      try {
        const options = { json, timeoutMs: LONG_POLL_TIMEOUT_MS, signal };
        const { status } = await this.#manager.call('POST', '/identify', options);
        signal?.throwIfAborted();
        if (status === 200 && performance.now() - alive < STALE_MS && !this.expired) return;
        // 202 is a place in a long line; asking again keeps it.
        failures = 0;
        await sleep(Math.max(0, 250 - (performance.now() - asked)));
      } catch (error) {
        signal?.throwIfAborted();
        if (error.isLeaseLost) {
          this.#finish('lost');
          throw new LeaseLost();
        }
        await sleep(error.retryAfterMs ?? Math.max(250, jittered(500, 5_000, failures++)));
      } finally {
        clearInterval(glances);
      }
    }
  }

  /** Gives the shard back and stops beating. Close the gateway first. */
  async release() {
    const options = { timeoutMs: RELEASE_TIMEOUT_MS };
    await this.#manager.call('DELETE', `/sessions/${this.#sessionId}`, options).catch(() => {});
    this.close();
  }

  /** Stops beating. The shard goes to somebody else when its time is up. */
  close() {
    clearInterval(this.#glances);
    this.#finish('lost');
    this.#wake();
  }

  #finish(end) {
    if (this.#end) return;
    this.#end = end;
    this.#expectAnswer();
    this.emit('end', end);
  }

  #expectAnswer() {
    this.#answered();
    this.#nextAnswer = new Promise((resolve) => (this.#answered = resolve));
  }

  async #beat() {
    let change = { state: 'starting' };
    let due = performance.now();
    let failing = false;
    // A drained shard is still ours, and beats until it is given back.
    while (this.#end !== 'lost') {
      const wait = due - performance.now();
      if (wait > 0 && (failing || !this.#changes.length)) {
        await this.#pause(wait);
        continue;
      }
      const lag = Math.max(0, -wait) / 1_000;
      // What was not answered is told again before anything newer.
      if (this.#changes.length && !failing) change = this.#changes.shift();
      const sent = now();
      try {
        const wanted = await this.#tell(change, lag);
        failing = false;
        this.#heard = true;
        this.#sent = sent;
        due = sent.steady + Math.max(50, Math.min(wanted ?? Infinity, this.#heartbeatMs));
        this.#expectAnswer();
        change.told?.();
      } catch (error) {
        // With a wrong secret nobody can tell: not a silence, but no lease either.
        if (error.isLeaseLost || (error.status === 403 && this.expired)) this.#finish('lost');
        failing = true;
        due = performance.now() + Math.min(RETRY_MS, this.#heartbeatMs);
      }
    }
    clearInterval(this.#glances);
  }

  #saidFigures() {
    try {
      return this.figures();
    } catch (error) {
      // The lease matters more than what is said of it.
      console.error('a beat goes without its figures:', error);
      return {};
    }
  }

  /** Waits, or until there is something to tell. */
  #pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Sends one beat, and does as the answer says; returns when it wants to hear more, in milliseconds. */
  async #tell({ state, closeCode }, lag) {
    const json = {
      session_id: this.#sessionId,
      epoch: this.#epoch,
      state,
      close_code: closeCode,
      number: ++this.#number,
      loop_lag: lag,
      ...this.#saidFigures(),
    };
    const timeoutMs = Math.min(5_000, Math.max(300, this.#leaseMs / 4));
    const { body } = await this.#manager.call('POST', '/beat', { json, timeoutMs });
    if (body.directive === 'drain') this.#finish('drain');
    else if (body.directive === 'reconnect') this.emit('reconnect');
    // Everything else, and what a newer manager may say: carry on.
    return positive(body.heartbeat_seconds * 1_000);
  }
}

module.exports = { Lease };
