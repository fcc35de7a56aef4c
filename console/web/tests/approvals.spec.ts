import { expect, signIn, test } from "./console.ts";

test("a request appears without reload, and is approved", async ({ gate, open }) => {
  const page = await open();
  await expect(page.getByText("Nothing waits for you")).toBeVisible();
  await expect(page.getByText("Live")).toBeVisible();

  await gate.hold("K7QF2MZX");
  const card = page.getByRole("article", { name: "reporting-agent@example.com" });
  await expect(card).toContainText("UPDATE customers");
  await expect(card).toContainText("writes to customer data need a second pair of eyes");
  await expect(card).toContainText("approve/customers");
  await expect(card.locator(".params")).toContainText("Göteborg");
  await expect(card).toContainText("A transaction is open while this waits.");
  await expect(card).toContainText("RowExclusiveLock on public.customers");
  await expect(card.locator(".time")).toHaveText(/^[45]:\d\d left$/);
  await expect(page.locator("[aria-live]")).toContainText("New request on orders by reporting-agent@example.com");
  await expect(page).toHaveTitle("(1) Approvals · Gatehouse");

  await card.getByRole("button", { name: "Approve" }).click();
  expect(await gate.decision("K7QF2MZX")).toEqual({ approved: true, by: "alice@example.com", comment: "", failed: false });
  await expect(card).toBeHidden();
  await expect(page.getByText("was approved by alice@example.com").last()).toBeVisible();
});

test("a request is denied with a comment", async ({ gate, open }) => {
  await gate.hold("A");
  const page = await open();
  const card = page.locator('[data-id="A"]');
  await card.getByLabel("Comment").fill("not during business hours");
  await card.getByRole("button", { name: "Deny" }).click();
  expect(await gate.decision("A")).toEqual({ approved: false, by: "alice@example.com", comment: "not during business hours", failed: false });
  await expect(card).toBeHidden();
});

test("everything can be done with the keyboard", async ({ gate, open }) => {
  await gate.hold("A");
  const page = await open();
  await page.locator('[data-id="A"]').getByLabel("Comment").focus();
  await page.keyboard.type("ok");
  await page.keyboard.press("Tab"); // to Deny
  await page.keyboard.press("Tab"); // to Approve
  await page.keyboard.press("Enter");
  expect(await gate.decision("A")).toMatchObject({ approved: true, comment: "ok" });
});

test("a withdrawn request vanishes at once", async ({ gate, open }) => {
  await gate.hold("A");
  await gate.hold("B");
  const page = await open();
  await expect(page.locator(".card")).toHaveCount(2);
  await gate.withdraw("A");
  await expect(page.locator('[data-id="A"]')).toBeHidden();
  await expect(page.locator('[data-id="B"]')).toBeVisible();
  await expect(page.getByRole("region", { name: "Just ended" })).toContainText("was withdrawn: its client cancelled or hung up");
});

test("two approvers see the same, and the second is too late", async ({ gate, open, browser }) => {
  await gate.hold("A");
  const page = await open();
  const context = await browser.newContext();
  const other = await context.newPage();
  await signIn(other, gate, "/", "bob");
  await expect(page.locator(".card")).toHaveCount(1);
  await other.locator(".card").getByRole("button", { name: "Deny" }).click();
  await expect(page.locator(".card")).toHaveCount(0);
  await expect(page.getByRole("region", { name: "Just ended" })).toContainText("was denied by bob@example.com");
  await context.close();
});

test("a decision that comes too late is told so", async ({ gate, open, page }) => {
  // Without the WebSocket the page does not know that the request is gone.
  await page.routeWebSocket("**/api/events", (ws) => {
    const real = ws.connectToServer();
    real.onMessage((m) => {
      if (!String(m).includes('"ended"')) ws.send(m);
    });
  });
  await gate.hold("A");
  await open();
  await expect(page.locator(".card")).toHaveCount(1);
  await gate.withdraw("A");
  await page.getByRole("button", { name: "Approve" }).click();
  await expect(page.getByRole("alert")).toContainText("request A was withdrawn");
  await expect(page.getByRole("button", { name: "Approve" })).toBeDisabled();
});

test("clicks do not count while cards move", async ({ gate, open }) => {
  await gate.hold("A");
  await gate.hold("B");
  const page = await open();
  await expect(page.locator(".card")).toHaveCount(2);
  await gate.withdraw("A");
  await expect(page.locator(".settling")).toBeVisible();
  await page.locator('[data-id="B"]').getByRole("button", { name: "Approve" }).dispatchEvent("click");
  await expect(page.locator(".settling")).toBeHidden();
  await expect(page.locator('[data-id="B"]')).toBeVisible();
});

test("masked values are revealed to who is cleared for them, only", async ({ gate, open, browser }) => {
  await gate.hold("A", "masked");
  const page = await open();
  const card = page.locator('[data-id="A"]');
  await expect(card).toContainText("Values of any.people.ssn are masked.");
  await expect(card.locator(".code")).toContainText("SET ssn = '[redacted]'");
  await expect(card).not.toContainText("987-65-4321");
  const context = await browser.newContext();
  const other = await context.newPage();
  await signIn(other, gate, "/", "bob");
  await expect(other.locator(".card")).toContainText("You are not cleared to see them.");
  await expect(other.getByRole("button", { name: "Reveal values" })).toHaveCount(0);
  await context.close();
  await card.getByRole("button", { name: "Reveal values of request A" }).click();
  await expect(card.locator(".code")).toContainText("SET ssn = '987-65-4321'");
  await expect(card.locator(".params")).toContainText("123-45-6789");
  await expect(card).toContainText("That you saw them is recorded.");
  await card.getByRole("button", { name: "Approve" }).click();
  expect(await gate.decision("A")).toMatchObject({ approved: true });
});

test("nobody decides their own", async ({ gate, open }) => {
  await gate.hold("A", "own");
  const page = await open();
  await expect(page.locator(".card")).toContainText("nobody decides a request of their own");
  await expect(page.getByRole("button", { name: "Approve" })).toHaveCount(0);
});

test("hostile text is text", async ({ gate, open }) => {
  await gate.hold("A", "hostile");
  const page = await open();
  const card = page.locator('[data-id="A"]');
  const code = card.locator(".code");
  await expect(code).toContainText('<img src=x onerror="document.title=1;alert(1)">');
  await expect(code).toContainText("</pre><script>alert(3)</script>");
  for (const mark of ["⟨U+202E⟩", "⟨NUL⟩", "⟨ESC⟩", "⟨U+200B⟩", "⟨U+2066⟩", "⟨CR⟩"]) {
    await expect(code.locator(".mark", { hasText: mark })).toHaveCount(1);
  }
  await expect(code.locator(".foreign")).toHaveText(["е"]); // Cyrillic
  await expect(code).toContainText("/* nothing more */");
  await expect(card.locator(".reason")).toContainText("<script>alert(4)</script> reason");
  await expect(card.locator(".params")).toContainText("<b>bold</b>");
  await expect(card.locator(".params")).toContainText("a⟨U+202E⟩b⟨BEL⟩");
  await expect(card.locator(".chips")).toContainText("<i>key</i>⟨U+200B⟩value");
  await expect(card.locator("img, script, b:text('bold'), i")).toHaveCount(0);
  await expect(page).toHaveTitle("(1) Approvals · Gatehouse");
});

test("the tail of a long statement is always seen", async ({ gate, open }) => {
  await gate.hold("A", "long");
  const page = await open();
  const code = page.locator(".code");
  await expect(code).toContainText("SELECT 1;⟨");
  await expect(code).toContainText(/[\d,]+ bytes hidden/);
  await expect(code).toContainText("DROP TABLE customers");
  await code.getByRole("button", { name: "show all" }).click();
  await expect(code).toContainText("⟨100,000 blanks⟩");
  await expect(code).not.toContainText("bytes hidden");
  await expect(code).toContainText("DROP TABLE customers");
});

test("the page says when it lost the gate, and comes back by itself", async ({ gate, open, page }) => {
  let drop: (() => Promise<void>) | undefined;
  let refuse = false;
  await page.routeWebSocket("**/api/events", (ws) => {
    if (refuse) return void ws.close();
    ws.connectToServer();
    drop = () => ws.close();
  });
  await gate.hold("A");
  await open();
  await expect(page.locator(".card")).toHaveCount(1);
  refuse = true;
  await drop!();
  await expect(page.getByText("Connection lost")).toBeVisible();
  await gate.withdraw("A");
  await gate.hold("B");
  refuse = false;
  await expect(page.getByText("Live")).toBeVisible({ timeout: 20_000 });
  await expect(page.locator('[data-id="B"]')).toBeVisible();
  await expect(page.locator('[data-id="A"]')).toBeHidden();
});

test("the page notices that the gate has forgotten the sign-in", async ({ open, page }) => {
  let drop: (() => Promise<void>) | undefined;
  await page.routeWebSocket("**/api/events", (ws) => {
    ws.connectToServer();
    drop = () => ws.close();
  });
  await open();
  await expect(page.getByText("Live")).toBeVisible();
  await page.context().clearCookies();
  await drop!();
  await expect(page.getByText("Your sign-in has ended.")).toBeVisible();
});

test("who is not signed in is asked to, with the issuer", async ({ gate, page }) => {
  await page.goto(`${gate.url}/sessions`);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "alice@example.com" }).click();
  await expect(page).toHaveURL(`${gate.url}/sessions`);
  await expect(page.getByRole("heading", { name: "Sessions" })).toBeVisible();
  await page.getByRole("button", { name: "Sign out" }).click();
  await expect(page.getByRole("button", { name: "Sign in" })).toBeVisible();
});
