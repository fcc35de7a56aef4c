import { expect, signIn, test } from "./console.ts";

test("an outage of the store shows at once on every page, and goes when it is over", async ({ gate, open, browser }) => {
  const auditor = await open("/sessions", "carol");
  const context = await browser.newContext();
  const approver = await context.newPage();
  await signIn(approver, gate, "/", "bob");
  const third = await browser.newContext();
  const agent = await third.newPage();
  await signIn(agent, gate, "/", "agent");
  for (const page of [auditor, approver, agent]) {
    await expect(page.getByText("Live")).toBeVisible();
    await expect(page.locator(".outage")).toBeEmpty();
  }

  await gate.outage("dial tcp 10.0.0.7:9000: connection refused");
  for (const page of [auditor, approver]) {
    await expect(page.getByRole("status").filter({ hasText: "Recordings are not being stored since" })).toContainText("connection refused");
    await expect(page.locator(".outage time")).toHaveAttribute("datetime", "2026-11-23T09:30:00Z");
    await page.reload();
    await expect(page.locator(".outage")).toContainText("connection refused");
  }
  await auditor.getByRole("link", { name: "Approvals" }).click();
  await expect(auditor.locator(".outage")).toContainText("connection refused");

  await gate.outage();
  for (const page of [auditor, approver]) {
    await expect(page.locator(".outage")).toBeEmpty();
    await expect(page.getByText("Live")).toBeVisible();
  }
  // Whoever is neither hears nothing of it.
  await expect(agent.locator(".outage")).toBeEmpty();
  await third.close();
  await context.close();
});

test("why the store is away is text", async ({ gate, open }) => {
  await gate.outage('<img src=x onerror="alert(1)"></span><script>alert(2)</script> a\u202eb\u0007\nnext' + "x".repeat(2000) + " the end");
  const page = await open();
  const why = page.locator(".outage [aria-live]");
  await expect(why).toContainText('<img src=x onerror="alert(1)"></span><script>alert(2)</script> a⟨U+202E⟩b⟨BEL⟩ ⏎ next');
  await expect(why).toContainText("the end");
  await expect(why.locator("img, script")).toHaveCount(0);
  expect((await why.textContent())!.length).toBeLessThan(400);
});

test("a plugin that keeps failing shows at once, and goes when it is well again", async ({ gate, open }) => {
  const page = await open("/sessions", "carol");
  await expect(page.getByText("Live")).toBeVisible();
  await expect(page.locator(".failing")).toBeEmpty();

  await gate.failing("the plugin took too long: more than 1000000000 instructions<b>");
  const line = page.getByRole("status").filter({ hasText: "The plugin guard keeps failing since" });
  await expect(line).toContainText("took too long: more than 1000000000 instructions<b>");
  await expect(line).toContainText("Requests that need it are refused.");
  await expect(page.locator(".failing time")).toHaveAttribute("datetime", "2026-11-23T09:30:00Z");
  await page.reload();
  await expect(line).toBeVisible();

  await gate.failing();
  await expect(page.locator(".failing")).toBeEmpty();
});
