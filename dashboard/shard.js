// The panel of one shard: how it is, how it was, why, and a restart of whoever
// holds it.

import { call, get } from "./api.js";
import { confirm, openDialog } from "./dialog.js";
import { facts, h, say, set } from "./dom.js";
import { age, known, latency, ms, number, plural, rate, some } from "./format.js";
import { now } from "./live.js";
import { plot } from "./plot.js";
import { eventList } from "./timeline.js";
import { conditionOf, of } from "./words.js";

const EVERY = 10_000;
const HOUR = 3600;

export function shardPanel(app, name, closed) {
  const state = h("p", { class: "state" });
  const list = facts();
  const holder = h("a", {});
  const delay = plot({ title: "Latency", lines: [{ key: "latency_ms", name: "latency" }], format: ms });
  const pace = plot({ title: "Events per second", lines: [{ key: "events_per_second", name: "events" }], format: rate });
  const mine = (event) => event.shard === name && !event.pool;
  const story = eventList(app.timeline, { wanted: mine, most: 60, label: "Its story, the newest first", own: name });
  app.timeline.load(`shard=${encodeURIComponent(name)}&limit=100`).catch(() => {});
  const restart = h("button", { type: "button", onclick: ask }, "Restart its worker …");
  const content = h("div", { class: "shard" }, state, list.root, app.operator && h("div", { class: "buttons" }, restart),
    delay.root, pace.root, h("h3", {}, "Its story"), story.root);
  let row = null;
  const timer = setInterval(history, EVERY);
  const dialog = openDialog(`Shard ${name}`, content, { side: true, closed() {
    clearInterval(timer);
    story.close();
    closed();
  } });
  history();

  async function history() {
    try {
      const past = await get(`/history?seconds=${HOUR}&shard=${name}`);
      for (const each of [delay, pace]) each.update({ end: past.end * 1000, step: past.step_seconds, seconds: HOUR, values: past.series });
    } catch {
      // The plots keep what they have.
    }
  }

  function ask() {
    const { worker } = row;
    const others = app.live.fleet.shards.filter((other) => other.worker === worker && other.shard !== name).map((other) => other.shard);
    const also = others.length ? ` It also holds ${plural(others.length, "other shard")}: ${some(others, 8)}.` : "";
    confirm(`Restart shard ${name}`, [`${worker} is restarted.${also}`, "The shards resume their sessions where the worker can; nobody else takes them meanwhile."],
      "Restart it", async () => {
        await call("POST", `/workers/${encodeURIComponent(worker)}/restart`);
        return `${worker} is restarted.`;
      });
  }

  function update(fleet) {
    row = fleet.byShard.get(name) ?? null;
    restart.disabled = !row?.worker;
    if (!row) {
      set(state, "data-group", "away");
      list.update([]);
      return say(state, "It is not in the plan.");
    }
    const [, group, meaning] = of(conditionOf(row));
    set(state, "data-group", group);
    const since = known(row.condition_age) ? ` for ${age(now(row, "condition_age"))}` : "";
    const until = known(row.deadline_in) ? `; something follows in ${age(now(row, "deadline_in", -1))} if it goes on` : "";
    say(state, `${meaning}${since}${until}`);
    if (row.worker) {
      say(holder, row.worker);
      set(holder, "href", `#/worker/${encodeURIComponent(row.worker)}`);
    }
    list.update([
      ["worker", row.worker ? holder : row.epoch ? "external" : "nobody"], ["epoch", known(row.epoch) ? number(row.epoch) : null],
      ["events", known(row.events_per_second) ? rate(row.events_per_second) : null], ["latency", known(row.latency) ? latency(row.latency) : null], ["guilds", known(row.guild_count) ? number(row.guild_count) : null],
      ["deaf after", known(row.deaf_after) ? age(row.deaf_after) : null], ["loop lag", known(row.loop_lag) ? latency(row.loop_lag) : null],
      ["last close code", row.close_code ? String(row.close_code) : null],
    ]);
  }

  return { dialog, update };
}
