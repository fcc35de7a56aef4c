import { expect, test } from "./console.ts";

test("tracked columns say what they hold and who stored it, and are lifted with a comment", async ({ open }) => {
  const page = await open("/approvals");
  await page.getByRole("link", { name: "Tracked" }).click();
  const cards = page.getByRole("article");
  await expect(cards).toHaveCount(3);
  const report = page.getByRole("article", { name: "public.reports.number" });
  await expect(report).toContainText("Holds: public.people.ssn");
  await expect(report).toContainText("reporting-agent@example.com");
  await expect(report).toContainText("CREATE TABLE reports AS SELECT id, ssn AS number FROM people");
  await expect(report.getByRole("link")).toHaveAttribute("href", "/sessions/01JD900000");

  await report.getByRole("button", { name: "Lift" }).click();
  await expect(report.getByRole("alert")).toContainText("there is no comment");
  await report.getByLabel("Comment").fill("numbers were removed, OPS-114");
  await report.getByRole("button", { name: "Lift" }).click();
  await expect(page.getByRole("status").filter({ hasText: "Lifted. The recording of session 01JDLIFTED" })).toBeVisible();
  await expect(cards).toHaveCount(2);
  await page.reload();
  await expect(cards).toHaveCount(2);

  const own = page.getByRole("article", { name: "public.notes.text" });
  await expect(own).toContainText("You cannot lift it: a session of your own stored protected values there.");
  await expect(own.getByRole("button")).toHaveCount(0);
});

test("names and statements of tracked columns are text", async ({ open }) => {
  const page = await open("/tracked");
  const hostile = page.getByRole("article").last();
  await expect(hostile).toContainText('public.<img src=x onerror="alert(1)">.a⟨U+202E⟩b');
  await expect(hostile).toContainText("<script>alert(4)</script> SELECT ⟨BEL⟩");
  await expect(hostile.locator("img, script, b")).toHaveCount(0);
  await expect(hostile.getByRole("button")).toHaveText("Forget");
});

test("who may lift nothing sees nothing tracked", async ({ open }) => {
  const page = await open("/approvals", "agent");
  await expect(page.getByRole("link", { name: "Approvals" })).toBeVisible();
  await expect(page.getByRole("link", { name: "Tracked" })).toHaveCount(0);
});
