// Sends a file from a real browser, as somebody without a card would: node deliver.mjs URL FILE TITLE NAME TELEPHONE
//
// Says what happens on standard output, a JSON object a line: {"fingerprint"} that is shown, {"held": N} before part N leaves, {"torn"}
// when the page says that the line is torn, {"receipt"}, or {"failed", "remedy"}, and at last what the browser {"complained"} about.
// After {"held"} and {"fingerprint"} it waits for a line on standard input.
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [url, file, title, name, telephone] = process.argv.slice(2);
const say = (what) => console.log(JSON.stringify(what));
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const told = () => lines.next();

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  // Chromium's own sandbox refuses to work for root.
  args: ["--disable-dev-shm-usage", ...(process.getuid() === 0 ? ["--no-sandbox"] : [])],
});
const context = await browser.newContext({ ignoreHTTPSErrors: true, locale: "ja-JP" });
const page = await context.newPage();
const complained = [];
page.on("pageerror", (error) => complained.push(error.message));
page.on("console", (message) => {
  // That a line was torn is what the test wants.
  const expected = message.text().includes("net::ERR_");
  if (message.type() === "error" && !expected) complained.push(message.text());
});

await page.goto(url);
const only = await page.getByRole("radio").count();
if (only > 1) throw new Error("more than one unit to choose from");
say({ fingerprint: await page.locator("#fingerprint span").allTextContents() });
await told();
await page.setInputFiles("#file", file);
await page.fill("#title", title);
await page.fill("#name", name);
await page.fill("#telephone", telephone);

let held = false;
await page.route("**/parts/1", async (route) => {
  if (!held) {
    held = true;
    say({ held: 1 });
    await told();
  }
  await route.continue();
});
await page.click("#send");
page.waitForFunction(() => document.querySelector("#going-on").textContent !== "").then(
  () => say({ torn: true }),
  () => {},
);
await page.waitForSelector("#done:not([hidden]), #failed:not([hidden])", { timeout: 60_000 });
if (await page.locator("#done").isVisible()) {
  say({ receipt: (await page.locator("#receipt span").allTextContents()).join("") });
} else {
  say({ failed: await page.textContent("#failed-what"), remedy: await page.textContent("#failed-remedy") });
}
say({ complained });
await browser.close();
process.exit(0);
