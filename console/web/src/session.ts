// The page of one session: what was asked, decided and answered.

import { ask, type Exchange, type Note, type Result, type SessionView } from "./api.ts";
import { clock, count, duration, h, segment, size, when } from "./dom.ts";
import { because, code, line, value, visible } from "./hostile.ts";
import type { View } from "./main.ts";

export function session(id: string): View {
  const path = `/api/sessions/${segment(id)}`;
  const content = h("div", { class: "page" }, h("p", { class: "note", role: "status" }, "Reading the recording…"));
  const exchanges = h("ol", { class: "exchanges" });
  const more = h("button", { type: "button", class: "quiet", hidden: true }, "Later statements");

  const fill = (v: SessionView) => {
    exchanges.append(...v.exchanges.map((x) => h("li", {}, exchange(x, path))));
    more.hidden = !v.next;
    more.onclick = () => void load(v.next);
  };
  const load = async (after?: number) => {
    try {
      const v = await ask<SessionView>(`${path}${after ? `?after=${after}` : ""}`);
      if (!after) content.replaceChildren(...top(v, path), exchanges, more, notices(v));
      fill(v);
    } catch (err) {
      more.before(h("p", { class: "error", role: "alert" }, err instanceof Error ? err.message : String(err)));
      if (!after) content.replaceChildren(h("div", { class: "empty" }, h("h1", {}, err instanceof Error ? err.message : String(err)), h("p", {}, h("a", { href: "/sessions" }, "Go to the list of sessions"))));
    }
  };
  void load();
  return { title: () => "Session", content };
}

function top(v: SessionView, path: string): Node[] {
  const s = v.session;
  const ended = s.end ? `${duration(Date.parse(s.end) - Date.parse(s.start))}, ${s.why || "ended"}` : "still going on";
  const facts: [string, Node][] = [
    ["Client", line(`${s.client}, ${s.protocol}`)],
    ["Identity", line(`${s.principal.subject} of ${s.principal.issuer}`)],
    ["Groups", line(s.principal.groups.join(", "))],
    ["Gate", line(s.gate)],
    ["Policy", line(s.policy)],
    ["Session", line(s.id, { class: "mono" })],
    ...s.attrs.map((a): [string, Node] => [a.key, line(a.value)]),
  ];
  const tiles: [string, number, string][] = [
    ["Statements", v.totals.exchanges, ""],
    ["Blocked", v.totals.blocked, v.totals.blocked ? "block" : ""],
    ["Held", v.totals.held, v.totals.held ? "hold" : ""],
    ["Rows", v.totals.rows, ""],
  ];
  return [
    h("p", { class: "crumbs" }, h("a", { href: "/sessions" }, "Sessions")),
    h(
      "header",
      { class: "title" },
      h("h1", {}, line(s.principal.name || s.principal.subject), h("span", { class: "on" }, " on "), line(s.resource, { class: "resource" })),
      h("a", { class: "button", href: `${path}/recording`, download: `gatehouse-${s.id}.tar` }, "Download recording"),
    ),
    h("p", { class: "lead" }, when(s.start), " · ", line(ended), " · from ", line(s.client)),
    ...(v.broken ? [h("p", { class: "warning", role: "alert" }, h("strong", {}, "This recording cannot be read to its end. "), "Find out why with: gatehouse verify")] : []),
    h("div", { class: "tiles" }, ...tiles.map(([name, n, kind]) => h("div", { class: `tile ${kind}` }, h("b", {}, n.toLocaleString()), h("span", {}, name)))),
    h("details", {}, h("summary", {}, "About this session"), h("dl", { class: "facts" }, ...facts.flatMap(([k, x]) => [h("dt", {}, line(k)), h("dd", {}, x)]))),
    h("h2", {}, "Statements"),
  ];
}

function exchange(x: Exchange, path: string): HTMLElement {
  const last = x.verdicts.at(-1);
  const held = x.verdicts.some((v) => v.action === "hold");
  const action = last?.action ?? "unknown";
  const word = action === "hold" ? "waiting" : held ? (action === "allow" ? "approved" : "not approved") : { allow: "allowed", block: "blocked" }[action] ?? action;
  return h(
    "article",
    { class: `exchange ${action}`, "aria-label": `Statement ${x.id}` },
    h("header", {}, h("span", { class: `verdict ${held && action === "allow" ? "approved" : action}` }, word), h("span", { class: "dim" }, line(x.operation)), h("span", { class: "dim at" }, clock(x.time))),
    code(x.statement),
    x.params.length > 0 && h("dl", { class: "params" }, ...x.params.flatMap((p, i) => [h("dt", {}, `$${i + 1}`), h("dd", {}, value(p))])),
    x.labels.length > 0 && h("ul", { class: "chips", "aria-label": "Labels" }, ...x.labels.map((l) => h("li", { class: "chip" }, line(l.key), l.value && h("b", {}, line(l.value))))),
    x.verdicts.some((v) => v.reason) &&
      h(
        "ul",
        { class: "story" },
        // That an approved request was allowed goes without saying.
        ...x.verdicts.filter((v) => v.reason && !(v.action === "allow" && x.decisions.some((d) => d.approved))).map((v) => h("li", {}, h("b", { class: v.action }, { block: "Blocked", hold: "Held", allow: "Allowed" }[v.action] ?? v.action), ": ", because(v.reason, v.rule))),
        ...x.decisions.map((d) => h("li", {}, h("b", { class: d.approved ? "allow" : "block" }, d.approved ? "Approved" : "Not approved"), d.by ? [" by ", line(d.by)] : "", d.comment ? [": “", line(d.comment), "”"] : "", " ", h("span", { class: "dim" }, clock(d.time)))),
      ),
    ...x.results.map((r, i) => result(r, i, x, path)),
    x.messages.length > 0 && h("ul", { class: "messages" }, ...x.messages.map(message)),
    x.outcomes.length > 0 && h("p", { class: "outcome" }, ...x.outcomes.slice(-3).map((o) => h("span", { class: o.status }, line(o.tag || (o.status === "unknown" ? "outcome unknown" : o.status)), o.code ? [" ", line(o.code)] : "", o.rows ? ` · ${count(o.rows, "row")}` : ""))),
    x.hidden ? h("p", { class: "note" }, `${count(x.hidden, "further detail")} left out; the recording has all of them.`) : null,
  );
}

const told: Record<string, string> = { exact: "as it is", derived: "computed", filtered: "not of the value", clean: "depends on no column", unknown: "not known" };

// lineage tells of each field what it depends on, and which rule decided about it.
function lineage(r: Result, x: Exchange): HTMLElement | null {
  const fields = r.fields.filter((f) => f.lineage);
  if (fields.length === 0) return null;
  const rows = fields.map((f) =>
    h("tr", {}, h("td", {}, line(f.name)), h("td", {}, line((f.origins ?? []).join(", ") || "–")), h("td", {}, told[f.lineage!] ?? f.lineage!, f.why ? [": ", line(f.why)] : ""), h("td", {}, f.treatment ?? "passes"), h("td", {}, line(f.rule ?? "–"))),
  );
  const head = ["Field", "Comes from", "How", "Treatment", "Rule"].map((name) => h("th", { scope: "col" }, name));
  return h(
    "details",
    { class: "lineage" },
    h("summary", {}, "Where the fields come from"),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Lineage of statement ${x.id}` }, h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows))),
  );
}

function result(r: Result, index: number, x: Exchange, path: string): HTMLElement {
  const body = h("tbody", {});
  const note = h("p", { class: "note" });
  let shown = r.from ?? 0;
  const fill = (r: Result) => {
    body.append(...r.rows.map((row) => h("tr", {}, ...row.map((cell) => h("td", {}, value(cell))))));
    shown += r.rows.length;
    note.replaceChildren(shown < r.total ? `${count(shown, "row")} of ${r.total.toLocaleString()} · ` : "", shown < r.total ? more : "");
  };
  const next = async () => {
    more.disabled = true;
    try {
      const v = await ask<SessionView>(`${path}?exchange=${x.id}&rows=${shown}`);
      more.disabled = false;
      fill(v.exchanges[0]!.results[index]!);
    } catch (err) {
      note.replaceChildren(err instanceof Error ? err.message : String(err));
    }
  };
  const more = h("button", { type: "button", class: "link", onclick: () => void next() }, "show more");
  fill(r);
  const head = r.fields.map((f) =>
    h("th", { scope: "col", title: [f.type, ...(f.origins ?? [])].filter(Boolean).join("\n") }, line(f.name), f.treatment && h("span", { class: "treated", title: f.rule }, f.treatment)),
  );
  return h("div", { class: "result" }, r.upload && h("p", { class: "note" }, "Sent by the client:"), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Rows of statement ${x.id}` }, h("table", {}, h("thead", {}, h("tr", {}, ...head)), body)), note, lineage(r, x));
}

function message(n: Note): HTMLElement {
  const who = n.plugin ? [line(n.plugin, { class: "rule" }), " "] : [];
  const kind = n.code === "shadow" ? h("span", { class: "shadow", title: "A plugin in shadow says what it would do. It has not been done." }, "in shadow") : line(n.code, { class: "rule" });
  return h("li", {}, h("span", { class: "dim" }, clock(n.time)), " ", kind, " ", ...who, ...visible(n.text.head), n.text.hidden ? [` (${size(n.text.hidden)} hidden) `, ...visible(n.text.tail ?? "")] : "");
}

function notices(v: SessionView): HTMLElement {
  return h(
    "section",
    { hidden: v.notices.length === 0 },
    h("h2", {}, "Notices"),
    h("ul", { class: "messages" }, ...v.notices.map((n) => message(n))),
    v.hidden ? h("p", { class: "note" }, `${count(v.hidden, "further notice")} left out; the recording has all of them.`) : null,
  );
}
