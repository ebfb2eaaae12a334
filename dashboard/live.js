// The fleet as it is now: a stream of changes, opened again when it breaks, and
// the age of what is shown.

import { ApiError, send, session } from "./api.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;

/** A stream on which nothing was heard for so long is lost: a beat comes every
 *  ten seconds. Only the stream itself can tell, a new connection may well work. */
const QUIET = 35_000;

export class Live extends EventTarget {
  fleet = null;
  connected = false;
  retryAt = null;
  /** Why there is no stream, in the manager's words. */
  refusal = null;
  #heard = 0;
  #source = null;
  #wait = FIRST_WAIT;
  #timer = null;
  #watch = null;
  #running = false;

  start() {
    this.#running = true;
    document.addEventListener("visibilitychange", this.#seen);
    this.#watch = setInterval(() => this.#test(), 5000);
    this.#open();
  }

  stop() {
    this.#running = false;
    document.removeEventListener("visibilitychange", this.#seen);
    clearInterval(this.#watch);
    clearTimeout(this.#timer);
    this.#close();
    this.fleet = null;
  }

  /** Seconds since the last word of the manager. */
  age() {
    return this.#heard === 0 ? null : (performance.now() - this.#heard) / 1000;
  }

  /** Tries now instead of later. */
  retry() {
    clearTimeout(this.#timer);
    this.#close();
    this.#open();
  }

  // A browser keeps few connections to one host: a tab that nobody sees gives
  // its own back, and begins anew when it is seen.
  #seen = () => {
    if (document.hidden) {
      clearTimeout(this.#timer);
      this.#close();
      this.connected = false;
    } else this.retry();
  };

  #close() {
    this.#source?.close();
    this.#source = null;
  }

  #open() {
    if (!this.#running || document.hidden) return;
    this.#close();
    const source = new EventSource("/fleet/live");
    this.#source = source;
    this.retryAt = null;
    const take = (apply) => (event) => {
      if (source !== this.#source) return;
      this.#heard = performance.now();
      this.#wait = FIRST_WAIT;
      this.refusal = null;
      apply?.(JSON.parse(event.data));
      if (!this.connected) {
        this.connected = true;
        this.dispatchEvent(new Event("connection"));
      }
      if (apply) this.dispatchEvent(new Event("fleet"));
    };
    source.addEventListener("fleet", take((fleet) => this.#whole(fleet)));
    source.addEventListener("change", take((change) => this.#change(change)));
    source.addEventListener("beat", take(null));
    source.addEventListener("error", () => {
      if (source !== this.#source) return;
      const refused = source.readyState === EventSource.CLOSED;
      this.#lost();
      if (refused) this.#ask();
    });
  }

  /** A refused stream tells no reason; the same request without it does. */
  async #ask() {
    try {
      const response = await send("GET", "/fleet/live", undefined, { watch: false });
      await response.body?.cancel();
    } catch (error) {
      if (this.connected || error.status !== 503) return;
      this.refusal = error.message;
      this.dispatchEvent(new Event("connection"));
    }
  }

  #lost() {
    this.#close();
    this.connected = false;
    // Some chance in it, so that not all pages come back at once.
    const wait = this.#wait * (0.75 + Math.random() / 2);
    this.#wait = Math.min(LONGEST_WAIT, this.#wait * 2);
    this.retryAt = performance.now() + wait;
    this.#timer = setTimeout(() => this.#again(), wait);
    this.dispatchEvent(new Event("connection"));
  }

  async #again() {
    try {
      const response = await send("GET", "/sign-in", undefined, { watch: false });
      const { role } = await response.json();
      if (role === null) return session.dispatchEvent(new Event("gone"));
    } catch (error) {
      if (error instanceof ApiError && error.status === 0) return this.#lost();
    }
    this.#open();
  }

  #test() {
    if (this.connected && !document.hidden && this.age() * 1000 > QUIET) this.#lost();
  }

  #whole(fleet) {
    this.fleet = fleet;
    this.#stampAll([fleet.starts, ...fleet.shards, ...fleet.workers, ...fleet.pools]);
    this.#index();
  }

  #change(change) {
    const fleet = this.fleet;
    if (!fleet) return;
    Object.assign(fleet, change.fleet);
    this.#stampAll([change.fleet.starts, ...change.shards, ...change.workers, ...change.pools]);
    fleet.shards = merge(fleet.shards, change.shards, change.gone.shards, "shard");
    fleet.workers = merge(fleet.workers, change.workers, change.gone.workers, "worker");
    fleet.pools = merge(fleet.pools, change.pools, change.gone.pools, "pool");
    this.#index();
  }

  /** Ages are those of the moment in which they were told. */
  #stampAll(told) {
    const at = performance.now();
    for (const row of told) {
      if (!row) continue;
      row.at = at;
      for (const worker of row.workers ?? []) worker.at = at;
    }
  }

  #index() {
    this.fleet.byShard = new Map(this.fleet.shards.map((row) => [row.shard, row]));
    this.fleet.byWorker = new Map(this.fleet.workers.map((row) => [row.worker, row]));
  }
}

/** The rows with those of `changed` in place, and without those of `gone`. */
export function merge(rows, changed, gone, key) {
  if (changed.length === 0 && gone.length === 0) return rows;
  const news = new Map(changed.map((row) => [row[key], row]));
  const away = new Set(gone);
  const kept = rows.filter((row) => !away.has(row[key])).map((row) => {
    const next = news.get(row[key]);
    news.delete(row[key]);
    return next ?? row;
  });
  return news.size === 0 ? kept : [...kept, ...news.values()].sort((a, b) => compare(a[key], b[key]));
}

/** `2/8` before `10/8`, `discord-2` before `discord-10`. */
export const compare = new Intl.Collator("en", { numeric: true }).compare;

/** A number of seconds that grows (or, with `sign` -1, falls) since it was received. */
export function now(row, name, sign = 1) {
  const value = row[name];
  if (value === null || value === undefined) return null;
  return Math.max(0, value + (sign * (performance.now() - (row.at ?? performance.now()))) / 1000);
}
