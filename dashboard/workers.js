// Workers: the table of them, and the page of one.

import { call, send } from "./api.js";
import { confirm } from "./dialog.js";
import { facts, h, keyed, say, set } from "./dom.js";
import { age, bytes, known, latency, number, plural, some } from "./format.js";
import { compare, now } from "./live.js";
import { restartProgress } from "./status.js";
import { eventList } from "./timeline.js";
import { conditionOf, of, word, workerGroup } from "./words.js";

const page = (worker) => `#/worker/${encodeURIComponent(worker)}`;

/** `things` is what they hold. */
export function workerTable(label, things = "shards") {
  const body = h("tbody");
  const column = (text, numeric) => h("th", { scope: "col", class: numeric ? "n" : null }, text);
  const table = h("table", { class: "workers", "aria-label": label }, h("thead", {}, h("tr", {},
    column("worker"), column("condition"), column(things, true), column("up", true), column("memory", true), column("core", true), column("last exit"))), body);
  const none = h("p", { class: "muted" }, "The manager starts no workers: they register by themselves.");
  const root = h("div", {}, table, none);

  function make(row) {
    return h("tr", {}, h("th", { scope: "row" }, h("a", { href: page(row.worker) }, row.worker)),
      h("td", {}, h("span", { class: "state" })), h("td", { class: "n" }), h("td", { class: "n" }),
      h("td", { class: "n" }), h("td", { class: "n" }), h("td", { class: "exit" }));
  }

  function draw(line, row) {
    const state = line.querySelector(".state");
    set(state, "data-group", workerGroup(row));
    const soon = now(row, "restart_in", -1);
    say(state, known(soon) ? `${word(conditionOf(row))}, starts in ${age(soon)}` : word(conditionOf(row)));
    const cells = line.children;
    say(cells[2], `${number(row.holding)} of ${number(row.shards)}`);
    say(cells[3], known(row.uptime) ? age(now(row, "uptime")) : "");
    say(cells[4], known(row.memory_bytes) ? bytes(row.memory_bytes) : "");
    say(cells[5], known(row.cpu_percent) ? `${number(row.cpu_percent)} %` : "");
    const exits = row.exits > 1 ? ` (${row.exits} in a row)` : "";
    say(cells[6], row.last_exit ? `${row.last_exit}${exits}` : "");
  }

  return { root, update(rows) {
    table.hidden = rows.length === 0;
    none.hidden = rows.length > 0;
    // Whoever is not well stands first.
    const well = (row) => ["ok", "away"].includes(workerGroup(row));
    const ordered = [...rows.filter((row) => !well(row)), ...rows.filter(well)];
    keyed(body, ordered, (row) => row.worker, make, draw);
  } };
}

export function workersPanel(app) {
  const table = workerTable("Workers");
  const count = h("span", { class: "muted" });
  const tools = app.operator && h("div", { class: "tools" }, h("button", { type: "button", onclick: () => app.restart() }, "Restart one by one …"));
  const root = h("section", { class: "panel", "aria-labelledby": "workers-title" },
    h("div", { class: "head" }, h("h2", { id: "workers-title" }, "Workers"), count,
      tools),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Workers" }, table.root));
  return { root, update(fleet) {
    if (tools) tools.hidden = fleet.workers.length === 0;
    say(count, fleet.workers.length ? plural(fleet.workers.length, "worker") : "");
    table.update(fleet.workers);
  } };
}

/** The pools beside `discord`. */
export function poolsPanel(app) {
  const root = h("div", { class: "pools" });
  function make(pool) {
    const table = workerTable(`Workers of ${pool.pool}`, "slots");
    const progress = restartProgress(app);
    const sum = h("span", { class: "muted" });
    const panel = h("section", { class: "panel", "aria-label": `Pool ${pool.pool}` },
      h("div", { class: "head" }, h("h2", {}, `Pool ${pool.pool}`), sum,
        app.operator && h("div", { class: "tools" }, h("button", { type: "button", onclick: () => app.restart(pool.pool) }, "Restart …"))),
      progress.root, h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Workers of ${pool.pool}` }, table.root));
    panel.update = (next) => {
      say(sum, `${number(next.ready)} of ${plural(next.size, "slot")} ready`);
      progress.update(next.restart);
      table.update(next.workers);
    };
    return panel;
  }
  return { root, update(fleet) {
    keyed(root, fleet.pools, (pool) => pool.pool, make, (panel, pool) => panel.update(pool));
  } };
}

/** The worker of this name, its pool, and the rows that it holds. */
function find(fleet, name) {
  for (const pool of [fleet, ...fleet.pools]) {
    const worker = pool.workers.find((row) => row.worker === name);
    if (worker) return { worker, pool: pool.pool ?? null, rows: pool.shards.filter((row) => row.worker === name) };
  }
  return null;
}

export function workerPage(app, name) {
  const title = h("h1", {}, name);
  const list = facts();
  const held = h("ul", { class: "held", "aria-label": "Shards that it holds" });
  const restart = h("button", { type: "button", onclick: ask }, "Restart …");
  const gone = h("p", { class: "muted" }, "There is no worker of this name now. Its story and its log may still be there.");
  const mine = (event) => event.worker === name;
  const story = eventList(app.timeline, { wanted: mine, most: 60, label: "Its story, the newest first", own: name });
  app.timeline.load(`worker=${encodeURIComponent(name)}&limit=100`).catch(() => {});
  const logs = logPanel(app, name);
  let rows = [];

  const root = h("div", { class: "page" },
    h("p", { class: "back" }, h("a", { href: "#/" }, "← The fleet")),
    h("div", { class: "head" }, title, app.operator && restart), gone,
    h("div", { class: "columns even" },
      h("div", {},
        h("section", { class: "panel", "aria-label": "The worker" }, list.root, h("h2", {}, "Shards"), held),
        h("section", { class: "panel", "aria-labelledby": "story-title" }, h("h2", { id: "story-title" }, "Its story"),
          h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Story" }, story.root))),
      logs.root));

  function ask() {
    const names = rows.map((row) => row.shard);
    const what = names.length ? `It holds ${plural(names.length, "shard")}: ${some(names, 8)}. They are away until it is back.` : "It holds no shard.";
    confirm(`Restart ${name}`, [what], "Restart it",
      async () => { await call("POST", `/workers/${encodeURIComponent(name)}/restart`); return `${name} is restarted.`; });
  }

  function update(fleet) {
    const found = find(fleet, name);
    gone.hidden = Boolean(found);
    restart.disabled = !found;
    rows = found?.rows ?? [];
    if (!found) {
      list.update([]);
      return held.replaceChildren(), held.keyed?.clear();
    }
    const { worker, pool } = found;
    const spent = fleet.starts.by_worker.find((row) => row.worker === name);
    const lag = Math.max(...rows.map((row) => row.loop_lag ?? 0), 0);
    const guilds = rows.reduce((sum, row) => sum + (row.guild_count ?? 0), 0);
    list.update([
      ["condition", word(conditionOf(worker))], ["deadline", known(worker.deadline_in) ? `in ${age(now(worker, "deadline_in", -1))}` : null],
      ["starts again", known(worker.restart_in) ? `in ${age(now(worker, "restart_in", -1))}` : null],
      ["pool", pool], ["pid", worker.pid ? String(worker.pid) : null], ["up", known(worker.uptime) ? age(now(worker, "uptime")) : null],
      ["memory", known(worker.memory_bytes) ? bytes(worker.memory_bytes) : null],
      ["processor", known(worker.cpu_percent) ? `${number(worker.cpu_percent)} % of a core` : null],
      ["holds", `${number(worker.holding)} of ${number(worker.shards)}`], ["guilds", guilds ? number(guilds) : null],
      ["loop lag", rows.length && lag > 0 ? latency(lag) : null], ["exits in a row", worker.exits ? number(worker.exits) : null], ["last exit", worker.last_exit],
      ["session starts today", spent ? `${number(spent.starts)}${known(spent.share) ? ` of ${number(spent.share)}` : ""}, mostly ${spent.cause}` : null],
    ]);
    keyed(held, [...rows].sort((a, b) => compare(a.shard, b.shard)), (row) => row.shard,
      (row) => h("li", {}, h("a", { href: pool ? null : `#/shard/${row.shard}`, class: "chip" })), (item, row) => {
        const [, group] = of(conditionOf(row));
        set(item.firstElementChild, "data-group", group);
        say(item.firstElementChild, `${row.shard} ${word(conditionOf(row))}`);
      });
  }

  return { root, title, update, close() {
    story.close();
    logs.close();
  } };
}

/** The most characters of a log that the page keeps. */
const KEPT = 200_000;
const EVERY = 1000;

/** What programs send to colour a terminal. */
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])/g;

function logPanel(app, name) {
  const text = h("pre", { tabindex: "0", role: "region", "aria-label": `Log of ${name}` });
  const follow = h("input", { type: "checkbox", checked: true });
  const said = h("span", { class: "muted", role: "status" });
  const root = h("section", { class: "panel log", "aria-labelledby": "log-title" },
    h("div", { class: "head" }, h("h2", { id: "log-title" }, "Log"), h("div", { class: "tools" }, said, h("label", {}, follow, " follow"))), text);
  let position = null;
  let timer = null;
  let closed = false;

  async function read() {
    if (!document.hidden && (follow.checked || position === null)) {
      try {
        const query = position === null ? "lines=400" : `after=${position}`;
        const answer = await send("GET", `/workers/${encodeURIComponent(name)}/logs?${query}`);
        position = answer.headers.get("shardman-log-next") ?? position;
        add((await answer.text()).replace(ESCAPES, ""));
        say(said, "");
      } catch (error) {
        say(said, error.message);
      }
    }
    if (!closed) timer = setTimeout(read, EVERY);
  }

  function add(more) {
    if (more === "") return;
    const atEnd = text.scrollHeight - text.scrollTop - text.clientHeight < 40;
    const all = text.textContent + more;
    say(text, all.length <= KEPT ? all : lastOf(all));
    if (atEnd) text.scrollTop = text.scrollHeight;
  }

  /** Whole lines, unless a single one is longer than all that is kept. */
  function lastOf(all) {
    const from = all.length - KEPT;
    const at = all.indexOf("\n", from);
    return all.slice(at < 0 || at === all.length - 1 ? from : at + 1);
  }

  read();
  return { root, close() {
    closed = true;
    clearTimeout(timer);
  } };
}
