// Numbers, times and ages as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 });

export const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

export const number = (value) => (known(value) ? whole.format(value) : "–");

export const compact = (value) => (known(value) ? (Math.abs(value) < 100_000 ? whole.format(value) : short.format(value)) : "–");

export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

/** Seconds in at most two units. */
export function age(seconds) {
  if (!known(seconds)) return "–";
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return join(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min");
  return join(Math.floor(s / 86_400), "d", Math.floor((s % 86_400) / 3600), "h");
}

const join = (large, unit, small, smaller) => (small === 0 ? `${large} ${unit}` : `${large} ${unit} ${small} ${smaller}`);

/** Milliseconds; a latency comes in seconds. */
export const ms = (value) => (known(value) ? `${value < 10 ? Number(value.toFixed(value < 1 ? 2 : 1)) : whole.format(value)} ms` : "–");
export const latency = (seconds) => (known(seconds) && seconds >= 0 ? ms(seconds * 1000) : "–");

export function rate(value) {
  if (!known(value)) return "–";
  return `${value < 10 ? Number(value.toFixed(1)) : compact(value)}/s`;
}

export function bytes(value) {
  if (!known(value)) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minute = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const date = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** Time of day, with the date when it is not today. */
export function time(at) {
  const then = new Date(at);
  return then.toDateString() === new Date().toDateString() ? clock.format(then) : date.format(then);
}

export const moment = (at) => full.format(new Date(at));

/** A tick of a time axis over so many seconds. */
export const tick = (at, seconds) => (seconds > 86_400 * 1.5 ? date.format(new Date(at)).replace(/, .*/, "") : minute.format(new Date(at)));

/** `1, 2, 3 and 12 more`. */
export function some(names, most = 4) {
  const shown = names.slice(0, most).join(", ");
  return names.length > most ? `${shown} and ${number(names.length - most)} more` : shown;
}
