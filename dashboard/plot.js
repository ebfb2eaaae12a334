// A plot of some values over time: lines in SVG, a cursor for pointer and arrow
// keys, and the same in words for who cannot see it.

import { h, set, say, svg } from "./dom.js";
import { age, known, moment, tick, time } from "./format.js";

const HEIGHT = 128;
const PAD = { left: 52, right: 8, top: 8, bottom: 20 };

/** `lines`: `{ key, name }` in the order of their colours. `format` makes words of
 *  a value; `whole` says that there is nothing between two numbers. The axis
 *  begins at zero unless `fromLowest`. */
export function plot({ title, lines, format, whole = false, fromLowest = false }) {
  const readout = h("span", { class: "values" });
  const canvas = svg("svg", { height: HEIGHT, "aria-hidden": "true" });
  const cursor = h("div", { class: "cursor", role: "slider", tabindex: "0", "aria-label": title, "aria-orientation": "horizontal",
    "aria-valuemin": "0", "aria-valuemax": "0", "aria-valuenow": "0" }, canvas);
  const keys = lines.length < 2 ? null : h("span", { class: "keys", "aria-hidden": "true" },
    lines.map((line, index) => h("span", { class: `key line-${index}` }, line.name)));
  const root = h("figure", { class: "plot" }, h("figcaption", {}, h("span", { class: "name" }, title), keys, readout), cursor);
  let data = null;
  let at = null;
  let width = 0;

  new ResizeObserver(([entry]) => {
    const next = Math.round(entry.contentRect.width);
    if (next !== width) {
      width = next;
      draw();
    }
  }).observe(cursor);
  cursor.addEventListener("pointermove", (event) => {
    if (!data) return;
    const box = cursor.getBoundingClientRect();
    point(Math.round(((event.clientX - box.left - PAD.left) / inner()) * (data.count - 1)));
  });
  cursor.addEventListener("pointerleave", () => cursor !== document.activeElement && point(null));
  cursor.addEventListener("blur", () => point(null));
  cursor.addEventListener("focus", () => data && point(data.count - 1));
  cursor.addEventListener("keydown", (event) => {
    const last = data ? data.count - 1 : 0;
    const wide = Math.max(1, Math.round(last / 12));
    const from = at ?? last;
    const to = { ArrowLeft: from - 1, ArrowRight: from + 1, PageDown: from - wide, PageUp: from + wide, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    point(to);
  });

  const inner = () => Math.max(1, width - PAD.left - PAD.right);
  const timeOf = (index) => data.end - (data.count - 1 - index) * data.step * 1000;
  const x = (index) => PAD.left + (data.count < 2 ? 0 : (index / (data.count - 1)) * inner());

  function words(index) {
    const values = lines.map((line) => {
      const value = data.values[line.key]?.[index];
      return lines.length > 1 ? `${line.name} ${format(value)}` : format(value);
    });
    return values.join(", ");
  }

  function point(index) {
    at = index === null || !data ? null : Math.min(data.count - 1, Math.max(0, index));
    canvas.querySelector(".hair")?.remove();
    if (at !== null) canvas.append(svg("line", { class: "hair", x1: x(at), x2: x(at), y1: PAD.top, y2: HEIGHT - PAD.bottom }));
    tell();
  }

  function tell() {
    if (!data || data.count === 0) return say(readout, "");
    const shown = at ?? data.last;
    // The newest step may not be over; a value before that is of its own time.
    const old = data.count - 1 - shown > 1;
    const when = at !== null ? `${moment(timeOf(shown))}: ` : old ? `${time(timeOf(shown))}: ` : "";
    say(readout, data.some ? when + words(shown) : "nothing yet");
    set(cursor, "aria-valuenow", shown);
    set(cursor, "aria-valuetext", `${moment(timeOf(shown))}: ${words(shown)}`);
  }

  function range() {
    let [low, high] = [Infinity, -Infinity];
    for (const { key } of lines) {
      for (const value of data.values[key] ?? []) {
        if (!known(value)) continue;
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    }
    if (low > high) return { low: 0, high: 1, unit: 1 };
    if (!fromLowest) low = 0;
    if (high - low < 1e-9) high = low + Math.max(1, Math.abs(low) * 0.1);
    const unit = Math.max(whole ? 1 : 0, nice((high - low) / 3));
    return { low: Math.floor(low / unit) * unit, high: Math.ceil(high / unit) * unit, unit };
  }

  function draw() {
    if (!data || width < 40) return;
    const { low, high, unit } = range();
    const y = (value) => HEIGHT - PAD.bottom - ((value - low) / (high - low)) * (HEIGHT - PAD.top - PAD.bottom);
    const parts = [];
    for (let value = low; value <= high + unit / 2; value += unit) {
      parts.push(svg("line", { class: "grid", x1: PAD.left, x2: width - PAD.right, y1: y(value), y2: y(value) }));
      parts.push(svg("text", { x: PAD.left - 6, y: y(value) + 4, "text-anchor": "end" }, format(value)));
    }
    const ticks = Math.max(2, Math.min(6, Math.floor(inner() / 90)));
    for (let part = 0; part <= ticks; part += 1) {
      const index = (part / ticks) * (data.count - 1);
      const anchor = part === 0 ? "start" : part === ticks ? "end" : "middle";
      parts.push(svg("text", { x: x(index), y: HEIGHT - 4, "text-anchor": anchor }, tick(timeOf(index), data.seconds)));
    }
    lines.forEach((line, index) => {
      parts.push(svg("path", { class: `line line-${index}`, d: path(data.values[line.key] ?? [], y) }));
    });
    set(canvas, "width", width);
    canvas.replaceChildren(...parts);
    point(at);
  }

  /** A line with a gap wherever nothing is known. A value alone is a dot. */
  function path(values, y) {
    let d = "";
    values.forEach((value, index) => {
      if (!known(value)) return;
      const alone = !known(values[index - 1]) && !known(values[index + 1]);
      const to = `${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
      d += known(values[index - 1]) ? `L${to}` : `M${to}`;
      if (alone) d += "h0.01";
    });
    return d;
  }

  /** `end` in milliseconds since 1970, `step` and `seconds` in seconds. */
  function update({ end, step, seconds, values }) {
    // What is not remembered is empty space on the left.
    const count = Math.max(1, Math.round(seconds / step), ...lines.map(({ key }) => values[key]?.length ?? 0));
    const padded = lines.map(({ key }) => [key, [...Array(count - (values[key]?.length ?? 0)).fill(null), ...(values[key] ?? [])]]);
    values = Object.fromEntries(padded);
    const has = (index) => lines.some((line) => known(values[line.key]?.[index]));
    let last = count - 1;
    while (last > 0 && !has(last)) last -= 1;
    data = { end, step, seconds, values, count, last, some: has(last) };
    set(cursor, "aria-valuemax", count - 1);
    set(cursor, "aria-label", `${title}, last ${age(seconds)}`);
    draw();
    tell();
  }

  return { root, update };
}

/** 1, 2 or 5 times a power of ten, at least `value`. */
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 5].find((factor) => factor * power >= value) ?? 10) * power;
}
