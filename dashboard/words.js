// What the fleet is, in words: the only place that knows what a condition means.

import { age, known, number, plural, some } from "./format.js";
import { now } from "./live.js";

/** Condition: letter, group, what it means. The groups are shapes and colours:
 *  ok, busy (on its way), wait, away, bad. */
export const CONDITIONS = {
  ready: ["", "ok", "ready"],
  registered: ["G", "ok", "held, its holder reports no state"],
  unheard: ["U", "busy", "held, its holder was not heard yet"],
  assigned: ["A", "ok", "given to its process, which reports nothing"],
  standing_by: ["B", "busy", "stands by for the change of the number"],
  identifying: ["I", "busy", "identifying"],
  resuming: ["R", "busy", "resuming its session"],
  starting: ["S", "busy", "starting"],
  waiting: ["W", "wait", "waits for a permit to identify"],
  draining: ["D", "wait", "out of the plan, its holder is leaving"],
  stopping: ["T", "wait", "its holder is stopping"],
  free: ["F", "away", "held by nobody"],
  held_back: ["H", "away", "waits for its last holder's processes to end"],
  silent: ["Q", "bad", "no beat from its holder"],
  deaf: ["E", "bad", "connected, and hears nothing"],
  blocked: ["K", "bad", "its holder's loop does not run"],
  disconnected: ["N", "bad", "has no gateway connection"],
};

const UNKNOWN = ["?", "wait", "unknown"];

/** Of a holder that was never heard a first beat is due, and it is not ready. */
const unheard = (row) => row.condition === "registered" && known(row.deadline_in);

export const conditionOf = (row) => (unheard(row) ? "unheard" : row.condition || row.state);
export const of = (condition) => CONDITIONS[condition] ?? UNKNOWN;
export const word = (condition) => String(condition ?? "").replaceAll("_", " ");

/** Group of a worker's condition. */
export function workerGroup(worker) {
  const condition = conditionOf(worker);
  if (condition === "running") return "ok";
  if (condition === "starting" || condition === "stopping") return "busy";
  if (condition === "resting" || condition === "spare") return "away";
  if (condition === "backing_off") return "wait";
  return "bad";
}

/** Shard rows that do not serve, by condition, the worst first. */
export function unwell(shards) {
  const order = { bad: 0, away: 1, busy: 2, wait: 3 };
  const found = new Map();
  for (const shard of shards) {
    const condition = conditionOf(shard);
    if (of(condition)[1] === "ok") continue;
    if (!found.has(condition)) found.set(condition, []);
    found.get(condition).push(shard);
  }
  return [...found].sort((a, b) => (order[of(a[0])[1]] ?? 9) - (order[of(b[0])[1]] ?? 9));
}

/** Held by nobody for longer, in seconds, is more than a start. */
const AWAY = 30;

/** Whether somebody should look at the rows and workers of one pool. */
function serious({ shards, workers, rescale }) {
  const group = (row) => of(conditionOf(row))[1];
  if (shards.some((row) => group(row) === "bad")) return true;
  // Nobody holds what is not live yet.
  const away = shards.filter((row) => group(row) === "away" && !(rescale && Number(row.shard.split("/")[1]) === rescale.to));
  // Who has done its work leaves its own to nobody.
  const rest = workers.filter((worker) => conditionOf(worker) === "resting").reduce((sum, worker) => sum + worker.shards, 0);
  const long = away.filter((row) => (now(row, "condition_age") ?? 0) > AWAY);
  const waits = workers.some((worker) => ["wait", "bad"].includes(workerGroup(worker)));
  return long.length > rest || (away.length > rest && waits);
}

/** No bot, but pools of other processes. */
export const onlyPools = (fleet) => fleet.planned === 0 && fleet.shards.length === 0 && fleet.workers.length === 0 && fleet.pools.length > 0;

/** What is ready of what is planned: of the bot, or of the pools where there is none. */
function count(fleet) {
  if (!onlyPools(fleet)) return { ready: fleet.ready, planned: fleet.planned };
  const sum = (key) => fleet.pools.reduce((all, pool) => all + pool[key], 0);
  return { ready: sum("ready"), planned: sum("size") };
}

/** The page's title; without a fleet, what it is when nothing is known. */
export function title(fleet) {
  if (!fleet) return "? · Shardman";
  const { ready, planned } = count(fleet);
  return `${ready}/${planned} · Shardman`;
}

/** One sentence, and how serious it is: ok, busy or bad. */
export function headline(fleet) {
  const { planned, ready } = count(fleet);
  const trouble = fleet.trouble.length > 0;
  const pools = onlyPools(fleet);
  if (planned === 0 && !pools) return { level: trouble ? "bad" : "busy", text: "No shard is planned yet" };
  const counted = `${number(ready)} of ${plural(planned, pools ? "slot" : "shard")} ready`;
  const bad = fleet.pools.filter(serious);
  const level = trouble || bad.length > 0 || serious(fleet) ? "bad" : ready >= planned ? "ok" : "busy";
  if (level === "ok") return { level, text: counted };
  const worst = unwell(pools ? [] : fleet.shards).slice(0, 2);
  const why = worst.map(([condition, rows]) => {
    const names = rows.length <= 3 ? ` (${some(rows.map((row) => row.shard), 3)})` : "";
    return `${number(rows.length)} ${word(condition)}${names}`;
  });
  const told = pools ? fleet.pools.filter((pool) => pool.ready < pool.size || bad.includes(pool)) : bad;
  why.push(...told.slice(0, 3).map((pool) => `${number(pool.ready)} of ${plural(pool.size, "slot")} of ${pool.pool} ready`));
  return { level, text: why.length ? `${counted}: ${why.join(", ")}` : counted };
}

/** What the manager is doing about it, one line each. */
export function doings(fleet) {
  const lines = [];
  for (const worker of [...fleet.workers, ...fleet.pools.flatMap((pool) => pool.workers)]) {
    const exit = worker.last_exit ? `: ${worker.last_exit}` : "";
    const condition = conditionOf(worker);
    if (worker.restart_in !== null && worker.restart_in !== undefined) {
      const ends = worker.exits > 1 ? ` (${worker.exits} ends in a row${exit})` : exit && ` (it ended${exit})`;
      lines.push(`${worker.worker} is started again in ${age(now(worker, "restart_in", -1))}${ends}`);
    } else if (condition === "stopping") {
      lines.push(`${worker.worker} is stopping; it is killed in ${age(now(worker, "deadline_in", -1))} if it does not`);
    } else if (condition === "starting") {
      lines.push(`${worker.worker} is starting${exit ? `, after its end${exit}` : ""}`);
    } else if (condition === "lapsed") {
      lines.push(`${worker.worker} lost a lease, and waits for its turn to be killed`);
    }
  }
  const line = buckets(fleet);
  if (line.length) {
    const waiting = line.reduce((sum, bucket) => sum + bucket.waiting.length, 0);
    const longest = Math.max(...line.map((bucket) => bucket.waiting.length));
    lines.push(`${plural(waiting, "shard")} in the line to identify, ${number(line.length)} at a time: about ${age(longest * 5)} to go`);
  }
  const resuming = fleet.shards.filter((row) => conditionOf(row) === "resuming");
  if (resuming.length) lines.push(`${plural(resuming.length, "shard is", "shards are")} resuming (${some(resuming.map((row) => row.shard))})`);
  return lines.length > 8 ? [...lines.slice(0, 7), `and ${lines.length - 7} more`] : lines;
}

/** Who waits for a permit in which bucket, who waits longest first. */
export function buckets(fleet) {
  const width = Math.max(1, fleet.max_concurrency || 1);
  const found = new Map();
  for (const row of fleet.shards) {
    const condition = conditionOf(row);
    if (condition !== "waiting" && condition !== "identifying") continue;
    const bucket = Number(row.shard.split("/")[0]) % width;
    if (!found.has(bucket)) found.set(bucket, { bucket, identifying: [], waiting: [] });
    found.get(bucket)[condition].push(row);
  }
  for (const entry of found.values()) entry.waiting.sort((a, b) => (now(b, "condition_age") ?? 0) - (now(a, "condition_age") ?? 0));
  return [...found.values()].filter((entry) => entry.waiting.length).sort((a, b) => a.bucket - b.bucket);
}
