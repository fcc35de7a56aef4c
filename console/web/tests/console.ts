import { test as base, expect, type Page } from "@playwright/test";
import { spawn } from "node:child_process";
import { server } from "./build.ts";

export { expect };

/** The gate's side: requests that are held and withdrawn. */
export class Gate {
  constructor(readonly url: string) {}

  async hold(id: string, kind = "update"): Promise<void> {
    await this.#post(`hold?id=${id}&kind=${kind}`);
  }

  async withdraw(id: string): Promise<void> {
    await this.#post(`withdraw?id=${id}`);
  }

  /** Begins an outage of the store, and without a reason ends it. */
  async outage(why = ""): Promise<void> {
    await this.#post(`outage?why=${encodeURIComponent(why)}`);
  }

  /** Lets a plugin keep failing, and without a reason lets it be well again. */
  async failing(why = ""): Promise<void> {
    await this.#post(`failing?why=${encodeURIComponent(why)}`);
  }

  /** Waits for what was decided. */
  async decision(id: string): Promise<{ approved: boolean; by: string; comment: string; failed: boolean }> {
    const r = await fetch(`${this.url}/sample/decision?id=${id}`);
    return r.json();
  }

  async #post(path: string): Promise<void> {
    const r = await fetch(`${this.url}/sample/${path}`, { method: "POST" });
    if (!r.ok) throw new Error(await r.text());
  }
}

/** Signs in at the issuer, which sends the browser back to path. */
export async function signIn(page: Page, gate: Gate, path: string, who: string): Promise<void> {
  await page.goto(`${gate.url}/signin?return=${encodeURIComponent(path)}`);
  await page.locator(`button[value="${who}"]`).click();
  await page.waitForURL(gate.url + path);
}

type Fixtures = {
  gate: Gate;
  /** Signs in and opens a page of the console. */
  open: (path?: string, who?: string) => Promise<Page>;
};

export const test = base.extend<Fixtures>({
  gate: async ({}, use) => {
    const child = spawn(server, { stdio: ["pipe", "pipe", "ignore"] });
    const url = await new Promise<string>((resolve, reject) => {
      child.stdout.once("data", (b: Buffer) => resolve(b.toString().trim()));
      child.once("exit", () => reject(new Error("the server ended")));
    });
    await use(new Gate(url));
    const over = new Promise((resolve) => child.once("exit", resolve));
    child.stdin.end();
    await over;
  },
  open: async ({ gate, page }, use) => {
    // Nothing that happens on any page may run a script of a session's, open
    // a dialog or break the content security policy.
    const wrong: string[] = [];
    page.on("dialog", (d) => (wrong.push(`dialog: ${d.message()}`), void d.dismiss()));
    page.on("pageerror", (e) => wrong.push(`error: ${e.message}`));
    page.on("console", (m) => {
      if (/content security policy|trusted/i.test(m.text())) wrong.push(m.text());
    });
    await page.addInitScript(() => addEventListener("securitypolicyviolation", (e) => console.error(`content security policy: ${e.violatedDirective}`)));
    await use(async (path = "/", who = "alice") => {
      await signIn(page, gate, path, who);
      return page;
    });
    expect(wrong).toEqual([]);
  },
});
