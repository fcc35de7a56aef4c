// The page that lists sessions.

import { ask, type Session, type SessionPage } from "./api.ts";
import { duration, h, segment, size, when } from "./dom.ts";
import { line } from "./hostile.ts";
import type { App, View } from "./main.ts";

export function sessions(app: App): View {
  const resource = field("resource", "Resource", "search", "orders");
  const who = field("who", "Who", "search", "agent@example.com");
  const from = field("from", "From", "date");
  const to = field("to", "To", "date");
  const rows = h("tbody", {});
  const table = h("table", { class: "list" }, h("thead", {}, h("tr", {}, ...["Started", "Who", "Resource", "Client", "Duration", "Recorded", "State"].map((t) => h("th", { scope: "col" }, t)))), rows);
  const status = h("p", { class: "note", role: "status" });
  const more = h("button", { type: "button", class: "quiet", hidden: true }, "Older sessions");

  let asked = 0;
  const load = async (before?: string) => {
    const turn = ++asked;
    const q = new URLSearchParams();
    if (resource.input.value) q.set("resource", resource.input.value);
    if (who.input.value) q.set("who", who.input.value);
    if (from.input.value) q.set("from", new Date(`${from.input.value}T00:00:00`).toISOString());
    if (to.input.value) q.set("to", new Date(`${to.input.value}T23:59:59.999`).toISOString());
    history.replaceState(null, "", `/sessions${q.size ? `?${q}` : ""}`);
    if (before) q.set("before", before);
    try {
      const page = await ask<SessionPage>(`/api/sessions?${q}`);
      if (turn !== asked) return; // somebody has typed on
      if (!before) rows.replaceChildren();
      rows.append(...page.sessions.map(row));
      status.textContent = rows.children.length ? "" : "No session was recorded that is like this.";
      table.hidden = rows.children.length === 0;
      more.hidden = !page.next;
      more.onclick = () => void load(page.next);
    } catch (err) {
      if (turn === asked) status.textContent = err instanceof Error ? err.message : String(err);
    }
  };

  const asks = new URLSearchParams(location.search);
  resource.input.value = asks.get("resource") ?? "";
  who.input.value = asks.get("who") ?? "";
  if (asks.has("from")) from.input.value = day(asks.get("from")!);
  if (asks.has("to")) to.input.value = day(asks.get("to")!);

  let typing = 0;
  const filters = h("form", { class: "filters", role: "search", onsubmit: (e: Event) => (e.preventDefault(), void load()) }, ...[resource, who, from, to].map((f) => f.label));
  filters.addEventListener("input", () => {
    clearTimeout(typing);
    typing = window.setTimeout(() => void load(), 250);
  });
  rows.addEventListener("click", (e) => {
    const target = e.target as Element;
    const link = target.closest("tr")?.querySelector("a");
    if (link && !target.closest("a") && !getSelection()?.toString()) app.go(link.pathname);
  });
  void load();

  return {
    title: () => "Sessions",
    content: h("div", { class: "page" }, h("h1", {}, "Sessions"), filters, h("div", { class: "scroll" }, table), status, more),
    leave: () => {
      clearTimeout(typing);
      asked++;
    },
  };
}

function field(name: string, label: string, type: string, placeholder?: string) {
  const input = h("input", { name, type, placeholder, autocomplete: "off" });
  return { input, label: h("label", {}, label, input) };
}

/** Returns the day of a time, as a date field wants it. */
function day(iso: string): string {
  const d = new Date(iso);
  return Number.isNaN(d.getTime()) ? "" : `${d.getFullYear()}-${String(d.getMonth() + 1).padStart(2, "0")}-${String(d.getDate()).padStart(2, "0")}`;
}

function row(s: Session): HTMLElement {
  const start = when(s.start);
  return h(
    "tr",
    {},
    h("td", {}, h("a", { href: `/sessions/${segment(s.id)}` }, start)),
    h("td", {}, line(s.principal.name || s.principal.subject)),
    h("td", {}, line(s.resource, { class: "resource" })),
    h("td", { class: "dim" }, line(s.client)),
    h("td", { class: "number" }, s.end ? duration(Date.parse(s.end) - Date.parse(s.start)) : "–"),
    h("td", { class: "number" }, s.bytes ? size(s.bytes) : "–"),
    h("td", {}, s.end ? h("span", { class: "state" }, line(s.why || "ended")) : h("span", { class: "state going" }, "going on")),
  );
}
