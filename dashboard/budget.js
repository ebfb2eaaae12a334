// Discord's session starts, and who waits for a permit to identify.

import { call } from "./api.js";
import { confirm } from "./dialog.js";
import { facts, h, keyed, say, set, svg } from "./dom.js";
import { age, known, number } from "./format.js";
import { now } from "./live.js";
import { buckets } from "./words.js";

export function budgetPanel(app) {
  const used = svg("rect", { y: 0, height: 10, x: 0, width: 0, class: "left" });
  const reserve = svg("rect", { y: 0, height: 10, x: 0, width: 0, class: "reserve" });
  const gauge = svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img", class: "gauge" },
    svg("rect", { width: 100, height: 10, class: "track" }), used, reserve);
  const list = facts();
  const forecast = h("p", { class: "forecast" });
  const spenders = h("tbody");
  const table = h("details", {}, h("summary", {}, "Who spent them in the last 24 hours"),
    h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "worker"), h("th", { scope: "col", class: "n" }, "starts"),
      h("th", { scope: "col", class: "n" }, "share"), h("th", { scope: "col" }, "mostly for"))), spenders));
  const spend = h("button", { type: "button", onclick: ask }, "Spend the reserve …");
  const unknown = h("p", { class: "muted" }, "Discord was not asked: nothing is known.");
  const root = h("section", { class: "panel", "aria-labelledby": "budget-title" },
    h("div", { class: "head" }, h("h2", { id: "budget-title" }, "Session starts")), unknown, gauge, forecast, list.root, table,
    app.operator && h("div", { class: "buttons" }, spend));

  function ask() {
    confirm("Spend the reserve", ["The last part of the day's session starts is kept for emergencies. With an empty budget Discord resets the bot's token.",
      "Until Discord gives new ones, the fleet may use the reserve, and workers may exceed their shares."], "Spend it",
    async () => { await call("POST", "/fleet/spend-reserve"); return "The reserve may be used."; });
  }

  function update(fleet) {
    const { starts } = fleet;
    const { total, remaining, reserve: kept, by_worker } = starts;
    const [resets_in, used_up_in] = [now(starts, "resets_in", -1), now(starts, "used_up_in", -1)];
    const has = known(total) && known(remaining) && total > 0;
    unknown.hidden = has;
    for (const part of [gauge, forecast, list.root, spend]) part.toggleAttribute("hidden", !has);
    if (has) {
      const left = (100 * Math.min(remaining, total)) / total;
      const back = Math.min(left, (100 * (kept ?? 0)) / total);
      set(used, "x", back);
      set(used, "width", Math.max(0, left - back));
      set(reserve, "width", back);
      set(gauge, "aria-label", `${number(remaining)} of ${number(total)} session starts left, ${number(kept ?? 0)} of them in reserve`);
      const low = remaining - (kept ?? 0) < total / 10;
      set(root, "data-level", known(used_up_in) || low ? "bad" : null);
      say(forecast, known(used_up_in)
        ? `At the rate of the last hour they are used up in ${age(used_up_in)}, before Discord gives new ones.`
        : remaining <= (kept ?? 0) ? "Only the reserve is left." : "At the rate of the last hour they last until Discord gives new ones.");
      list.update([["left", `${number(remaining)} of ${number(total)}`], ["reserve", known(kept) ? number(kept) : null],
        ["resets in", known(resets_in) ? age(resets_in) : null]]);
    }
    const rows = by_worker;
    table.hidden = rows.length === 0;
    keyed(spenders, rows, (row) => row.worker, (row) => h("tr", {}, h("td", {}, row.worker), h("td", { class: "n" }), h("td", { class: "n" }), h("td")),
      (line, row) => [number(row.starts), known(row.share) ? number(row.share) : "–", row.cause]
        .forEach((text, index) => say(line.children[index + 1], text)));
  }

  return { root, update };
}

/** Most buckets that are listed. */
const SHOWN = 16;

export function bucketPanel() {
  const list = h("ol", { class: "buckets" });
  const text = h("p", { class: "muted" });
  const root = h("section", { class: "panel", "aria-labelledby": "buckets-title" },
    h("div", { class: "head" }, h("h2", { id: "buckets-title" }, "Line to identify")), text, list);

  function update(fleet) {
    const found = buckets(fleet);
    const wide = `${number(fleet.max_concurrency)} ${fleet.max_concurrency === 1 ? "bucket" : "buckets"}, one IDENTIFY each in 5 s`;
    const beyond = found.length > SHOWN ? ` ${number(found.length - SHOWN)} more buckets have a line.` : "";
    say(text, found.length === 0 ? `Nobody waits. ${wide}.` : `${wide}.${beyond}`);
    keyed(list, found.slice(0, SHOWN), (entry) => entry.bucket, (entry) => h("li", {}, h("b", {}, `bucket ${entry.bucket}`), h("span")), (item, entry) => {
      const first = entry.waiting.slice(0, 3).map((row) => `${row.shard} (${age(now(row, "condition_age"))})`).join(", ");
      const more = entry.waiting.length > 3 ? ` and ${number(entry.waiting.length - 3)} more` : "";
      const busy = entry.identifying.length ? `; ${entry.identifying.map((row) => row.shard).join(", ")} identifying` : "";
      say(item.lastElementChild, `${first}${more}${busy}`);
    });
  }

  return { root, update };
}
