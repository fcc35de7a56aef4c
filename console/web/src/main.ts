import "./style.css";
import { ask, Problem, type Me, type Failing, type Outage } from "./api.ts";
import { approvals } from "./approvals.ts";
import { h, when } from "./dom.ts";
import { line } from "./hostile.ts";
import { Live } from "./live.ts";
import { session } from "./session.ts";
import { sessions } from "./sessions.ts";
import { tracked } from "./tracked.ts";

/** What the views share. */
export type App = { me: Me; live: Live; go: (path: string) => void };

/** A page. Leave is called when another takes its place. */
export type View = { title: () => string; content: HTMLElement; leave?: () => void };

const words: Record<string, string> = {
  connecting: "Connecting…",
  live: "Live",
  lost: "Connection lost, trying again…",
  "signed out": "Signed out",
};

function start(me: Me): void {
  const live = new Live();
  const content = h("main", { id: "content", tabindex: "-1" });
  const badge = h("span", { class: "badge", hidden: true });
  const connection = h("span", { class: "connection", role: "status" });
  const outage = h("div", { class: "outage", role: "status" });
  const failing = h("div", { class: "failing", role: "status" });
  const links = [
    h("a", { href: "/approvals" }, "Approvals", badge),
    me.auditor && h("a", { href: "/sessions" }, "Sessions"),
    me.tracks && h("a", { href: "/tracked" }, "Tracked"),
  ].filter((l) => l !== false);

  document.body.replaceChildren(
    h(
      "header",
      { class: "bar" },
      h("a", { class: "skip", href: "/", onclick: (e) => (e.preventDefault(), content.focus()) }, "Skip to content"),
      h("a", { class: "brand", href: "/approvals" }, h("img", { src: "/favicon.svg", alt: "", width: "28", height: "28" }), "Gatehouse"),
      h("nav", { "aria-label": "Pages" }, ...links),
      h(
        "div",
        { class: "account" },
        connection,
        line(me.name || me.subject, { class: "name" }),
        h("button", { type: "button", class: "quiet", onclick: () => void signOut() }, "Sign out"),
      ),
    ),
    outage,
    failing,
    content,
  );

  let view: View | undefined;
  const count = () => {
    const n = live.approvals.size;
    badge.textContent = String(n);
    badge.hidden = n === 0;
    document.title = `${n ? `(${n}) ` : ""}${view?.title() ?? ""} · Gatehouse`;
  };
  const show = () => {
    view?.leave?.();
    view = page(location.pathname);
    const at = location.pathname === "/" ? "/approvals" : location.pathname;
    for (const l of links) {
      if (at.startsWith(l.pathname)) l.setAttribute("aria-current", "page");
      else l.removeAttribute("aria-current");
    }
    content.replaceChildren(view.content);
    count();
  };
  const app: App = {
    me,
    live,
    go: (path) => {
      history.pushState(null, "", path);
      show();
      scrollTo(0, 0);
      content.focus();
    },
  };
  const page = (path: string): View => {
    const [, first, second] = path.split("/");
    if (first === "sessions" && me.auditor) return second ? session(decodeURIComponent(second)) : sessions(app);
    if (first === "tracked" && me.tracks) return tracked(app);
    if (first === "" || first === "approvals") return approvals(app);
    return missing();
  };

  document.addEventListener("click", (e) => {
    const link = e.target instanceof Element ? e.target.closest("a") : null;
    if (!link || e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || link.hasAttribute("download")) return;
    e.preventDefault();
    app.go(link.pathname + link.search);
  });
  addEventListener("popstate", show);
  live.addEventListener("change", count);
  live.addEventListener("connection", () => {
    if (live.connection === "signed out") return gate("Your sign-in has ended.");
    connection.textContent = words[live.connection]!;
    connection.dataset.state = live.connection;
  });
  live.addEventListener("outage", () => {
    tell(outage, live.outage);
    tellFailing(failing, live.failing);
  });
  show();
  live.start();
}

/** Says that recordings are not stored. A reason that changes is not read out. */
function tell(place: HTMLElement, o?: Outage): void {
  if (!o) return place.replaceChildren();
  const why = line(o.why.head + (o.why.hidden ? `…${o.why.tail ?? ""}` : ""));
  if (place.dataset.since === o.since && place.firstChild) return place.querySelector("[aria-live]")!.replaceChildren(why);
  place.dataset.since = o.since;
  place.replaceChildren(
    h("p", {}, h("strong", {}, "Recordings are not being stored since ", when(o.since), ": "), h("span", { "aria-live": "off" }, why)),
    h("p", {}, "They wait in the gate’s spool. When that is full, sessions stop."),
  );
}

/** Says which plugins keep failing. A reason that changes is not read out. */
function tellFailing(place: HTMLElement, failing: Failing[]): void {
  const known = failing.map((f) => `${f.plugin} ${f.since}`).join(", ");
  const why = (f: Failing) => line(f.why.head + (f.why.hidden ? `…${f.why.tail ?? ""}` : ""));
  if (place.dataset.known === known) return place.querySelectorAll("[aria-live]").forEach((e, i) => e.replaceChildren(why(failing[i]!)));
  place.dataset.known = known;
  place.replaceChildren(
    ...failing.map((f) =>
      h("p", {}, h("strong", {}, `The plugin ${f.plugin} keeps failing since `, when(f.since), ": "), h("span", { "aria-live": "off" }, why(f)), " Requests that need it are refused."),
    ),
  );
}

function missing(): View {
  return {
    title: () => "Not found",
    content: h("div", { class: "empty" }, h("h1", {}, "There is no such page"), h("p", {}, h("a", { href: "/approvals" }, "Go to the approvals"))),
  };
}

async function signOut(): Promise<void> {
  await ask("/signout", {}).catch(() => undefined);
  location.assign("/");
}

/** Shows the way in. */
function gate(why: string): void {
  document.title = "Sign in · Gatehouse";
  const back = encodeURIComponent(location.pathname + location.search);
  const enter = () => location.assign(`/signin?return=${back}`);
  document.body.replaceChildren(
    h(
      "main",
      { class: "gate" },
      h("img", { src: "/favicon.svg", alt: "", width: "56", height: "56" }),
      h("h1", {}, "Gatehouse"),
      h("p", {}, why),
      h("button", { type: "button", class: "primary", onclick: enter }, "Sign in"),
    ),
  );
}

async function main(): Promise<void> {
  try {
    start(await ask<Me>("/api/me"));
  } catch (err) {
    if (!(err instanceof Problem)) throw err;
    if (err.status === 401) return gate("Sign in to decide requests and to see sessions.");
    document.body.replaceChildren(
      h(
        "main",
        { class: "gate" },
        h("h1", {}, err.title),
        h("p", {}, err.detail),
        h("button", { type: "button", class: "primary", onclick: () => location.reload() }, "Try again"),
      ),
    );
  }
}

void main();
