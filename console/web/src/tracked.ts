// The page of columns that are protected since protected values were stored there.

import { ask, Problem, type Cause, type Lifted, type Tracked, type TrackedColumns } from "./api.ts";
import { h, segment, when } from "./dom.ts";
import { line } from "./hostile.ts";
import type { App, View } from "./main.ts";

const states: Record<string, string> = {
  there: "there",
  gone: "gone: it, or its table, was dropped",
  making: "its table is being made",
  left: "left by a gate that ended, and not settled yet",
  unknown: "the server does not answer",
};

export function tracked(app: App): View {
  const list = h("div", { class: "cards" });
  const status = h("p", { class: "note", role: "status" });
  const empty = h("div", { class: "empty", hidden: true }, h("h2", {}, "Nothing is tracked"), h("p", {}, "Columns appear here when a statement stores protected values in them."));
  let left = false;
  const settle = () => (empty.hidden = list.children.length > 0);
  const load = async () => {
    try {
      const found = await ask<TrackedColumns>("/api/tracked");
      if (left) return;
      list.replaceChildren(...found.tracked.map((t) => card(t, app, (text) => (settle(), (status.textContent = text)))));
      settle();
    } catch (err) {
      if (!left) status.textContent = err instanceof Error ? err.message : String(err);
    }
  };
  void load();
  return {
    title: () => "Tracked columns",
    content: h(
      "div",
      { class: "page narrow" },
      h("h1", {}, "Tracked columns"),
      h("p", { class: "lead" }, "They are protected since a statement stored protected values in them."),
      status,
      list,
      empty,
    ),
    leave: () => {
      left = true;
    },
  };
}

function card(t: Tracked, app: App, told: (text: string) => void): HTMLElement {
  const title = `tracked-${t.id}`;
  const element = h(
    "article",
    { class: "card", "aria-labelledby": title },
    h("header", {}, h("div", { class: "what" }, h("h2", { id: title }, line(t.column, { class: "mono" })), h("p", {}, "on ", line(t.resource, { class: "resource" }), ", database ", line(t.database)))),
    h("p", { class: "reason" }, h("strong", {}, t.computed ? "Computed from: " : "Holds: "), line(t.from.join(", "))),
    t.state !== "there" && h("p", { class: "note" }, line(states[t.state] ?? t.state)),
    ...t.causes.map((c) => cause(c, app)),
  );
  const done = (l: Lifted) => {
    element.remove();
    told(`Lifted. The recording of session ${l.session} says so.`);
  };
  element.append(t.may_lift ? form(t, done) : h("p", { class: "note" }, "You cannot lift it: ", line(t.why_not ?? ""), "."));
  return element;
}

/** The first statement of somebody that stored values there. */
function cause(c: Cause, app: App): HTMLElement {
  const session = app.me.auditor ? h("a", { href: `/sessions/${segment(c.session)}` }, line(c.session, { class: "mono" })) : line(c.session, { class: "mono" });
  return h(
    "dl",
    { class: "facts" },
    h("dt", {}, "Stored by"),
    h("dd", {}, line(c.principal.name || c.principal.subject), ", ", when(c.at)),
    h("dt", {}, "Session"),
    h("dd", {}, session, `, exchange ${c.exchange}`),
    h("dt", {}, "Statement"),
    h("dd", {}, line(c.statement, { class: "mono" })),
  );
}

function form(t: Tracked, done: (l: Lifted) => void): HTMLElement {
  const comment = h("textarea", { id: `why-${t.id}`, rows: "1", maxlength: "500", placeholder: "Why it holds nothing that has to be protected" });
  const error = h("p", { class: "error", role: "alert", hidden: true });
  const lift = async () => {
    button.disabled = true;
    error.hidden = true;
    try {
      done(await ask<Lifted>("/api/tracked", { resource: t.resource, column: t.column, id: t.id, comment: comment.value }));
    } catch (err) {
      if (!(err instanceof Problem)) throw err;
      error.textContent = `${err.title}: ${err.detail}.`;
      error.hidden = false;
      button.disabled = false;
    }
  };
  const label = t.state === "gone" ? "Forget" : "Lift";
  const button = h("button", { type: "button", class: "deny", onclick: () => void lift(), "aria-label": `${label} ${t.column}` }, label);
  return h(
    "form",
    { class: "decide", onsubmit: (e: Event) => e.preventDefault() },
    h("label", { for: comment.id, class: "unseen" }, "Comment"),
    comment,
    h("div", { class: "buttons" }, button),
    error,
  );
}
