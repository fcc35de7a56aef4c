import { execFileSync } from "node:child_process";
import { expect, test } from "./console.ts";

test("sessions are listed, filtered and paged", async ({ open }) => {
  const page = await open("/sessions");
  const rows = page.locator("tbody tr");
  await expect(rows).toHaveCount(50);
  await expect(rows.first()).toContainText("reporting-agent@example.com");
  await expect(rows.first()).toContainText("going on");
  await page.getByRole("button", { name: "Older sessions" }).click();
  await expect(rows).toHaveCount(100);
  await page.getByLabel("Resource").fill("billing");
  await expect(rows).toHaveCount(30);
  await page.getByLabel("Who").fill("ALICE");
  await expect(page.getByText("No session was recorded that is like this.")).toBeVisible();
  await page.getByLabel("Who").fill("bob@");
  await expect(rows).toHaveCount(30);
  await page.reload();
  await expect(page.getByLabel("Who")).toHaveValue("bob@");
  await expect(rows).toHaveCount(30);
});

test("a session shows its statements, decisions and masked rows", async ({ open }) => {
  const page = await open("/sessions");
  await page.locator("tbody tr a").nth(4).click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("reporting-agent@example.com on orders");
  await expect(page.locator(".tile")).toHaveText(["4Statements", "1Blocked", "1Held", "1,204Rows"]);

  const first = page.getByRole("article", { name: "Statement 1" });
  await expect(first.getByRole("row").nth(1)).toContainText("************4242");
  await expect(first.getByRole("columnheader", { name: "card" })).toContainText("keep last");
  await expect(first.locator(".null")).toHaveText("NULL");
  await expect(first.getByRole("listitem").filter({ hasText: "in shadow" })).toContainText("in shadow volume would hold: personal data by the thousand");
  await first.getByText("Where the fields come from").click();
  const lineage = first.getByRole("region", { name: "Lineage of statement 1" });
  await expect(lineage.getByRole("row").filter({ hasText: "public.customers.card" })).toContainText("as it is");
  await expect(lineage.getByRole("row").filter({ hasText: "public.customers.card" })).toContainText("keep last");
  await expect(lineage.getByRole("row").filter({ hasText: "public.customers.address" })).toContainText("not known: public.city_of(): its code, in plpgsql, is not read");
  const second = page.getByRole("article", { name: "Statement 2" });
  await expect(second).toContainText("blocked");
  await expect(second).toContainText("DROP TABLE destroys public.customers");
  const third = page.getByRole("article", { name: "Statement 3" });
  await expect(third).toContainText("Approved by alice@example.com: “moved house, ticket 4711”");
  await expect(third).toContainText("UPDATE 1");

  const fourth = page.getByRole("article", { name: "Statement 4" });
  await expect(fourth.getByRole("region", { name: "Rows of statement 4" }).locator("tbody tr")).toHaveCount(20);
  await expect(fourth).toContainText("20 rows of 1,200");
  await fourth.getByRole("button", { name: "show more" }).click();
  await expect(fourth.getByRole("region", { name: "Rows of statement 4" }).locator("tbody tr")).toHaveCount(520);
  await expect(fourth.getByRole("region", { name: "Rows of statement 4" }).locator("tbody tr").last()).toHaveText("520");
  await expect(page.locator(".lead")).toContainText("0:41, the client said good-bye · from 10.1.4.23:51334");
});

test("a recording is downloaded", async ({ open }) => {
  const page = await open("/sessions/01JD900000");
  const started = page.waitForEvent("download");
  await page.getByRole("link", { name: "Download recording" }).click();
  const download = await started;
  expect(download.suggestedFilename()).toBe("gatehouse-01JD900000.tar");
  const names = execFileSync("tar", ["tf", await download.path()], { encoding: "utf8" });
  expect(names).toMatch(/^sessions\/\d{4}\/\d\d\/\d\d\/01JD900000\/000001\.piece\n$/);
});

test("who is no auditor sees no sessions", async ({ gate, open }) => {
  const page = await open("/sessions", "bob");
  await expect(page.getByRole("heading", { name: "There is no such page" })).toBeVisible();
  await expect(page.getByRole("navigation").getByRole("link", { name: "Sessions" })).toHaveCount(0);
  const refused = await page.request.get(gate.url + "/api/sessions/01JD900000/recording");
  expect(refused.status()).toBe(403);
});
