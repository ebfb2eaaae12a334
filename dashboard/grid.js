// The shards as cells: colour, shape and letter say how each is. One cell is in
// the tab order, the arrow keys move from there.

import { announce, h, keyed, say, set } from "./dom.js";
import { age, latency, number, plural } from "./format.js";
import { now } from "./live.js";
import { conditionOf, of, unwell, word } from "./words.js";

/** How large cells are for so many. */
const sizeFor = (count) => (count <= 48 ? "large" : count <= 400 ? "medium" : count <= 1600 ? "small" : "tiny");

/** `open(shard)` is called for the cell that was chosen. */
export function shardGrid(open) {
  const legend = h("ul", { class: "legend", id: "legend" });
  const readout = h("p", { class: "readout", "aria-hidden": "true" });
  const cells = h("div", { class: "cells", role: "group", "aria-label": "Shards", "aria-describedby": "legend" });
  const only = h("input", { type: "checkbox", onchange: () => root.classList.toggle("only", only.checked) });
  const find = h("input", { inputmode: "numeric", size: "6", autocomplete: "off", placeholder: "number", "aria-label": "Number of a shard" });
  const tools = h("div", { class: "tools" },
    h("label", {}, only, " only those not ready"),
    h("form", { class: "inline", onsubmit: (event) => { event.preventDefault(); goTo(find.value.trim()); } },
      find, h("button", { type: "submit" }, "Open shard")));
  const hidden = h("p", { class: "muted none" }, "Every shard is ready.");
  const root = h("section", { class: "panel shards", "aria-labelledby": "shards-title" },
    h("div", { class: "head" }, h("h2", { id: "shards-title" }, "Shards"), tools), cells, hidden, readout, legend);
  let current = null;
  let fleet = null;
  let rows = null;

  cells.addEventListener("click", (event) => {
    const cell = event.target.closest("button");
    if (cell) choose(cell);
  });
  cells.addEventListener("focusin", (event) => settle(event.target));
  cells.addEventListener("pointerover", (event) => event.target.dataset.shard && tell(event.target));
  cells.addEventListener("pointerleave", () => current && tell(current));
  cells.addEventListener("keydown", (event) => {
    const to = step(event);
    if (!to) return;
    event.preventDefault();
    to.focus();
  });

  function step({ key, target, ctrlKey, metaKey, altKey }) {
    if (ctrlKey || metaKey || altKey) return null;
    const all = [...cells.children].filter((cell) => cell.offsetParent !== null);
    const at = all.indexOf(target);
    if (at < 0) return null;
    const wide = columns(all);
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -wide, ArrowDown: wide, PageUp: -10 * wide, PageDown: 10 * wide }[key];
    if (key === "Home") return all[0];
    if (key === "End") return all[all.length - 1];
    if (by === undefined) return null;
    return all[Math.min(all.length - 1, Math.max(0, at + by))] ?? null;
  }

  function columns(all) {
    const below = all.findIndex((cell) => cell.offsetTop > all[0].offsetTop);
    return below < 0 ? all.length : below;
  }

  function settle(cell) {
    if (cell !== current) {
      if (current) set(current, "tabindex", -1);
      set(cell, "tabindex", 0);
      current = cell;
    }
    tell(cell);
  }

  function choose(cell) {
    settle(cell);
    open(cell.dataset.shard);
  }

  function goTo(name) {
    const exact = name.includes("/") ? name : rows.find((row) => row.shard.split("/")[0] === name)?.shard;
    if (exact && fleet.byShard.has(exact)) open(exact);
    else {
      say(readout, `There is no shard ${name}.`);
      announce(readout.textContent);
    }
  }

  function tell(cell) {
    const row = fleet?.byShard.get(cell.dataset.shard);
    if (!row) return;
    const parts = [`${row.shard}: ${of(conditionOf(row))[2]}`];
    if (row.condition_age !== null && row.condition_age !== undefined) parts.push(`for ${age(now(row, "condition_age"))}`);
    if (row.worker) parts.push(row.worker);
    else if (row.epoch) parts.push("external holder");
    if (row.latency !== null) parts.push(latency(row.latency));
    if (row.guild_count !== null) parts.push(plural(row.guild_count, "guild"));
    say(readout, parts.join(" · "));
  }

  function make(row) {
    return h("button", { type: "button", tabindex: "-1", "data-shard": row.shard },
      h("b", { "data-total": row.shard.split("/")[1] }, row.shard.split("/")[0]), " ", h("i"));
  }

  // A cell looks at its row only when the row is another one.
  function draw(cell, row) {
    if (cell.row === row) return;
    cell.row = row;
    const condition = conditionOf(row);
    if (cell.condition !== condition) {
      cell.condition = condition;
      const [letter, group] = of(condition);
      const [index, total] = row.shard.split("/");
      cell.className = `cell ${group}`;
      set(cell, "aria-label", `Shard ${index} ${word(condition)}, of ${total}`);
      set(cell.lastElementChild, "data-letter", letter || null);
      say(cell.lastElementChild, word(condition));
    }
  }

  function update(next) {
    fleet = next;
    if (rows !== next.shards) {
      rows = next.shards;
      const byTotal = (row) => Number(row.shard.slice(row.shard.indexOf("/") + 1));
      const mixed = rows.length > 0 && rows.some((row) => byTotal(row) !== byTotal(rows[0]));
      const ordered = mixed ? [...rows].sort((a, b) => byTotal(a) - byTotal(b)) : rows;
      set(root, "data-size", sizeFor(rows.length));
      root.classList.toggle("mixed", mixed);
      keyed(cells, ordered, (row) => row.shard, make, draw);
      if (mixed) newTotals(ordered, byTotal);
      else for (const first of cells.querySelectorAll(".first")) first.classList.remove("first");
      if (!current?.isConnected) current = null;
      if (!current && cells.firstElementChild) {
        current = cells.firstElementChild;
        set(current, "tabindex", 0);
      }
      counts();
    }
    if (current?.matches(":focus, :hover")) tell(current);
  }

  function newTotals(ordered, byTotal) {
    let last = byTotal(ordered[0]);
    ordered.forEach((row, index) => {
      const total = byTotal(row);
      cells.children[index].classList.toggle("first", total !== last);
      last = total;
    });
  }

  function counts() {
    const others = unwell(rows);
    const ok = rows.length - others.reduce((sum, [, list]) => sum + list.length, 0);
    const byOk = new Map();
    for (const row of rows) {
      const condition = conditionOf(row);
      if (of(condition)[1] === "ok") byOk.set(condition, (byOk.get(condition) ?? 0) + 1);
    }
    const entries = [...byOk, ...others.map(([condition, list]) => [condition, list.length])];
    hidden.hidden = ok < rows.length;
    keyed(legend, entries, ([condition]) => condition, ([condition]) => {
      const [letter, group, meaning] = of(condition);
      return h("li", {}, h("span", { class: `cell mark ${group}` }, h("i", { "data-letter": letter || null })),
        h("span", {}, meaning), h("b"));
    }, (item, [, count]) => say(item.lastElementChild, number(count)));
  }

  return { root, update };
}
