// From an operation and what was filled in to a request: for fetch, and as a
// line for curl. Nothing here knows the page.

/** What a reference within the description stands for. */
export function resolved(description, value) {
  const reference = value?.$ref;
  if (!reference) return value ?? {};
  const found = reference.slice(2).split("/").reduce((at, key) => at?.[key.replaceAll("~1", "/").replaceAll("~0", "~")], description);
  return resolved(description, found);
}

/** The example of a parameter or of a body. */
export function example(description, about) {
  const schema = resolved(description, about.schema);
  return about.example ?? about.schema?.examples?.[0] ?? schema.examples?.[0] ?? schema.default;
}

/** `fields`: parameters and the texts that stand for them; empty ones are left
 *  out. The secret goes where the operation takes it. */
export function prepared({ method, path, operation, description }, { fields, body, accept, secret }) {
  let filled = path;
  const query = [];
  const headers = {};
  if (accept) headers.Accept = accept;
  for (const { about, value } of fields) {
    if (about.in === "path") filled = filled.replace(`{${about.name}}`, () => encodeURIComponent(value));
    if (value.trim() === "") continue;
    const values = about.schema.type === "array" ? value.split(",").map((one) => one.trim()).filter(Boolean) : [value];
    if (about.in === "query") query.push(...values.map((one) => [about.name, one]));
    if (about.in === "header") headers[about.name] = value.trim();
  }
  const ways = (operation.security ?? description.security ?? []).flatMap((way) => Object.keys(way));
  if (secret !== "") {
    if (ways.includes("secret")) headers.Authorization = secret;
    else if (ways.includes("token")) query.push(["token", secret]);
  }
  const url = new URL(filled, location.origin);
  for (const [name, value] of query) url.searchParams.append(name, value);
  const request = { method: method.toUpperCase(), url, headers };
  if (body !== undefined && body.trim() !== "") {
    headers["Content-Type"] = "application/json";
    request.body = body;
  }
  return request;
}

/** The same call for a shell. The secret itself is not in it. */
export function curl({ method, url, headers, body }) {
  const target = new URL(url);
  const token = target.searchParams.has("token");
  target.searchParams.delete("token");
  const address = quoted(target.href) + (token ? `"${target.search ? "&" : "?"}token=$SECRET"` : "");
  const parts = ["curl -i"];
  if (headers.Accept?.includes("event-stream")) parts.push("-N");
  if (method !== "GET") parts.push(`-X ${method}`);
  parts.push(address);
  for (const [name, value] of Object.entries(headers)) {
    parts.push(name === "Authorization" ? `-H "Authorization: $SECRET"` : `-H ${quoted(`${name}: ${value}`)}`);
  }
  if (body !== undefined) parts.push(`--data-binary ${quoted(body)}`);
  return parts.join(" ");
}

/** For a POSIX shell, as one word. */
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
