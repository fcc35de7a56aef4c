// The page on which held requests are decided.

import { ask, Problem, type Approval, type Attr, type Ending, type Revealed, type Text } from "./api.ts";
import { count, duration, h, segment, when } from "./dom.ts";
import { because, code, line, value, visible } from "./hostile.ts";
import type { Change } from "./live.ts";
import type { App, View } from "./main.ts";

// After cards moved, nothing can be decided for this long: whoever was about
// to click would click on another request.
const settling = 700;

// How many of the requests that ended are still told of.
const remembered = 5;

const endings: Record<string, string> = {
  approved: "was approved",
  denied: "was denied",
  expired: "expired: nobody decided in time",
  withdrawn: "was withdrawn: its client cancelled or hung up",
  outdated: "ended: the policy changed while it waited",
  ended: "has ended",
};

export function approvals(app: App): View {
  const { live, me } = app;
  const cards = new Map<string, Card>();
  const list = h("div", { class: "cards" });
  const news = h("p", { class: "unseen", "aria-live": "polite" });
  const ended = h("ul", {});
  const past = h("section", { class: "past", hidden: true, "aria-labelledby": "past" }, h("h2", { id: "past" }, "Just ended"), ended);
  const empty = h(
    "div",
    { class: "empty" },
    h("h2", {}, "Nothing waits for you"),
    h("p", {}, "Requests that your groups may decide appear here at once."),
    me.groups.length > 0 && h("p", { class: "chips" }, ...me.groups.map((g) => line(g, { class: "chip" }))),
  );
  const heading = h("p", { class: "lead" });

  let timer = 0;
  const moved = () => {
    list.classList.add("settling");
    clearTimeout(timer);
    timer = window.setTimeout(() => list.classList.remove("settling"), settling);
  };
  const misses = (e: Event) => {
    if (list.classList.contains("settling") && (e.target as Element).closest(".buttons")) e.stopPropagation();
  };
  list.addEventListener("click", misses, true);
  const summary = () => {
    const n = cards.size;
    empty.hidden = n > 0;
    heading.textContent = n === 0 ? "" : `${count(n, "request")} held until someone decides. What you approve is exactly what runs.`;
  };
  const add = (a: Approval) => {
    const c = card(a, app);
    cards.set(a.id, c);
    list.append(c.element);
  };
  const onChange = (e: Event) => {
    const { appeared, ended: ending } = (e as CustomEvent<Change>).detail;
    if (appeared) {
      add(appeared);
      news.textContent = `New request on ${appeared.resource} by ${appeared.principal.name || appeared.principal.subject}: ${appeared.reason}`;
    }
    const gone = ending && cards.get(ending.id);
    if (gone) {
      const last = gone.element === list.lastElementChild;
      gone.element.remove();
      cards.delete(ending.id);
      if (!last) moved();
      ended.prepend(report(ending, gone.approval));
      while (ended.children.length > remembered) ended.lastElementChild!.remove();
      past.hidden = false;
      news.textContent = ended.firstElementChild!.textContent;
    }
    summary();
  };

  for (const a of live.approvals.values()) add(a);
  summary();
  live.addEventListener("change", onChange);
  const ticking = window.setInterval(() => {
    for (const [id, c] of cards) c.tick((live.deadlines.get(id) ?? 0) - performance.now());
  }, 500);

  return {
    title: () => "Approvals",
    content: h("div", { class: "page narrow" }, h("h1", {}, "Approvals"), heading, news, list, empty, past),
    leave: () => {
      clearInterval(ticking);
      clearTimeout(timer);
      live.removeEventListener("change", onChange);
    },
  };
}

/** Says in one line how a request ended. */
function report(e: Ending, a: Approval): HTMLElement {
  return h(
    "li",
    {},
    h("span", { class: `dot ${e.how}` }),
    line(a.principal.name || a.principal.subject),
    " on ",
    line(a.resource),
    ` (${e.id}) ${endings[e.how] ?? endings.ended}`,
    e.by ? [" by ", line(e.by)] : null,
    e.comment ? [": “", line(e.comment), "”"] : null,
  );
}

type Card = { approval: Approval; element: HTMLElement; tick: (left: number) => void };

function card(a: Approval, app: App): Card {
  const total = Date.parse(a.expires) - Date.parse(a.since);
  const time = h("span", { class: "time" });
  const bar = h("progress", { max: String(total), "aria-label": "Time left" });
  const tick = (left: number) => {
    bar.value = Math.max(0, left);
    time.textContent = `${duration(left)} left`;
    element.classList.toggle("urgent", left < 60_000);
  };
  const title = `request-${a.id}`;
  const whole = () => ask<Approval>(`/api/approvals/${segment(a.id)}`);
  const element = h(
    "article",
    { class: "card", "aria-labelledby": title, "data-id": a.id },
    h(
      "header",
      {},
      h("div", { class: "what" }, h("h2", { id: title }, line(a.principal.name || a.principal.subject)), h("p", {}, "wants to run this on ", line(a.resource, { class: "resource" }), " · request ", line(a.id, { class: "mono" }))),
      h("div", { class: "clock" }, time, bar),
    ),
    h("p", { class: "reason" }, h("strong", {}, "Held: "), because(a.reason, a.rule)),
    transaction(a.attrs),
    body(a, whole),
    labels(a.labels),
    facts(a, app),
    a.may_decide ? form(a, app) : h("p", { class: "note" }, `You cannot decide this: ${a.why_not ?? ""}.`),
  );
  tick((app.live.deadlines.get(a.id) ?? 0) - performance.now());
  return { approval: a, element, tick };
}

/** The statement with its parameters, and what is masked in them. */
function body(a: Approval, whole: () => Promise<Approval>): HTMLElement {
  const shown = h("div", { class: "body" }, code(a.statement, async (): Promise<Text> => (await whole()).statement), parameters(a, whole));
  if (!a.masked?.length) return shown;
  const error = h("p", { class: "error", role: "alert", hidden: true });
  const reveal = async () => {
    error.hidden = true;
    try {
      const r = await ask<Revealed>(`/api/approvals/${segment(a.id)}/reveal`, { digest: a.digest });
      const b = { ...a, ...r, params_hidden: 0 };
      const same = async () => b;
      shown.replaceChildren(code(b.statement, async () => b.statement), parameters(b, same) ?? "", h("p", { class: "note" }, "Values are shown as they were sent. That you saw them is recorded."));
    } catch (err) {
      if (!(err instanceof Problem)) throw err;
      error.textContent = `${err.title}: ${err.detail}.`;
      error.hidden = false;
    }
  };
  const columns = h("span", { class: "mono" }, ...visible(a.masked.join(", ").replaceAll("*", "any")));
  shown.append(
    h(
      "p",
      { class: "masked" },
      "Values of ",
      columns,
      " are masked. ",
      a.may_reveal ? h("button", { type: "button", class: "link", onclick: () => void reveal(), "aria-label": `Reveal values of request ${a.id}` }, "Reveal values") : "You are not cleared to see them.",
    ),
    error,
  );
  return shown;
}

/** Warns if others may wait for what the held request's transaction locked. */
function transaction(attrs: Attr[]): HTMLElement | null {
  const get = (key: string) => attrs.find((a) => a.key === key)?.value;
  const state = get("db.transaction");
  if (state !== "open" && state !== "failed") return null;
  const locks = get("db.locks");
  return h(
    "div",
    { class: "warning", role: "note" },
    h("strong", {}, state === "failed" ? "Its transaction has failed. " : "A transaction is open while this waits. "),
    locks ? "It holds locks that others may wait for: " : "Whatever it locked stays locked until you decide.",
    locks && h("span", { class: "locks" }, ...visible(locks)),
  );
}

function parameters(a: Approval, whole: () => Promise<Approval>): HTMLElement | null {
  if (a.params.length === 0) return null;
  const rows = h("dl", { class: "params" });
  const fill = (a: Approval) => {
    rows.replaceChildren(...a.params.flatMap((p, i) => [h("dt", {}, `$${i + 1}`), h("dd", {}, value(p))]));
    const cut = a.params_hidden ?? 0;
    if (cut || a.params.some((p) => p?.hidden)) {
      const open = async () => {
        try {
          fill(await whole());
        } catch (err) {
          all.replaceWith(err instanceof Error ? err.message : "they could not be fetched");
        }
      };
      const all = h("button", { type: "button", class: "link", onclick: () => void open() }, "Show all of the parameters");
      rows.append(h("dt", {}, "…"), h("dd", {}, cut ? `${count(cut, "more parameter")} · ` : "", all));
    }
  };
  fill(a);
  return h("div", {}, h("h3", {}, "Parameters"), rows);
}

function labels(attrs: Attr[]): HTMLElement | null {
  if (attrs.length === 0) return null;
  return h("ul", { class: "chips", "aria-label": "Labels" }, ...attrs.map((l) => h("li", { class: "chip" }, line(l.key), l.value && h("b", {}, line(l.value)))));
}

function facts(a: Approval, app: App): HTMLElement {
  const session = app.me.auditor ? h("a", { href: `/sessions/${segment(a.session)}` }, a.session) : line(a.session);
  const rows: [string, Node][] = [
    ["Request", line(`${a.id}: ${a.operation}, exchange ${a.exchange}`)],
    ["Session", session],
    ["Identity", line(`${a.principal.subject} of ${a.principal.issuer}`)],
    ["Groups", line(a.principal.groups.join(", "))],
    ["Client", line(`${a.client}, ${a.protocol}`)],
    ["Gate", line(a.gate)],
    ["Held since", when(a.since)],
    ["May decide", line(a.approvers.join(", "))],
    ...a.attrs.map((t): [string, Node] => [t.key, line(t.value)]),
    ["Digest", line(a.digest, { class: "mono" })],
  ];
  return h("details", {}, h("summary", {}, "Who, where and in which context"), h("dl", { class: "facts" }, ...rows.flatMap(([k, v]) => [h("dt", {}, line(k)), h("dd", {}, v)])));
}

function form(a: Approval, app: App): HTMLElement {
  const comment = h("textarea", { id: `comment-${a.id}`, rows: "1", maxlength: "500", placeholder: "Comment: the client reads it if you deny" });
  const error = h("p", { class: "error", role: "alert", hidden: true });
  const buttons: HTMLButtonElement[] = [];
  const decide = async (decision: "approve" | "deny") => {
    for (const b of buttons) b.disabled = true;
    error.hidden = true;
    try {
      app.live.end(await ask<Ending>(`/api/approvals/${segment(a.id)}`, { decision, comment: comment.value, digest: a.digest }));
    } catch (err) {
      if (!(err instanceof Problem)) throw err;
      error.textContent = `${err.title}: ${err.detail}.`;
      error.hidden = false;
      // What has ended cannot be decided again.
      for (const b of buttons) b.disabled = err.status === 410 || err.status === 404;
    }
  };
  const button = (decision: "approve" | "deny", label: string) => {
    const b = h("button", { type: "button", class: decision, onclick: () => void decide(decision), "aria-label": `${label} request ${a.id}` }, label);
    buttons.push(b);
    return b;
  };
  return h(
    "form",
    { class: "decide", onsubmit: (e: Event) => e.preventDefault() },
    h("label", { for: comment.id, class: "unseen" }, "Comment"),
    comment,
    h("div", { class: "buttons" }, button("deny", "Deny"), button("approve", "Approve")),
    error,
  );
}
