// Looks at the pages of `serve` in a real browser: `node browser.mjs BASE_URL NAME`; `tests/browser` installs what it needs and says where.
// Saves pictures in light and dark, wide and narrow; ends with 1 where axe-core finds something serious, where a page is wider than its
// window, where something is fetched from elsewhere, or where the keyboard does not lead to a day.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(process.env.MEETLAKE_BROWSER_MODULES + "/");
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const [base, name] = process.argv.slice(2);
const out = process.env.MEETLAKE_PICTURES;
mkdirSync(out, { recursive: true });

const browser = await chromium.launch({
  executablePath: process.env.MEETLAKE_CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const problems = [];

async function look(path, label, width, height, colorScheme) {
  // A test of contrast needs a script in the page, which the page itself does not allow.
  const context = await browser.newContext({ viewport: { width, height }, colorScheme, bypassCSP: true });
  const page = await context.newPage();
  const place = `${name} ${label} ${width} ${colorScheme}`;
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && problems.push(`${place}: ${message.text()}`));
  page.on("request", (request) => request.url().startsWith(base) || problems.push(`${place}: asks for ${request.url()}`));
  const answer = await page.goto(base + path);
  if (answer.status() !== 200) problems.push(`${place}: status ${answer.status()}`);
  await page.screenshot({ path: `${out}/${name}-${label}-${width}-${colorScheme}.png`, fullPage: true });
  const tooWide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (tooWide > 0) problems.push(`${place}: ${tooWide} pixels wider than the window`);
  await page.evaluate(axe);
  const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  for (const violation of found.violations) {
    const where = violation.nodes.slice(0, 3).map((node) => node.target.join(" ")).join("; ");
    const line = `${place}: axe ${violation.impact} ${violation.id} (${violation.nodes.length}): ${where}`;
    if (["serious", "critical"].includes(violation.impact)) problems.push(line);
    else console.log(line);
  }
  const height_ = await page.evaluate(() => document.querySelector(".calendar")?.getBoundingClientRect().height);
  if (label === "overview" && colorScheme === "light") console.log(`${place}: calendar ${Math.round(height_)} pixels high`);
  await context.close();
}

// By keyboard: Tab leads to a day that is not well, and what is said of it is shown.
async function tab(path) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  await page.goto(base + path);
  for (let step = 0; step < 60; step += 1) {
    await page.keyboard.press("Tab");
    const label = await page.evaluate(() => {
      const on = document.activeElement;
      const isShown = on.matches(".cells a") && getComputedStyle(on, "::after").position === "fixed";
      return isShown ? on.getAttribute("aria-label") : null;
    });
    if (label) {
      await page.screenshot({ path: `${out}/${name}-focus.png` });
      await page.keyboard.press("Enter");
      await page.waitForURL("**/day/**");
      console.log(`${name}: after ${step + 1} times Tab: ${label}`);
      return context.close();
    }
  }
  problems.push(`${name}: Tab leads to no day`);
  await context.close();
}

const isYear = name === "year";
const first = isYear ? "/?tenant=t000&days=365" : "/";
for (const scheme of ["light", "dark"]) {
  for (const [width, height] of [[1280, 800], [390, 844]]) {
    await look(first, "overview", width, height, scheme);
    const page = await browser.newPage();
    await page.goto(base + first);
    const links = await page.$$eval(".cells a", (all) => all.map((of) => [of.className, of.getAttribute("href")]));
    await page.close();
    const bad = links.find(([kind]) => ["f", "q", "h"].includes(kind)) ?? links.at(-1);
    if (bad) await look(bad[1], "day", width, height, scheme);
    if (isYear) await look("/", "tenants", width, height, scheme);
  }
}
if (name !== "well") await tab(first);
await browser.close();
for (const problem of problems) console.log(problem);
process.exit(problems.length > 0 ? 1 : 0);
