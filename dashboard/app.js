// The dashboard: signs in, keeps the page that the address names, and shows
// whether what it shows is fresh.

import { ApiError, call, session } from "./api.js";
import { rescaleDialog, restartDialog, shareDialog } from "./change.js";
import { announce, h, say, set } from "./dom.js";
import { age } from "./format.js";
import { Live } from "./live.js";
import { overview } from "./overview.js";
import { shardPanel } from "./shard.js";
import { signIn } from "./signin.js";
import { Timeline } from "./timeline.js";
import { title } from "./words.js";
import { workerPage } from "./workers.js";

const main = document.getElementById("main");
const menu = document.getElementById("menu");
const link = document.getElementById("link");
const bar = document.getElementById("bar");

let app = null;

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

/** Begins to show the fleet to `role`. */
function begin(role) {
  const live = new Live();
  app = {
    live,
    timeline: new Timeline(live),
    operator: role === "operator",
    view: null,
    panel: null,
    openShard: (shard) => { location.hash = `#/shard/${shard}`; },
    rescale: (to) => rescaleDialog(app, to),
    restart: (pool) => restartDialog(app, pool),
  };
  const button = (label, does) => h("button", { type: "button", onclick: does }, label);
  menu.replaceChildren(...[
    app.operator ? button("Rescale …", () => app.rescale()) : h("span", { class: "tag" }, "read-only"),
    app.operator && button("Share …", shareDialog),
    h("a", { href: "/docs" }, "API"),
    button("Sign out", signOut),
  ].filter(Boolean));
  main.replaceChildren(h("p", { class: "plain" }, "Asking the manager …"));
  live.addEventListener("fleet", draw);
  live.addEventListener("connection", freshness);
  app.timer = setInterval(tick, 1000);
  live.start();
}

function end() {
  if (!app) return;
  clearInterval(app.timer);
  app.view?.close();
  app.panel?.dialog.close();
  document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
  app.timeline.stop();
  app.live.stop();
  app = null;
  menu.replaceChildren();
  say(link, "");
  set(bar, "data-link", null);
  set(main, "data-stale", null);
  document.title = "Shardman";
}

async function signOut() {
  try {
    await call("POST", "/sign-out");
  } catch (error) {
    return announce(error.message);
  }
  end();
  location.hash = "#/";
  ask("Signed out.");
}

function draw() {
  if (!app?.live.fleet) return;
  if (!app.view) route();
  app.view.update(app.live.fleet);
  app.panel?.update(app.live.fleet);
  document.title = title(app.live.fleet);
}

/** What grows older without news. */
function tick() {
  freshness();
  if (app?.view && !document.hidden && app.live.connected) {
    app.view.update(app.live.fleet);
    app.panel?.update(app.live.fleet);
  }
}

function freshness() {
  if (!app) return;
  const { connected, fleet } = app.live;
  // Of a tab that nobody sees the title is what is seen.
  if (!connected || document.hidden) document.title = title(null);
  if (document.hidden) return;
  // Told once; the seconds that pass are there to be seen.
  if (fleet && bar.dataset.link && (bar.dataset.link === "live") !== connected) {
    announce(connected ? "The connection is back." : "The connection is lost. What is shown grows old.");
  }
  set(bar, "data-link", connected ? "live" : "lost");
  set(main, "data-stale", !connected && fleet ? "yes" : null);
  if (connected) return say(link, "live");
  const soon = app.live.retryAt === null ? null : (app.live.retryAt - performance.now()) / 1000;
  const next = soon === null || soon < 1 ? "trying again" : `next try in ${age(soon)}`;
  const { refusal } = app.live;
  if (refusal) return say(link, `not connected: ${refusal}; ${next}`);
  say(link, fleet ? `connection lost: this is ${age(app.live.age())} old, ${next}` : `connecting, ${next}`);
}

/** `#/`, `#/shard/3/16`, `#/worker/NAME`. */
function route() {
  if (!app?.live.fleet) return;
  const parts = location.hash.replace(/^#\/?/, "").split("/").map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  const shard = parts[0] === "shard" && parts.length === 3 ? `${parts[1]}/${parts[2]}` : null;
  const page = parts[0] === "worker" && parts[1] ? `worker ${parts[1]}` : "fleet";
  closePanel(shard);
  // A shard is a panel beside the page that was there.
  if (!app.view || (!shard && app.page !== page)) {
    const moved = app.view !== null;
    app.view?.close();
    app.page = page;
    app.view = page === "fleet" ? overview(app) : workerPage(app, parts[1]);
    main.replaceChildren(app.view.root);
    app.view.update(app.live.fleet);
    if (moved) {
      window.scrollTo(0, 0);
      main.focus({ preventScroll: true });
    }
  }
  if (shard && !app.panel) {
    const back = app.page === "fleet" ? "#/" : `#/${app.page.replace("worker ", "worker/")}`;
    const panel = shardPanel(app, shard, () => {
      if (app?.panel !== panel) return;
      app.panel = null;
      history.replaceState(null, "", back);
    });
    app.panel = panel;
    app.shard = shard;
    panel.update(app.live.fleet);
  }
}

function closePanel(next) {
  if (!app.panel || app.shard === next) return;
  const { dialog } = app.panel;
  app.panel = null;
  dialog.close();
}

/** Asks for a secret. */
function ask(said) {
  end();
  const form = signIn(begin, said);
  main.replaceChildren(form.root);
  form.focus();
}

// Seen again, it begins anew, and that is no loss to tell.
document.addEventListener("visibilitychange", () => document.hidden && freshness());
session.addEventListener("gone", () => app && ask("You are no longer signed in."));
window.addEventListener("hashchange", () => (location.hash.startsWith("#share=") ? arrive() : route()));

/** Whoever comes with a link to look is signed in by it, and the link leaves the address. */
async function arrive() {
  const share = /^#share=(.+)$/.exec(location.hash)?.[1];
  if (share) {
    history.replaceState(null, "", "/#/");
    end();
    // Whoever may do more already, in this tab or another, stays that.
    const standing = await call("GET", "/sign-in").then(({ role }) => role, () => null);
    if (standing === "operator") return begin(standing);
    try {
      const { role } = await call("POST", "/sign-in", { share: decodeURIComponent(share) });
      return begin(role);
    } catch (error) {
      if (standing !== null) return begin(standing);
      return ask(error instanceof ApiError && error.status !== 0 ? `This link does not work (any more): ${error.message}` : error.message);
    }
  }
  try {
    const { role } = await call("GET", "/sign-in");
    if (role !== null) return begin(role);
    ask();
  } catch (error) {
    ask(error.message);
  }
}

arrive();
