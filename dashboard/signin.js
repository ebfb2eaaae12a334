// The way in: the operator's secret, and where to find it.

import { call } from "./api.js";
import { h, say } from "./dom.js";

/** `begin(role)` is called once the manager knows who it is. */
export function signIn(begin, said = "") {
  const secret = h("input", { id: "secret", type: "password", name: "secret", autocomplete: "current-password", required: true, "aria-describedby": "where" });
  const outcome = h("p", { class: "outcome", role: "alert" }, said);
  const button = h("button", { type: "submit", class: "primary" }, "Sign in");
  const root = h("section", { class: "panel sign-in", "aria-labelledby": "sign-in-title" },
    h("h1", { id: "sign-in-title" }, "Sign in"),
    h("form", { onsubmit },
      // What a password manager files it under.
      h("input", { type: "text", name: "username", autocomplete: "username", value: "operator", hidden: true }),
      h("label", { for: "secret" }, "Operator secret"), secret, button, outcome),
    h("div", { id: "where", class: "muted" },
      h("p", {}, "It is the value of ", h("code", {}, "OPERATOR_SECRET"), " on the manager's host, or of ", h("code", {}, "SECRET"), " where there is none."),
      h("p", {}, "Neither is set? Then the manager made one, in the file ", h("code", {}, "secret"), " of its ", h("code", {}, "DATA_DIR"), ": ", h("code", {}, "cat data/secret"), "."),
      h("p", {}, "Whoever got a link to look needs no secret.")));

  async function onsubmit(event) {
    event.preventDefault();
    button.disabled = true;
    say(outcome, "");
    try {
      const { role } = await call("POST", "/sign-in", { secret: secret.value });
      begin(role);
    } catch (error) {
      say(outcome, error.message);
      button.disabled = false;
      secret.select();
    }
  }

  return { root, focus: () => secret.focus() };
}
