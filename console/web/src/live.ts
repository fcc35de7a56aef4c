// What waits for approval, and whether recordings are stored, as the gate tells
// it over a WebSocket.

import { ask, Problem, type Approval, type Ending, type Failing, type Outage } from "./api.ts";

type Message = { type: "approval" | "ended" | "outage" | "ready" | "alive"; approval?: Approval; ending?: Ending; outage?: Outage; failing?: Failing[] };

/** What changed of the approvals that wait. */
export type Change = { appeared?: Approval; ended?: Ending };
export type Connection = "connecting" | "live" | "lost" | "signed out";

const firstPause = 500;
const longestPause = 15_000;
const silence = 50_000; // the gate says something every 20 seconds
const signedOut = 4401;

/** Keeps a connection to the gate until the page goes away. */
export class Live extends EventTarget {
  /** The approvals that wait, in the order in which they began to. */
  readonly approvals = new Map<string, Approval>();
  /** When each approval expires, by performance.now(). */
  readonly deadlines = new Map<string, number>();
  connection: Connection = "connecting";
  /** Why recordings are not stored, if they are not. */
  outage?: Outage;
  /** The plugins that keep failing. */
  failing: Failing[] = [];

  #socket?: WebSocket;
  #pause = firstPause;
  #timer = 0;
  #heard = new Set<string>(); // since the socket was opened

  start(): void {
    addEventListener("online", () => this.#retry());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#retry());
    this.#connect();
  }

  #retry(): void {
    if (this.connection !== "lost" || this.#socket?.readyState !== WebSocket.CLOSED) return;
    clearTimeout(this.#timer);
    void this.#reconnect();
  }

  #connect(): void {
    this.#socket?.close(); // of two attempts at the same time, the later one counts
    const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/api/events`);
    this.#socket = socket;
    this.#heard.clear();
    socket.onmessage = (e) => {
      if (socket !== this.#socket) return;
      this.#watch();
      this.#receive(JSON.parse(e.data as string) as Message);
    };
    socket.onclose = (e) => {
      if (socket !== this.#socket) return;
      clearTimeout(this.#timer);
      if (e.code === signedOut) return this.#become("signed out");
      this.#become("lost");
      this.#timer = window.setTimeout(() => void this.#reconnect(), this.#pause * (0.75 + Math.random() / 2));
      this.#pause = Math.min(this.#pause * 2, longestPause);
    };
  }

  /** Connects again, unless the sign-in is why that would fail. */
  async #reconnect(): Promise<void> {
    try {
      await ask("/api/me");
    } catch (err) {
      if (err instanceof Problem && err.status === 401) return this.#become("signed out");
    }
    this.#connect();
  }

  /** Gives up on a connection that has gone silent. */
  #watch(): void {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.#socket?.close(), silence);
  }

  #receive(m: Message): void {
    if (m.approval) {
      const a = m.approval;
      this.#heard.add(a.id);
      this.deadlines.set(a.id, performance.now() + a.remaining_ms);
      const known = this.approvals.has(a.id);
      this.approvals.set(a.id, a);
      if (!known) this.#change({ appeared: a });
    }
    if (m.ending) this.end(m.ending);
    if (m.type === "outage" || m.type === "ready" || m.type === "alive") {
      this.outage = m.outage;
      this.failing = m.failing ?? [];
      this.dispatchEvent(new Event("outage"));
    }
    if (m.type === "ready") {
      for (const id of this.approvals.keys()) {
        if (!this.#heard.has(id)) this.end({ id, how: "ended" });
      }
      this.#pause = firstPause;
      this.#become("live");
    }
  }

  /** Takes away what ended. */
  end(ending: Ending): void {
    if (!this.approvals.delete(ending.id)) return;
    this.deadlines.delete(ending.id);
    this.#change({ ended: ending });
  }

  #change(detail: Change): void {
    this.dispatchEvent(new CustomEvent("change", { detail }));
  }

  #become(c: Connection): void {
    this.connection = c;
    this.dispatchEvent(new Event("connection"));
  }
}
