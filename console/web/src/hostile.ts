// Showing text that someone wants to mislead us with. What cannot be seen is
// made visible: control characters, bidirectional overrides, characters of no
// width, spaces that are none, and long runs of blanks. Letters from outside
// ASCII are underlined in code, where they can pass for others.

import { count, h } from "./dom.ts";
import type { Text } from "./api.ts";

const unseen = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]|(?! )\p{Zs}/u;
const blankLines = /[ \t]*(?:\n[ \t]*){5,}/;
const blanks = /[ \t]{60,}/;
const foreign = /[^\p{ASCII}\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Z}]+/u;
const special = new RegExp(`(${blankLines.source})|(${blanks.source})|((?![\\n\\t])(?:${unseen.source}))|(${foreign.source})`, "gu");

/** Returns s as nodes in which everything can be seen. */
export function visible(s: string, code = false): Node[] {
  const nodes: Node[] = [];
  let from = 0;
  for (const match of s.matchAll(special)) {
    const [all, lines, run, character, letters] = match;
    if (letters !== undefined && !code) continue;
    if (match.index > from) nodes.push(document.createTextNode(s.slice(from, match.index)));
    from = match.index + all.length;
    if (lines !== undefined) nodes.push(mark(`⟨${count(lines.split("\n").length - 1, "blank line")}⟩`, "left out: lines with nothing on them"), document.createTextNode("\n"));
    else if (run !== undefined) nodes.push(mark(`⟨${count(run.length, "blank")}⟩`, "left out: spaces and tabs"));
    else if (character !== undefined) nodes.push(mark(picture(character), `${codePoint(character)}, a character that is not seen`));
    else nodes.push(h("span", { class: "foreign", title: `not ASCII: ${[...all].map(codePoint).join(" ")}` }, all));
  }
  if (from < s.length) nodes.push(document.createTextNode(s.slice(from)));
  return nodes;
}

function mark(shown: string, title: string): HTMLElement {
  return h("span", { class: "mark", title }, shown);
}

function codePoint(c: string): string {
  return `U+${c.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}`;
}

const controls =
  "NUL SOH STX ETX EOT ENQ ACK BEL BS HT LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US".split(" ");

/** Returns what stands for a character that is not seen. */
function picture(c: string): string {
  const n = c.codePointAt(0)!;
  return `⟨${controls[n] ?? (n === 0x7f ? "DEL" : codePoint(c))}⟩`;
}

/** Returns a span with s on one line. */
export function line(s: string, attributes: { class?: string } = {}): HTMLElement {
  const shown = s.length > lineLimit ? `${s.slice(0, lineLimit / 2)}…${s.slice(-lineLimit / 2)}` : s;
  return h("span", { ...attributes, title: shown === s ? undefined : `${count(s.length, "character")}` }, ...visible(shown.replace(/\n/g, " ⏎ ")));
}

const lineLimit = 300;

/** Returns a reason with the rule that gave it, unless it names that itself. */
export function because(reason: string, rule: string): (HTMLElement | string)[] {
  return reason.includes(rule) ? [line(reason)] : [line(reason), " ", line(rule, { class: "rule" })];
}

// Of longer texts, the middle is hidden until somebody wants to see it.
const headShown = 2400;
const tailShown = 800;

/**
 * Returns a block of code whose head and tail are always seen. Where the gate
 * left out the middle, whole fetches all of it.
 */
export function code(t: Text, whole?: () => Promise<Text>): HTMLElement {
  const block = h("pre", { class: "code", tabindex: "0" });
  const show = (t: Text, all: boolean) => {
    const tail = t.tail ?? "";
    if (!t.hidden && (all || t.head.length <= headShown + tailShown)) {
      block.replaceChildren(...visible(t.head, true));
      return;
    }
    const head = all ? t.head : cut(t.head, headShown);
    const end = all ? tail : cutEnd(t.hidden ? tail : t.head.slice(head.length), tailShown);
    const hidden = t.bytes - bytes(head) - bytes(end);
    const open = async () => {
      if (!t.hidden) return show(t, true);
      button.disabled = true;
      try {
        show(await whole!(), true);
      } catch (err) {
        button.replaceWith(` ${err instanceof Error ? err.message : "it could not be fetched"} `);
      }
    };
    const more = !t.hidden || (whole && !all);
    const button = h("button", { type: "button", class: "link", onclick: () => void open() }, "show all");
    block.replaceChildren(
      ...visible(head, true),
      h("span", { class: "cut" }, count(hidden, "byte"), " hidden", more ? " · " : "", more ? button : null),
      ...visible(end, true),
    );
  };
  show(t, false);
  return block;
}

const encoder = new TextEncoder();
const bytes = (s: string) => encoder.encode(s).length;

// Cuts keep surrogate pairs together.
const cut = (s: string, n: number) => s.slice(0, isLow(s, n) ? n - 1 : n);
const cutEnd = (s: string, n: number) => (s.length <= n ? s : s.slice(isLow(s, s.length - n) ? s.length - n + 1 : s.length - n));
const isLow = (s: string, i: number) => (s.charCodeAt(i) & 0xfc00) === 0xdc00;

/** Returns one value: NULL where it is null. */
export function value(t: Text | null): HTMLElement {
  if (t === null) return h("span", { class: "null" }, "NULL");
  const e = h("span", {}, ...visible(t.head));
  if (t.hidden) e.append(h("span", { class: "cut" }, `${count(t.hidden, "byte")} hidden`), ...visible(t.tail ?? ""));
  return e;
}
