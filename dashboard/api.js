// Calls to the manager, on the page's own host alone.

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Fires `gone` when the manager no longer knows who we are. */
export const session = new EventTarget();

/** The answer's JSON, or null where there is none. */
export async function call(method, path, body) {
  const response = await send(method, path, body);
  if (response.status === 204) return null;
  return (response.headers.get("content-type") ?? "").includes("json") ? response.json() : null;
}

export const get = (path) => call("GET", path);

/** The answer itself. Refusals are thrown, in the manager's words. */
export async function send(method, path, body, { watch = true } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      credentials: "same-origin",
      cache: "no-store",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new ApiError(0, "The manager cannot be reached.");
  }
  if (response.ok) return response;
  const detail = await words(response);
  // A 422 is what the API says of a missing secret.
  if (watch && (response.status === 401 || (response.status === 422 && /authorization/i.test(detail)))) {
    session.dispatchEvent(new Event("gone"));
  }
  throw new ApiError(response.status, detail);
}

async function words(response) {
  try {
    const { detail } = await response.json();
    if (typeof detail === "string") return detail;
    return detail.map((flaw) => `${flaw.loc?.join(".")}: ${flaw.msg}`).join("; ");
  } catch {
    return `The manager answered ${response.status}.`;
  }
}
