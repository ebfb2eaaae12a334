'use strict';

// The manager as a bot sees it: four small calls.

const { randomUUID } = require('node:crypto');
const process = require('node:process');

const ANSWER_TIMEOUT_MS = 10_000;

// The longest wait for a shard to become free, for a manager that is away, and
// for one that refuses for another reason.
const FREE_CAP_MS = 2_000;
const AWAY_CAP_MS = 5_000;
const REFUSED_CAP_MS = 30_000;

/** The shard is not ours any more. */
class LeaseLost extends Error {
  constructor() {
    super('the shard is lost');
    this.name = 'LeaseLost';
  }
}

/** The manager answered with an error. */
class Refused extends Error {
  constructor(status, detail, retryAfterMs) {
    super(`the manager answered ${status}: ${detail}`);
    this.name = 'Refused';
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether it says that the lease is no more: unknown, lapsed, or for a shard out of the plan. */
  get isLeaseLost() {
    return this.status === 401 || this.status === 404;
  }
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Exponential back-off with full jitter. */
const jittered = (first, cap, attempt) =>
  Math.max(100, Math.random() * Math.min(cap, first * 2 ** Math.min(attempt, 10)));

/** This moment on two clocks: one that never goes back, and one that goes on while the host is suspended. */
const now = () => ({ steady: performance.now(), wall: Date.now() });

class Manager {
  #url;
  #headers;

  constructor({ url = process.env.SHARDMAN_URL, secret = process.env.SECRET } = {}) {
    if (!secret) throw new Error("SECRET is not set: set it to the manager's SECRET");
    this.#url = (url || 'http://127.0.0.1:7878').replace(/\/+$/, '');
    this.#headers = { authorization: secret };
  }

  /** One call: the status and the body of a good answer. Throws `Refused`, or what `fetch` throws. */
  async call(method, path, { json, headers, timeoutMs = ANSWER_TIMEOUT_MS, signal } = {}) {
    const abort = new AbortController();
    const giveUp = () => abort.abort();
    const timer = setTimeout(giveUp, timeoutMs);
    signal?.addEventListener('abort', giveUp);
    if (signal?.aborted) giveUp();
    try {
      const answer = await fetch(this.#url + path, {
        method,
        headers: { ...this.#headers, ...headers, ...(json && { 'content-type': 'application/json' }) },
        body: json && JSON.stringify(json),
        signal: abort.signal,
      });
      const text = await answer.text();
      const body = text ? JSON.parse(text) : {};
      if (!answer.ok) throw new Refused(answer.status, body.detail, retryAfterMs(answer));
      return { status: answer.status, body };
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', giveUp);
    }
  }

  /**
   * A shard of our own, however long it takes; undefined when the signal is aborted. Throws `Refused`
   * where no waiting helps, such as for a wrong secret.
   */
  async connect({ signal } = {}) {
    const { Lease } = require('./lease');
    // One key for the whole series: if an answer gets lost, asking again gets
    // the lease that it granted, not a second one.
    const headers = { 'idempotency-key': randomUUID() };
    for (let attempt = 0; !signal?.aborted; attempt++) {
      const sent = now();
      try {
        const { body } = await this.call('GET', '/connect?identify=ask', { headers, signal });
        return new Lease(this, body, sent);
      } catch (error) {
        const waits = error.status >= 500 || [401, 408, 429].includes(error.status);
        if (error instanceof Refused && !waits) throw error;
        await sleep(waitAfter(error, attempt));
      }
    }
  }
}

function waitAfter({ status, retryAfterMs: after }, attempt) {
  if (after !== undefined) return Math.min(after, REFUSED_CAP_MS) + Math.random() * 1_000;
  if (status === undefined) return jittered(250, AWAY_CAP_MS, attempt);
  return Math.max(250, jittered(1_000, status === 401 ? FREE_CAP_MS : REFUSED_CAP_MS, attempt));
}

function retryAfterMs(answer) {
  const seconds = Number.parseFloat(answer.headers.get('retry-after'));
  return seconds >= 0 ? seconds * 1_000 : undefined;
}

module.exports = { jittered, LeaseLost, Manager, now, Refused, sleep };
