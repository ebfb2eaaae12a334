// What happened and why: the events that the page knows, those that follow, and
// lists of them.

import { get } from "./api.js";
import { h, keyed, say } from "./dom.js";
import { moment, time } from "./format.js";

const KEPT = 2000;
const RETRY = 5000;

export class Timeline extends EventTarget {
  known = new Map();
  #next = 0;
  #source = null;
  #timer = null;
  #live;

  constructor(live) {
    super();
    this.#live = live;
    live.addEventListener("connection", this.#follow);
    document.addEventListener("visibilitychange", this.#follow);
  }

  stop() {
    this.#live.removeEventListener("connection", this.#follow);
    document.removeEventListener("visibilitychange", this.#follow);
    this.#close();
  }

  /** The newest first. */
  list(wanted, most) {
    const found = [];
    const numbers = [...this.known.keys()].sort((a, b) => b - a);
    for (const number of numbers) {
      const event = this.known.get(number);
      if (wanted(event)) found.push(event);
      if (found.length >= most) break;
    }
    return found;
  }

  /** Takes in older events, with what led to them. */
  async load(query) {
    const page = await get(`/events?causes=true&${query}`);
    page.events.forEach((event) => this.known.set(event.number, event));
    this.dispatchEvent(new Event("events"));
    return page;
  }

  #close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #follow = async () => {
    if (!this.#live.connected || document.hidden) return this.#close();
    if (this.#source) return;
    this.#timer = null;
    const source = (this.#source = { close() {} });
    const seen = this.#next;
    try {
      const page = await this.load("limit=200");
      if (seen > 0) this.#gap(seen, page.next);
      this.#next = page.next;
    } catch {
      if (this.#source === source) this.#later();
      return;
    }
    if (this.#source === source) this.#open();
  };

  /** More happened after `seen` than was read: says so where it is missing. */
  #gap(seen, newest) {
    let first = newest;
    while (this.known.has(first - 1)) first -= 1;
    const after = this.known.get(first);
    if (!after || first <= seen + 1) return;
    const cause = "Events before this one are missing here: there were more than this page could follow.";
    this.known.set(first - 0.5, { number: first - 0.5, kind: "gap", at_ms: after.at_ms, cause });
    this.dispatchEvent(new Event("events"));
  }

  #later() {
    this.#close();
    this.#timer = setTimeout(this.#follow, RETRY);
  }

  #open() {
    const source = new EventSource(`/events?after=${this.#next}`);
    this.#source = source;
    source.addEventListener("message", ({ data }) => {
      const event = JSON.parse(data);
      this.known.set(event.number, event);
      this.#next = event.number;
      if (this.known.size > KEPT) this.#forget();
      this.dispatchEvent(new Event("events"));
    });
    // It was too fast for us: what is missing is read anew.
    source.addEventListener("lagged", () => this.#later());
    source.addEventListener("error", () => source === this.#source && this.#later());
  }

  #forget() {
    const oldest = [...this.known.keys()].sort((a, b) => a - b).slice(0, KEPT / 4);
    oldest.forEach((number) => this.known.delete(number));
  }
}

/** Whom it concerns. */
export function subject(event) {
  if (event.shard && event.pool) return `${event.pool} slot ${event.shard.split("/")[0]}`;
  return event.shard ?? event.worker ?? "fleet";
}

export function link(event) {
  if (event.shard && !event.pool) return `#/shard/${event.shard}`;
  return event.worker ? `#/worker/${encodeURIComponent(event.worker)}` : null;
}

const WORRY = new Set(["lost", "worker_ended", "crash_looping", "worker_halted", "halted", "brake_on", "unwell", "disk_trouble",
  "discord_unreachable", "disconnected", "permit_refused", "restart_paused", "rescale_given_up", "budget_alert", "manager_stalled"]);
const GOOD = new Set(["ready", "disk_back", "discord_back", "resumed", "rescale_finished", "restart_done", "brake_off", "worker_registered"]);

const markOf = (kind) => (WORRY.has(kind) ? ["bad", "!"] : GOOD.has(kind) ? ["ok", "✓"] : ["calm", "·"]);

/** A list of events in `timeline` for which `wanted` holds, all of `own`. */
export function eventList(timeline, { wanted, most = 60, label, own = null }) {
  const list = h("ol", { class: "events", "aria-label": label });
  const none = h("p", { class: "muted" }, "Nothing that is remembered.");
  const root = h("div", {}, list, none);
  let rule = wanted;
  let soon = null;

  function make(event) {
    const [group, mark] = markOf(event.kind);
    const to = link(event);
    const why = timeline.known.get(event.because_of);
    const about = subject(event);
    return h("li", { class: group },
      h("time", { datetime: new Date(event.at_ms).toISOString(), title: moment(event.at_ms) }, time(event.at_ms)),
      h("span", { class: "sign", title: event.kind.replaceAll("_", " ") }, mark),
      h("div", {},
        about !== own && (to ? h("a", { href: to }, about) : h("b", {}, about)), about !== own && " ",
        h("span", { class: "cause" }, event.cause),
        why && h("span", { class: "because" }, `because of ${time(why.at_ms)}${subject(why) === about ? "" : ` ${subject(why)}`}: ${why.cause}`)));
  }

  function draw() {
    soon = null;
    const events = timeline.list(rule, most);
    // Yesterday's have a date.
    keyed(list, events, (event) => event.number, make, (item, event) => say(item.firstElementChild, time(event.at_ms)));
    none.hidden = events.length > 0;
  }

  const later = () => (soon ??= requestAnimationFrame(draw));
  timeline.addEventListener("events", later);
  const timer = setInterval(later, 60_000);
  draw();
  return {
    root,
    filter(next) {
      rule = next;
      draw();
    },
    close() {
      timeline.removeEventListener("events", later);
      clearInterval(timer);
      cancelAnimationFrame(soon);
    },
  };
}

const zone = new Intl.DateTimeFormat().resolvedOptions().timeZone;

const KINDS = {
  all: () => true,
  trouble: (event) => WORRY.has(event.kind),
  workers: (event) => event.worker !== undefined && event.shard === undefined,
  shards: (event) => event.shard !== undefined,
  fleet: (event) => event.worker === undefined && event.shard === undefined,
};

/** The timeline of the whole fleet, with a filter. */
export function timelinePanel(timeline) {
  const list = eventList(timeline, { wanted: () => true, most: 80, label: "Events, the newest first" });
  const text = h("input", { type: "search", placeholder: "Filter: 3/16, discord-1, killed …", "aria-label": "Filter events", oninput: apply });
  const kind = h("select", { "aria-label": "Kind of events", onchange: apply },
    h("option", { value: "all" }, "everything"), h("option", { value: "trouble" }, "trouble"),
    h("option", { value: "workers" }, "workers"), h("option", { value: "shards" }, "shards"), h("option", { value: "fleet" }, "fleet"));
  const status = h("span", { class: "muted" });
  const root = h("section", { class: "panel timeline", "aria-labelledby": "timeline-title" },
    h("div", { class: "head" }, h("h2", { id: "timeline-title" }, "What happened"), h("span", { class: "muted" }, `times of ${zone}`), h("div", { class: "tools" }, status, text, kind)),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Events" }, list.root));

  function apply() {
    const wanted = text.value.trim().toLowerCase();
    const says = (event) => `${event.shard ?? ""} ${event.pool ?? ""} ${event.worker ?? ""} ${event.kind} ${event.cause}`.toLowerCase();
    list.filter((event) => KINDS[kind.value](event) && (wanted === "" || says(event).includes(wanted)));
    say(status, wanted || kind.value !== "all" ? "filtered" : "");
  }

  return { root, close: list.close };
}
