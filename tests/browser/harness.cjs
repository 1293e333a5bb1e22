// Chromium, a fresh page for every test, and the count at the end.
"use strict";
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { chromium } = require("playwright-core");

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const TIMEOUT_MS = 30_000;

/**
 * Run `tests`, `{ name, expected?, run(page) }`, one after the other, each on a new page of the first of `addresses` with
 * empty storage. A test also fails when the page logs an error (save those that match `expected`) or asks a server that is
 * not among them.
 */
async function runAll(addresses, executablePath, tests) {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), "sterna-browser-"));
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath,
    args: FLAGS,
    headless: true,
    viewport: { width: 1100, height: 760 },
  });
  browser.setDefaultTimeout(TIMEOUT_MS);
  let failed = 0;
  try {
    for (const test of tests) {
      const troubles = await runOne(browser, addresses, test);
      failed += troubles.length > 0;
      console.log(`${troubles.length ? "FAILED" : "passed"}  ${test.name}`);
      for (const trouble of troubles) console.log(`        ${trouble}`);
    }
  } finally {
    await browser.close();
    fs.rmSync(profile, { recursive: true, force: true });
  }
  console.log(`browser: ${tests.length - failed} passed, ${failed} failed`);
  return failed === 0;
}

async function runOne(browser, addresses, { run, expected }) {
  const troubles = [];
  const page = await browser.newPage();
  page.on("pageerror", (error) => troubles.push(`uncaught: ${error.message}`));
  page.on("console", (message) => {
    const text = message.text();
    if (message.type() === "error" && !expected?.test(text)) troubles.push(`console: ${text}`);
  });
  page.on("request", (request) => {
    const url = new URL(request.url());
    const inside = addresses.some((address) => url.origin === new URL(address).origin) || url.protocol === "data:";
    if (!inside) troubles.push(`asked another server: ${url}`);
  });
  try {
    await page.goto(addresses[0]);
    await page.evaluate(() => localStorage.clear());
    await page.reload();
    await page.waitForFunction(() => document.title.endsWith("· Sterna"));
    await run(page);
  } catch (error) {
    troubles.push(error.stack.split("\n").slice(0, 8).join("\n        "));
  }
  await page.close();
  return troubles;
}

module.exports = { runAll };
