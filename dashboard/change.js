// The two changes that an operator asks for: another number of shards, and a
// restart of one worker after the other.

import { call, get } from "./api.js";
import { action, openDialog } from "./dialog.js";
import { facts, h, keyed, say } from "./dom.js";
import { age, bytes, known, moment, number, plural } from "./format.js";

const TYPED = 250;

/** The plan is shown before it can be applied, and only what is shown is. */
export function rescaleDialog(app, wanted = null) {
  const input = h("input", { id: "rescale-to", type: "number", min: "1", max: "65536", step: "1", required: true, inputmode: "numeric", oninput: later });
  const list = facts();
  const refusals = h("ul", { class: "trouble", "aria-label": "Why not" });
  const verdict = h("p", { role: "status" });
  const apply = action("Apply the plan", async () => {
    const to = report.to;
    await call("POST", "/plan", { shards: to });
    dialog.close();
    return `Changing to ${plural(to, "shard")}.`;
  }, { kind: "primary" });
  const content = h("form", { method: "dialog", onsubmit: (event) => { event.preventDefault(); if (!apply.button.disabled) apply.button.click(); } },
    h("p", {}, "New shards connect and stand by, go live, and only then the old ones leave. It can be taken back while it goes."),
    h("div", { class: "field" }, h("label", { for: "rescale-to" }, "Number of shards"), input),
    verdict, refusals, list.root, h("div", { class: "buttons" }, apply.root));
  let report = null;
  let timer = null;
  let asked = 0;
  apply.button.disabled = true;
  const dialog = openDialog("Another number of shards", content, { closed: () => clearTimeout(timer) });
  input.value = wanted ?? app.live.fleet?.rescale?.to ?? app.live.fleet?.planned ?? "";
  input.focus();
  input.select();
  ask();

  function later() {
    report = null;
    apply.button.disabled = true;
    clearTimeout(timer);
    timer = setTimeout(ask, TYPED);
  }

  async function ask() {
    const turn = (asked += 1);
    const to = Number(input.value);
    if (!Number.isInteger(to) || to < 1) {
      list.update([]);
      refuse([]);
      return say(verdict, "A number from 1 to 65,536.");
    }
    try {
      const answer = await get(`/plan?shards=${to}`);
      if (turn !== asked || Number(input.value) !== to) return;
      report = answer;
      show(answer);
    } catch (error) {
      if (turn === asked) say(verdict, error.message);
    }
  }

  function refuse(lines) {
    refusals.hidden = lines.length === 0;
    keyed(refusals, lines.map((line, index) => [index, line]), ([index]) => index, () => h("li"), (item, [, line]) => say(item, line));
  }

  function show(plan) {
    const now = Object.entries(plan.from).map(([total, count]) => `${number(count)} of ${number(Number(total))}`).join(" and ");
    refuse(plan.refusals);
    apply.button.disabled = plan.refusals.length > 0;
    say(verdict, plan.refusals.length ? "It will not be done:" : "It is safe:");
    list.update([
      ["live now", now], ["steps", number(plan.steps)], ["IDENTIFYs", number(plan.identifies)],
      ["session starts free", known(plan.starts_free) ? `${number(plan.starts_free)} of ${number(plan.starts_left)} left` : null],
      ["takes about", age(plan.seconds)], ["beside the live ones", plural(plan.peak_shards, "shard")],
      ["memory for them", known(plan.peak_bytes) ? bytes(plan.peak_bytes) : null],
    ]);
  }
}

export function restartDialog(app, pool = null) {
  const fleet = app.live.fleet;
  const workers = pool === null ? fleet.workers : fleet.pools.find((each) => each.pool === pool)?.workers ?? [];
  const canary = h("input", { id: "canary", type: "number", min: "0", max: "86400", step: "1", value: "0", inputmode: "numeric" });
  const begin = action("Begin", async () => {
    const query = new URLSearchParams({ pool: pool ?? "discord" });
    if (Number(canary.value) > 0) query.set("canary", canary.value);
    await call("POST", `/fleet/restart?${query}`);
    dialog.close();
    return "The restart begins.";
  }, { kind: "primary" });
  const content = h("form", { method: "dialog", onsubmit: (event) => { event.preventDefault(); begin.button.click(); } },
    h("p", {}, `${plural(workers.length, "worker")}, one at a time: the next is stopped when every ${pool ? "slot" : "shard"} is ready again. A worker that does not come back pauses it.`),
    h("div", { class: "field" }, h("label", { for: "canary" }, "Watch the first one for so many seconds (0: no longer than the others)"), canary),
    h("div", { class: "buttons" }, begin.root));
  const dialog = openDialog(pool ? `Restart the workers of ${pool}` : "Restart the workers", content);
}

/** A link that lets others look. */
export function shareDialog() {
  const days = h("input", { id: "days", type: "number", min: "1", max: "90", step: "1", value: "7", required: true, inputmode: "numeric" });
  const link = h("input", { id: "share-link", readonly: true, onfocus: () => link.select() });
  const until = h("p", { class: "muted" });
  const copy = action("Copy", async () => {
    link.select();
    await navigator.clipboard.writeText(link.value);
    return "Copied.";
  });
  const result = h("div", { class: "field", hidden: true }, h("label", { for: "share-link" }, "The link"), link, until, h("div", { class: "buttons" }, navigator.clipboard && copy.root));
  const make = action("Make a link", async () => {
    const { path, expires_at } = await call("POST", "/share", { days: Number(days.value) });
    link.value = new URL(path, location.href).href;
    result.hidden = false;
    say(until, `It ends ${moment(expires_at * 1000)}. Whoever has it can look, and change nothing.`);
    link.focus();
  }, { kind: "primary" });
  openDialog("Let others look", h("form", { method: "dialog", onsubmit: (event) => { event.preventDefault(); make.button.click(); } },
    h("p", {}, "A link shows this page to whoever has it: the fleet, its story and its logs, without any button that works. It ends with its time, and before that only with the secret: whoever changes that ends every link and every session."),
    h("div", { class: "field" }, h("label", { for: "days" }, "Days that it is good for"), days), h("div", { class: "buttons" }, make.root), result));
}
