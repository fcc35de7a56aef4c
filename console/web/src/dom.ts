// Building the document. Everything a session contains is hostile: it enters
// the page as text nodes only.

type Child = Node | string | null | undefined | false | Child[];

type Attributes = {
  class?: string;
  title?: string;
  href?: string;
  hidden?: boolean;
  onclick?: (e: MouseEvent) => void;
  [attribute: string]: unknown;
};

/** Returns an element. Strings among the children become text. */
export function h<T extends keyof HTMLElementTagNameMap>(
  tag: T,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[T] {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") {
      e.addEventListener(name.slice(2), value as EventListener);
    } else if (name === "href") {
      (e as unknown as HTMLAnchorElement).href = local(String(value));
    } else {
      e.setAttribute(name, value === true ? "" : String(value));
    }
  }
  append(e, children);
  return e;
}

function append(e: Element, children: Child[]): void {
  for (const c of children) {
    if (Array.isArray(c)) append(e, c);
    else if (c) e.append(c);
  }
}

/** Returns path if it leads to this site, so that no data becomes a javascript: link. */
function local(path: string): string {
  return /^\/(?!\/)/.test(path) ? path : "/";
}

/** Returns one segment of a path. */
export const segment = encodeURIComponent;

const timeFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const clockFormat = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

/** Returns a time with its date. */
export function when(iso: string): HTMLTimeElement {
  return h("time", { datetime: iso, title: iso }, timeFormat.format(new Date(iso)));
}

/** Returns a time of day. */
export function clock(iso: string): HTMLTimeElement {
  return h("time", { datetime: iso, title: iso }, clockFormat.format(new Date(iso)));
}

/** Returns a duration, such as "4:05" or "1:02:03". */
export function duration(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (n: number) => String(n).padStart(2, "0");
  const minutes = Math.floor(s / 60);
  return minutes < 60 ? `${minutes}:${two(s % 60)}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(s % 60)}`;
}

const numberFormat = new Intl.NumberFormat();

/** Returns n with its unit: "1 row", "2,000 rows". */
export function count(n: number, unit: string): string {
  return `${numberFormat.format(n)} ${unit}${n === 1 ? "" : "s"}`;
}

/** Returns a size in bytes for people. */
export function size(bytes: number): string {
  if (bytes < 1024) return count(bytes, "byte");
  const kib = bytes / 1024;
  return kib < 1024 ? `${kib.toFixed(kib < 10 ? 1 : 0)} KiB` : `${(kib / 1024).toFixed(1)} MiB`;
}
