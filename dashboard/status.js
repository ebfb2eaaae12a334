// How the fleet is: one sentence, what is wrong, what is done about it, and the
// changes that are under way with what an operator can do.

import { call } from "./api.js";
import { action, confirm } from "./dialog.js";
import { announce, h, keyed, say, set } from "./dom.js";
import { age, number, plural, some } from "./format.js";
import { doings, headline } from "./words.js";

/** `app`: `{ operator, rescale(number) }`. */
export function statusPanel(app) {
  const sentence = h("h1", { class: "sentence" });
  const trouble = h("ul", { class: "trouble", "aria-label": "What is wrong" });
  const doing = h("ul", { class: "doing", "aria-label": "What the manager does" });
  const proposal = h("p", { class: "proposal" });
  const look = h("button", { type: "button", onclick: () => app.rescale() }, "Look at the plan …");
  const suggested = h("div", { class: "suggested" }, proposal, app.operator && look);
  const resume = h("button", { type: "button", class: "primary", onclick: askToResume }, "Resume the fleet …");
  const rescale = rescaleProgress(app);
  const restart = restartProgress(app);
  const root = h("section", { class: "status", "aria-label": "How the fleet is" }, sentence, trouble,
    app.operator && h("div", { class: "resume" }, resume), doing, suggested, rescale.root, restart.root);

  function askToResume() {
    confirm("Resume the fleet", ["Nothing is started until somebody says that the cause is gone. Is it?"], "It is: resume",
      async () => { await call("POST", "/fleet/resume"); return "The fleet is resumed."; });
  }

  function update(fleet) {
    const { level, text } = headline(fleet);
    // Who cannot see it is told when it gets better or worse.
    if (root.dataset.level && root.dataset.level !== level) announce(text);
    set(root, "data-level", level);
    say(sentence, text);
    lines(trouble, fleet.trouble);
    lines(doing, doings(fleet));
    const halted = fleet.halted !== null || fleet.workers.some((worker) => worker.state === "halted");
    resume.parentElement && (resume.parentElement.hidden = !halted);
    suggested.hidden = !fleet.proposal;
    say(proposal, fleet.proposal ?? "");
    rescale.update(fleet);
    restart.update(fleet.restart);
  }

  return { root, update };
}

function lines(list, texts) {
  keyed(list, texts.map((text, index) => [index, text]), ([index]) => index, () => h("li"), (item, [, text]) => say(item, text));
  list.hidden = texts.length === 0;
}

function bar(label) {
  const meter = h("progress", { max: "1", value: "0", "aria-label": label });
  return { meter, update(done, total) {
    meter.max = Math.max(1, total);
    meter.value = done;
  } };
}

const PHASES = { stand_by: "the new shards connect and stand by", go_live: "the new shards go live", drain: "the old shards leave" };

function rescaleProgress(app) {
  const title = h("b");
  const progress = bar("Steps of the change");
  const text = h("p");
  const back = h("button", { type: "button", onclick: () => app.rescale(former) }, "Take it back …");
  const root = h("div", { class: "progress", role: "group", "aria-label": "Change of the number of shards" }, title, progress.meter, text,
    app.operator && h("div", { class: "buttons" }, back));
  let former = null;
  return { root, update(fleet) {
    const change = fleet.rescale;
    root.hidden = !change;
    if (!change) return;
    former = change.from;
    back.disabled = former === null;
    say(title, `Changing to ${plural(change.to, "shard")}: step ${number(Math.min(change.done + 1, change.steps))} of ${number(change.steps)}`);
    progress.update(change.done, change.steps);
    const phase = PHASES[change.phase] ?? "between two steps";
    const waits = change.waiting_for.length ? `; waits for ${some(change.waiting_for)}` : "";
    say(text, `${phase}${waits}. Asked for: ${change.cause}.`);
  } };
}

/** A planned restart, of `discord` or another pool. The three controls are the
 *  fleet's: they hold for every pool. */
export function restartProgress(app) {
  const title = h("b");
  const progress = bar("Workers restarted");
  const text = h("p");
  const hold = action("Pause", () => call("POST", "/fleet/restart/pause"), { done: "Paused." });
  const go = action("Continue", () => call("POST", "/fleet/restart/continue"), { done: "It goes on." });
  const cancel = action("Cancel", () => call("DELETE", "/fleet/restart"), { done: "Cancelled." });
  const root = h("div", { class: "progress", role: "group", "aria-label": "Planned restart" }, title, progress.meter, text,
    app.operator && h("div", { class: "buttons" }, hold.root, go.root, cancel.root));
  return { root, update(restart) {
    const active = restart && ["running", "paused"].includes(restart.state);
    root.hidden = !active;
    if (!active) return;
    say(title, `Restarting workers: ${number(restart.done)} of ${number(restart.total)} done${restart.state === "paused" ? ", paused" : ""}`);
    progress.update(restart.done, restart.total);
    const parts = [];
    if (restart.current) parts.push(`now ${restart.current}`);
    if (restart.waiting_for) parts.push(`waits: ${restart.waiting_for}`);
    if (restart.paused) parts.push(`paused: ${restart.paused}`);
    if (restart.canary) parts.push(`the first one is watched for ${age(restart.canary)}`);
    if (restart.queue.length) parts.push(`then ${some(restart.queue)}`);
    say(text, parts.join(" · "));
    hold.root.hidden = restart.on_hold;
    go.root.hidden = restart.state !== "paused" && !restart.on_hold;
  } };
}
