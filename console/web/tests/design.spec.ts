import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Page } from "@playwright/test";
import { expect, test } from "./console.ts";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

type Violation = { id: string; nodes: { html: string }[] };

/** Returns what makes a page hard to use for some. */
async function barriers(page: Page): Promise<string[]> {
  const result = await page.evaluate(`${axe}; axe.run()`);
  return (result as { violations: Violation[] }).violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(" ")}`);
}

for (const colorScheme of ["light", "dark"] as const) {
  test(`pages are accessible in ${colorScheme} colours`, async ({ gate, open, page }) => {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await gate.hold("A");
    await gate.hold("B", "hostile");
    await gate.outage("<b>no</b> \u202ebucket\u0007");
    for (const path of ["/approvals", "/sessions", "/sessions/01JD900000", "/tracked", "/nowhere"]) {
      await open(path);
      await expect(page.locator("h1")).toBeVisible();
      await expect(page.getByText("Live")).toBeVisible();
      await expect(page.getByText("Recordings are not being stored")).toBeVisible();
      expect(await barriers(page), path).toEqual([]);
    }
  });
}

test("a small screen needs no sideways scrolling", async ({ gate, open, page }) => {
  await page.setViewportSize({ width: 360, height: 740 });
  await gate.hold("A", "long");
  await gate.outage("x".repeat(1000));
  for (const path of ["/approvals", "/sessions/01JD900000", "/tracked"]) {
    await open(path);
    await expect(page.locator(".code, .card").first()).toBeVisible();
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
  }
});

test("pictures for the documentation", async ({ gate, open, page }) => {
  await page.emulateMedia({ reducedMotion: "reduce" });
  await open("/approvals");
  await gate.hold("K7QF2MZX");
  await expect(page.locator(".card")).toBeVisible();
  await page.getByLabel("Comment").fill("moved house, ticket 4711");
  await page.screenshot({ path: "../screenshots/approvals.png" });
  await open("/sessions/01JD899996");
  await expect(page.locator(".exchange")).toHaveCount(4);
  await page.screenshot({ path: "../screenshots/session.png" });
});
