// The first page: everything that is to be seen of the fleet at a glance.

import { get } from "./api.js";
import { bucketPanel, budgetPanel } from "./budget.js";
import { h, say } from "./dom.js";
import { compact, known, ms, rate, time } from "./format.js";
import { shardGrid } from "./grid.js";
import { plot } from "./plot.js";
import { statusPanel } from "./status.js";
import { timelinePanel } from "./timeline.js";
import { onlyPools } from "./words.js";
import { poolsPanel, workersPanel } from "./workers.js";

const EVERY = 10_000;

export function overview(app) {
  const status = statusPanel(app);
  const grid = shardGrid((shard) => app.openShard(shard));
  const workers = workersPanel(app);
  const pools = poolsPanel(app);
  const timeline = timelinePanel(app.timeline);
  const budget = budgetPanel(app);
  const line = bucketPanel();
  const plots = plotsPanel();
  const parts = [status, grid, workers, pools, budget, line];
  const side = h("div", {}, plots.root, budget.root, line.root);
  const root = h("div", { class: "page" }, status.root, h("div", { class: "columns" },
    h("div", {}, grid.root, workers.root, pools.root, timeline.root), side));

  function update(fleet) {
    const none = onlyPools(fleet);
    for (const part of [grid.root, workers.root, side]) part.hidden = none;
    parts.forEach((part) => part.update(fleet));
  }

  return { root, update, close() {
    timeline.close();
    plots.close();
  } };
}

const RANGES = [["1 h", 3600], ["24 h", 86_400], ["7 d", 604_800]];

function plotsPanel() {
  const plots = [
    plot({ title: "Shards ready", lines: [{ key: "shards_ready", name: "ready" }, { key: "shards_total", name: "planned" }], format: compact, whole: true }),
    plot({ title: "Guilds", lines: [{ key: "guilds", name: "guilds" }], format: compact, whole: true, fromLowest: true }),
    plot({ title: "Latency", lines: [{ key: "latency_p50_ms", name: "p50" }, { key: "latency_p99_ms", name: "p99" }], format: ms }),
    plot({ title: "Events per second", lines: [{ key: "events_per_second", name: "events" }], format: rate }),
  ];
  let seconds = RANGES[0][1];
  let asked = 0;
  const said = h("p", { class: "muted", hidden: true });
  const choice = h("fieldset", { class: "choice" }, h("legend", { class: "hidden" }, "Time that is shown"),
    RANGES.map(([name, value]) => h("label", {}, h("input", { type: "radio", name: "range", value, checked: value === seconds, onchange() {
      seconds = value;
      load();
    } }), h("span", {}, name))));
  const root = h("section", { class: "panel plots", "aria-labelledby": "plots-title" },
    h("div", { class: "head" }, h("h2", { id: "plots-title" }, "Over time"), choice), said, plots.map((each) => each.root));
  const timer = setInterval(() => document.hidden || load(), EVERY);
  load();

  async function load() {
    const turn = (asked += 1);
    try {
      const past = await get(`/history?seconds=${seconds}`);
      if (turn !== asked) return;
      // What is older than the manager is not remembered.
      const values = past.series.shards_total ?? [];
      const first = values.findIndex(known);
      said.hidden = first < 2;
      if (first >= 2) say(said, `Since the manager's start, ${time((past.end - (values.length - first) * past.step_seconds) * 1000)}.`);
      for (const each of plots) each.update({ end: past.end * 1000, step: past.step_seconds, seconds, values: past.series });
    } catch (error) {
      if (turn !== asked) return;
      said.hidden = false;
      say(said, error.message);
    }
  }

  return { root, close: () => clearInterval(timer) };
}
