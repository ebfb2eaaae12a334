// Dialogs: the focus stays in them, Escape closes them, and goes back to where
// it was. All of that is the browser's own <dialog>.

import { announce, h, say } from "./dom.js";

let count = 0;

/** Opens a dialog. `closed` is called once, however it is closed. */
export function openDialog(title, content, { side = false, closed } = {}) {
  const id = `dialog-${(count += 1)}`;
  const close = h("button", { type: "button", class: "close", "aria-label": "Close", onclick: () => dialog.close() }, "✕");
  const dialog = h("dialog", { class: side ? "side" : null, "aria-labelledby": id },
    h("div", { class: "head" }, h("h2", { id, tabindex: "-1" }, title), close), content, h("div", { class: "said hidden", role: "status" }));
  // A click beside it closes it too.
  dialog.addEventListener("pointerdown", (event) => {
    if (event.target !== dialog) return;
    const box = dialog.getBoundingClientRect();
    const inside = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
    if (!inside) dialog.close();
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    closed?.();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** A button that does something at the manager, and says what came of it. */
export function action(label, does, { kind = null, done = null } = {}) {
  const said = h("span", { class: "outcome", role: "status" });
  const button = h("button", { type: "button", class: kind, async onclick() {
    if (button.disabled) return;
    button.disabled = true;
    said.classList.remove("bad");
    say(said, "…");
    try {
      const words = (await does()) ?? done ?? "";
      say(said, words);
      if (words) announce(words);
    } catch (error) {
      said.classList.add("bad");
      say(said, error.message);
    }
    button.disabled = false;
  } }, label);
  return { button, said, root: h("span", { class: "action" }, button, said) };
}

/** Asks before something is done. */
export function confirm(title, text, label, does) {
  const act = action(label, async () => {
    const words = await does();
    dialog.close();
    if (words) announce(words);
    return words;
  }, { kind: "primary" });
  const content = h("div", {}, text.map((line) => h("p", {}, line)),
    h("div", { class: "buttons" }, act.root, h("button", { type: "button", onclick: () => dialog.close() }, "Leave it")));
  const dialog = openDialog(title, content);
}
