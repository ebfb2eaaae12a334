// The API's page, where calls can be tried. The description that the page was
// made of is read once more, and each operation gets a form. What comes from it
// or from the network is set as text alone.

import { confirm } from "./dialog.js";
import { curl, example, prepared, resolved } from "./docs-call.js";
import { announce, h, say, set } from "./dom.js";
import { bytes } from "./format.js";

/** What is kept of a stream, and shown of a body. */
const EVENTS = 200;
const LETTERS = 200_000;

/** Headers that say nothing about the call. */
const DULL = ["connection", "date", "keep-alive", "transfer-encoding"];

const secret = h("input", { id: "secret", type: "password", autocomplete: "off", spellcheck: "false", "aria-describedby": "secret-about" });
const standing = h("p", { class: "outcome", role: "status" });

try {
  const answer = await fetch("/openapi.json");
  if (!answer.ok) throw new Error(`${answer.status}`);
  begin(await answer.json());
} catch {
  document.querySelector("main").prepend(h("p", { class: "outcome bad" }, "openapi.json cannot be read, so no call can be tried here."));
}

function begin(description) {
  const sections = [...document.querySelectorAll("section[data-method]")];
  sections[0]?.before(h("section", { class: "panel who", "aria-labelledby": "who" },
    h("h2", { id: "who" }, "Try it"),
    h("div", { class: "field" }, h("label", { for: "secret" }, "Secret"), secret,
      h("p", { id: "secret-about", class: "muted" }, "For the calls of this page. It is kept in memory alone, until the page is left.")),
    standing));
  for (const section of sections) {
    const { method, path } = section.dataset;
    const operation = description.paths[path]?.[method];
    if (operation) section.append(attempt({ description, method, path, operation }));
  }
  whoIsIt();
}

async function whoIsIt() {
  try {
    const { role } = await (await fetch("/sign-in", { credentials: "same-origin" })).json();
    say(standing, role ? `This browser is signed in as ${role}; where a session counts, that is enough.` : "This browser is not signed in.");
  } catch {
    say(standing, "");
  }
}

/** What stays folded until somebody wants it. */
function attempt(call) {
  const { operationId, summary } = call.operation;
  const root = h("details", { class: "try" }, h("summary", {}, "Try it", h("span", { class: "hidden" }, `: ${summary} (${operationId})`)));
  root.addEventListener("toggle", () => {
    if (root.open && root.childElementCount === 1) root.append(form(call));
  });
  return root;
}

function form(call) {
  const { description, method, path, operation } = call;
  const fields = (operation.parameters ?? []).map((given) => field(description, resolved(description, given), operation.operationId));
  const media = operation.requestBody?.content["application/json"];
  const body = media && area(description, media, operation);
  const kinds = [...new Set(Object.entries(operation.responses)
    .filter(([status]) => status.startsWith("2"))
    .flatMap(([, answer]) => Object.keys(resolved(description, answer).content ?? {})))];
  const accept = kinds.length > 1 && choice(operation.operationId, kinds);
  const line = h("pre", { class: "curl", tabindex: "0", role: "group", "aria-label": "The same with curl" });
  const copied = h("span", { class: "outcome", role: "status" });
  const send = h("button", { type: "submit", class: "primary" }, "Send");
  const stop = h("button", { type: "button", hidden: true }, "Stop");
  const result = h("div", { class: "result" });

  const request = (known) => prepared(call, {
    fields: fields.map(({ about, input }) => ({ about, value: input.value })),
    body: body?.input.value,
    accept: accept ? accept.input.value : kinds[0],
    secret: known,
  });
  // A shell has no session: it needs a secret, which the line does not tell.
  const tell = () => say(line, curl(request("any")));
  tell();

  async function go() {
    const wanted = request(secret.value);
    const control = new AbortController();
    const halt = () => control.abort();
    set(send, "aria-disabled", "true");
    stop.hidden = false;
    stop.addEventListener("click", halt);
    await attend(wanted, control.signal, result);
    stop.removeEventListener("click", halt);
    set(send, "aria-disabled", null);
    // The focus does not vanish with the button.
    if (document.activeElement === stop) send.focus();
    stop.hidden = true;
    if (path.startsWith("/sign-")) whoIsIt();
  }

  function onsubmit(event) {
    event.preventDefault();
    // It stays focusable meanwhile: a dialog gives the focus back to it.
    if (send.hasAttribute("aria-disabled")) return;
    if (method === "get" && !operation["x-changes"]) {
      go();
      return;
    }
    const wanted = request(secret.value);
    confirm(`${wanted.method} ${wanted.url.pathname}`, [
      `${operation.summary}.`,
      operation.description,
      `This is no rehearsal: it is sent to the manager at ${location.host}, and counts at once.`,
      wanted.url.search && `With ${[...wanted.url.searchParams].filter(([name]) => name !== "token").map((pair) => pair.join(" = ")).join(", ")}`,
      wanted.body && `With the body ${wanted.body}`,
    ].filter(Boolean), "Send it", async () => { go(); });
  }

  return h("form", { onsubmit, oninput: tell, autocomplete: "off" },
    fields.map(({ root }) => root), body?.root, accept?.root,
    h("div", { class: "buttons" }, send, stop),
    result,
    h("div", { class: "head" }, h("h4", {}, "The same with curl"), h("button", { type: "button", onclick: () => copy(line, copied) }, "Copy"), copied),
    line);
}

/** A parameter. What must be there has its example; the rest is left out, and
 *  only shows what it could be. */
function field(description, about, operationId) {
  const schema = resolved(description, about.schema);
  const id = `${operationId}-${about.name}`;
  const sample = String(example(description, about) ?? "");
  const words = schema.enum ?? (schema.type === "boolean" ? ["true", "false"] : null);
  const common = { id, required: about.required, "aria-describedby": `${id}-about` };
  const input = words
    ? h("select", common, h("option", { value: "" }, "–"), words.map((word) => h("option", { value: word }, String(word))))
    : h("input", { ...common, value: about.required ? sample : null, placeholder: sample && `such as ${sample}`, spellcheck: "false", inputmode: schema.type === "integer" ? "numeric" : null });
  const note = about.required ? `${about.in}, required` : about.in;
  return { about: { ...about, schema }, input, root: labelled(id, about.name, note, schema.type === "array" ? `${about.description ?? ""} Several stand with commas between them.` : about.description ?? "", input) };
}

function area(description, media, operation) {
  const id = `${operation.operationId}-body`;
  const sample = JSON.stringify(example(description, media) ?? {}, null, 2);
  const { required } = operation.requestBody;
  const input = h("textarea", { id, required, rows: String(Math.min(14, sample.split("\n").length + 1)), spellcheck: "false", placeholder: required ? null : sample, "aria-describedby": `${id}-about` });
  if (required) input.value = sample;
  return { input, root: labelled(id, "Body", required ? "JSON, required" : "JSON", "", input) };
}

function choice(operationId, kinds) {
  const id = `${operationId}-accept`;
  const input = h("select", { id }, kinds.map((kind) => h("option", { value: kind }, kind)));
  return { input, root: labelled(id, "Answer as", "header Accept", "", input) };
}

function labelled(id, name, note, words, input) {
  return h("div", { class: "field" }, h("label", { for: id }, h("code", {}, name), h("span", { class: "muted" }, ` ${note}`)), input,
    h("p", { id: `${id}-about`, class: "muted" }, words));
}

/** Sends it and shows what comes, until it ends or is stopped. */
async function attend({ url, ...init }, signal, result) {
  const head = h("p", { class: "answer", role: "status" }, "Waiting for an answer…");
  result.replaceChildren(head);
  const began = performance.now();
  const spent = () => `${Math.round(performance.now() - began)} ms`;
  try {
    const answer = await fetch(url, { ...init, signal, credentials: "same-origin", cache: "no-store" });
    set(head, "data-status", String(answer.status)[0]);
    say(head, `${answer.status} ${answer.statusText}, after ${spent()}`);
    const headers = [...answer.headers].filter(([name]) => !DULL.includes(name));
    result.append(h("dl", { class: "headers" }, headers.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))));
    if ((answer.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
      await follow(answer.body, result, head);
      say(head, `${answer.status}: the stream ended after ${spent()}`);
      return;
    }
    const text = await answer.text();
    const size = text === "" ? "" : `, ${bytes(new Blob([text]).size)}`;
    say(head, `${answer.status} ${answer.statusText}${size} in ${spent()}`);
    if (text !== "") result.append(shown(text));
  } catch (error) {
    if (signal.aborted) say(head, `Stopped after ${spent()}`);
    else {
      set(head, "data-status", "0");
      say(head, `No answer after ${spent()}: ${error.message}`);
    }
  }
}

function shown(text) {
  let words = text;
  try {
    words = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // Then it is no JSON, and stands as it came.
  }
  const rest = words.length - LETTERS;
  if (rest > 0) words = `${words.slice(0, LETTERS)}\n… and ${rest} characters more`;
  return h("pre", { class: "body", tabindex: "0", role: "group", "aria-label": "Body of the answer" }, words);
}

/** Shows the events of a stream as they come, the newest first. */
async function follow(body, result, head) {
  const list = h("ol", { class: "stream", tabindex: "0", "aria-label": "Events, the newest first" });
  result.append(list);
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let seen = 0;
  say(head, `${head.textContent}: waiting for events`);
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split(/\r?\n\r?\n/);
    rest = parts.pop();
    for (const part of parts) {
      const event = parse(part);
      if (event.data === "") continue;
      seen += 1;
      list.prepend(h("li", {}, h("b", {}, event.name), event.id && h("span", { class: "muted" }, ` ${event.id}`), shown(event.data)));
      if (list.childElementCount > EVENTS) list.lastElementChild.remove();
    }
    if (seen > 0) say(head, `200: ${seen} ${seen === 1 ? "event" : "events"} so far`);
  }
}

/** One event (WHATWG HTML, "Server-sent events"). */
function parse(part) {
  const event = { name: "message", id: "", data: [] };
  for (const line of part.split(/\r?\n/)) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
    if (name === "data") event.data.push(value);
    else if (name === "event") event.name = value;
    else if (name === "id") event.id = value;
  }
  return { ...event, data: event.data.join("\n") };
}

async function copy(line, copied) {
  try {
    await navigator.clipboard.writeText(line.textContent);
    say(copied, "Copied.");
  } catch {
    // Not every page may write there; what is selected, a key copies.
    getSelection().selectAllChildren(line);
    say(copied, "Selected: copy it with your browser.");
  }
  announce(copied.textContent);
}
