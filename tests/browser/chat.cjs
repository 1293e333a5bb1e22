// What a person does with the chat page, in a real browser:
// `node chat.cjs ADDRESS CHROMIUM SCREENS-DIR LOCKED-ADDRESS`. Run it with run.sh, which provides
// all four.
"use strict";
const assert = require("node:assert/strict");
const { runAll } = require("./harness.cjs");

const [address, executable, screens, locked] = process.argv.slice(2);
const STORY = "Once upon a time, there was a little fox who";
/** With these the demo model babbles until its context is full: 500 tokens after STORY, 506 after "Once upon\na time". */
const LONG = { seed: 1, temperature: 2 };
const LONG_BY_KEYS = { seed: 3, temperature: 2 };
const FACTS = /^\d+ tokens? · [\d.]+ tokens\/s · first token after \d+ ms/;

const tests = [];
const test = (name, run, expected) => tests.push({ name, run, expected });

// ---- what a person does
// ---------------------------------------------------------------------------------------

async function set(page, fields) {
  await page.click("summary");
  for (const [name, value] of Object.entries(fields)) await page.fill(`[name=${name}]`, String(value));
  await page.keyboard.press("Escape");
}

async function begin(page, text) {
  await page.fill("#input", text);
  await page.click("#send");
}

const toText = (page) => page.click("text=Continue text");
const isIdle = (page) => page.waitForFunction(() => !document.querySelector("#send").classList.contains("stop"));
const answer = (page) => page.locator(".answer").last().textContent();
const facts = (page) => page.locator(".facts").last().textContent();

/** Send and wait for the whole answer. */
async function say(page, text) {
  await begin(page, text);
  await page.waitForSelector(".answer, #error:not([hidden])");
  await isIdle(page);
}

/** The JSON body of the next request to `path`. */
const asked = async (page, path) => (await page.waitForRequest((r) => r.url().endsWith(path))).postDataJSON();

const post = (page, path, body) => page.request.post(address + path, { data: body }).then((r) => r.json());

async function metric(page, name) {
  const text = await (await page.request.get(`${address}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)[1]);
}

/** Poll, since the server notices a lost client in its own time. */
async function eventually(what, check) {
  for (const deadline = Date.now() + 10_000; Date.now() < deadline; ) {
    if (await check()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail(`not within 10 s: ${what}`);
}

/** While an answer runs: stop it by `stop`, and see that the server stops as well. */
async function stops(page, stop) {
  const cancelled = await metric(page, "sterna_generations_cancelled_total");
  await page.waitForFunction(() => document.querySelector(".answer")?.textContent.length > 10);
  assert.equal(await page.textContent("#send"), "Stop");
  await stop();
  await isIdle(page);
  assert.match(await facts(page), /stopped$/);
  await eventually("no sequence runs", async () => (await metric(page, "sterna_sequences_running")) === 0);
  assert.equal(await metric(page, "sterna_generations_cancelled_total"), cancelled + 1);
  const left = await answer(page);
  assert.ok(left.length > 10, "what had come stays");
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal(await answer(page), left, "nothing comes after the stop");
}

const noSidewaysScroll = async (page) => {
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= window, `the page is ${content} px wide in a window of ${window} px`);
};

/** WCAG 2 contrast ratio of two CSS colours of the form rgb(r, g, b). */
function contrast(a, b) {
  const luminance = (colour) => {
    const [r, g, b] = colour.match(/\d+/g).map((byte) => {
      const c = byte / 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}

// ---- tests
// ----------------------------------------------------------------------------------------------------

test("the page names the model and sends a strict policy", async (page) => {
  const [model] = (await (await page.request.get(`${address}/v1/models`)).json()).data;
  assert.equal(await page.inputValue("#model"), model.id);
  assert.match(await page.textContent("#facts"), new RegExp(`parameters · context ${model.context_length} · `));
  const response = await page.reload();
  const policy = response.headers()["content-security-policy"];
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe/);
});

test("an answer streams and equals the server's", async (page) => {
  await set(page, { seed: 7, max_tokens: 200 });
  await page.evaluate(() => {
    window.lengths = [];
    new MutationObserver(() => {
      const busy = document.querySelector("#chat").getAttribute("aria-busy");
      if (busy) window.lengths.push(document.querySelector(".answer").textContent.length);
    }).observe(document.querySelector("#chat"), { subtree: true, childList: true, characterData: true });
  });
  await say(page, STORY);
  const steps = new Set(await page.evaluate(() => window.lengths));
  assert.ok(steps.size >= 5, `the text grew in ${steps.size} steps`);
  const messages = [{ role: "user", content: STORY }];
  const whole = await post(page, "/v1/chat/completions", { messages, seed: 7, max_tokens: 200 });
  assert.equal(await answer(page), whole.choices[0].message.content);
  assert.match(await facts(page), FACTS);
  assert.match(await facts(page), new RegExp(`^${whole.usage.completion_tokens} tokens`));
  assert.equal(await page.textContent(".question"), STORY);
  await page.screenshot({ path: `${screens}/light.png` });
});

test("a conversation carries its past and the system prompt", async (page) => {
  await set(page, { max_tokens: 8, system: "Be kind." });
  await say(page, "Hello.");
  const first = await answer(page);
  const body = asked(page, "/v1/chat/completions");
  await say(page, "And then?");
  assert.deepEqual((await body).messages, [
    { role: "system", content: "Be kind." },
    { role: "user", content: "Hello." },
    { role: "assistant", content: first },
    { role: "user", content: "And then?" },
  ]);
  await page.click("#fresh");
  assert.equal(await page.locator(".question").count(), 0);
  assert.ok(await page.isVisible("#welcome"));
  const anew = asked(page, "/v1/chat/completions");
  await say(page, "Hello again.");
  assert.equal((await anew).messages.length, 2);
});

test("the stop button stops page and server", async (page) => {
  await set(page, LONG);
  await begin(page, STORY);
  await stops(page, () => page.click("#send"));
});

test("a new chat ends the one that runs", async (page) => {
  await set(page, LONG);
  await begin(page, STORY);
  await page.waitForFunction(() => document.querySelector(".answer")?.textContent.length > 10);
  await page.click("#fresh");
  await page.waitForSelector("#welcome:not([hidden])");
  await eventually("no sequence runs", async () => (await metric(page, "sterna_sequences_running")) === 0);
  assert.equal(await page.locator(".answer").count(), 0);
});

test("the keyboard alone is enough", async (page) => {
  await page.evaluate((saved) => localStorage.setItem("sterna.settings", JSON.stringify(saved)), LONG_BY_KEYS);
  await page.reload();
  await page.waitForFunction(() => document.title.endsWith("· Sterna"));
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.name);
  const outlined = () =>
    page.evaluate(() => {
      const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
      return outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
    });
  assert.equal(await focused(), "input", "the page opens ready to type");
  await page.keyboard.type("Once upon");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("a time");
  assert.equal(await page.inputValue("#input"), "Once upon\na time");
  await page.keyboard.press("Enter");
  await stops(page, () => page.keyboard.press("Escape"));
  assert.equal(await focused(), "input", "the focus stays");
  assert.equal(await page.textContent(".question"), "Once upon\na time");

  // Backwards: the new-chat button, then the settings, which open and close by keys.
  for (let i = 0; i < 12 && (await focused()) !== "fresh"; i++) await page.keyboard.press("Shift+Tab");
  assert.equal(await focused(), "fresh");
  assert.ok(await outlined(), "the focus shows on a button");
  await page.keyboard.press("Shift+Tab");
  assert.ok(await outlined(), "the focus shows on the settings");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "temperature");
  assert.ok(await outlined(), "the focus shows on a field");
  await page.keyboard.press("Backspace");
  await page.keyboard.type("0.5");
  await page.keyboard.press("Escape");
  assert.ok(!(await page.isVisible("#settings")));
  for (let i = 0; i < 14 && (await focused()) !== "mode"; i++) await page.keyboard.press("Tab");
  await page.keyboard.press("ArrowRight");
  assert.equal(await page.textContent("#send"), "Continue");
  await page.keyboard.press("Shift+Tab");
  assert.equal(await focused(), "send");
});

test("a text is continued, and continued again", async (page) => {
  await toText(page);
  await set(page, { max_tokens: 12, seed: 3 });
  await say(page, STORY);
  const first = await answer(page);
  const again = asked(page, "/v1/completions");
  await page.click("#send");
  assert.equal((await again).prompt, STORY + first);
  await isIdle(page);
  const second = await answer(page);
  const third = asked(page, "/v1/completions");
  await say(page, " Then");
  assert.equal((await third).prompt, `${STORY}${first}${second} Then`);
  assert.equal(await page.textContent(".story"), `${STORY}${first}${second} Then${await answer(page)}`);
  assert.match(await facts(page), /^12 tokens · .*first token after \d+ ms · length limit reached$/);
  await page.screenshot({ path: `${screens}/text.png` });
});

test(
  "a refusal shows the server's words and gives the message back",
  async (page) => {
    await set(page, { temperature: 5 });
    await say(page, STORY);
    const messages = [{ role: "user", content: STORY }];
    const refusal = await post(page, "/v1/chat/completions", { messages, temperature: 5 });
    assert.equal(await page.textContent("[role=alert]"), refusal.error.message);
    assert.equal(await page.inputValue("#input"), STORY);
    assert.equal(await page.locator(".question").count(), 0);
    await page.screenshot({ path: `${screens}/error.png` });
    await set(page, { temperature: 0.8, max_tokens: 8 });
    await page.keyboard.press("Escape");
    await page.focus("#input");
    await page.keyboard.press("Enter");
    await page.waitForSelector(".answer");
    await isIdle(page);
    assert.ok(!(await page.isVisible("[role=alert]")));
  },
  /status of 400/,
);

test(
  "a lost server, a proxy's page and a broken stream are told apart",
  async (page) => {
    const replies = [
      [(route) => route.abort("connectionrefused"), /cannot be reached/],
      [(route) => route.fulfill({ status: 502, body: "<h1>Bad gateway</h1>" }), /^The server answered 502/],
      [(route) => route.fulfill({ status: 200, body: 'data: {"error": {"message": "NaN in layer 3"}}\n\n' }), /^NaN in/],
      [(route) => route.fulfill({ status: 200, body: "data: " }), /broke off/],
    ];
    for (const [reply, message] of replies) {
      await page.route("**/v1/chat/completions", reply, { times: 1 });
      await say(page, "Hello.");
      assert.match(await page.textContent("[role=alert]"), message);
    }
  },
  /Failed to load resource/,
);

test(
  "a model without chat template continues the text instead",
  async (page) => {
    // The engine's refusal as the API sends it; the demo model has a template.
    const message = "Invalid value for 'messages': this model has no chat template; use /v1/completions with a prompt.";
    const error = { message, type: "invalid_request_error", param: "messages", code: "invalid_value" };
    await page.route("**/v1/chat/completions", (route) => route.fulfill({ status: 400, json: { error } }));
    await set(page, { max_tokens: 8 });
    await say(page, STORY);
    assert.match(await page.textContent("#notice"), /no chat template/);
    assert.ok(!(await page.isVisible("[role=alert]")));
    assert.equal(await page.textContent(".story"), STORY + (await answer(page)));
    assert.ok((await answer(page)).length > 0);
  },
  /status of 400/,
);

test("settings are sent and remembered", async (page) => {
  const fields = { temperature: 0.5, top_p: 0.9, top_k: 40, max_tokens: 5, seed: -3 };
  await set(page, fields);
  await toText(page);
  await page.reload();
  await page.waitForFunction(() => document.title.endsWith("· Sterna"));
  const body = asked(page, "/v1/completions");
  await say(page, STORY);
  const sent = await body;
  for (const [name, value] of Object.entries(fields)) assert.equal(sent[name], value, name);
  await page.click("summary");
  await page.click("text=Reset");
  await page.reload();
  await page.waitForFunction(() => document.title.endsWith("· Sterna"));
  assert.equal(await page.inputValue("[name=seed]"), "");
});

test(
  "a server with a key asks for it, and the tab keeps it",
  async (page) => {
    const known = () => page.waitForFunction(() => document.title.endsWith("· Sterna"));
    await page.goto(locked);
    await page.waitForSelector("[role=alert]:not([hidden])");
    assert.match(await page.textContent("[role=alert]"), /asks for an API key/);
    assert.equal(await page.evaluate(() => document.activeElement.id), "key", "the field is open and ready");
    await page.keyboard.type("wrong");
    await page.keyboard.press("Tab");
    await page.waitForFunction(() => /not one of/.test(document.querySelector("[role=alert]").textContent));
    await page.screenshot({ path: `${screens}/key.png` });
    await page.fill("#key", "sesame");
    await page.keyboard.press("Tab");
    await known();
    assert.ok(!(await page.isVisible("[role=alert]")));
    await page.reload();
    await known();
    await set(page, { max_tokens: 8 });
    await say(page, STORY);
    assert.ok((await answer(page)).length > 0);
    const stored = await page.evaluate(() => JSON.stringify(localStorage));
    assert.ok(!stored.includes("sesame"), "the key does not outlive the tab");
    await page.click("summary");
    await page.click("text=Reset");
    await page.waitForFunction(() => !sessionStorage.getItem("sterna.key"));
  },
  /status of 401/,
);

test("HTML in a message stays text", async (page) => {
  const evil = `<img src=x onerror="document.title='owned'"><b>bold</b>`;
  await set(page, { max_tokens: 4 });
  await say(page, evil);
  assert.equal(await page.textContent(".question"), evil);
  assert.equal(await page.locator("#chat img, #chat b").count(), 0);
});

test("light and dark follow the system and can be read", async (page) => {
  await set(page, { max_tokens: 60, seed: 7 });
  await say(page, STORY);
  const grounds = [];
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    const pairs = await page.evaluate(() => {
      const ground = (node) => {
        const colour = getComputedStyle(node).backgroundColor;
        return colour === "rgba(0, 0, 0, 0)" ? ground(node.parentElement) : colour;
      };
      const parts = [".answer", ".question", ".facts", "#facts", "#send", "#keys", "summary", "fieldset span", "#input"];
      return parts.map((part) => {
        const node = document.querySelector(part);
        return [part, getComputedStyle(node).color, ground(node)];
      });
    });
    for (const [part, ink, ground] of pairs) {
      assert.ok(contrast(ink, ground) >= 4.5, `${part} in ${colorScheme}: ${ink} on ${ground}`);
    }
    grounds.push(pairs[0][2]);
    await page.screenshot({ path: `${screens}/${colorScheme}-answer.png` });
  }
  assert.ok(contrast(...grounds) > 10, `${grounds}`);
});

test("a phone needs no sideways scrolling", async (page) => {
  await page.setViewportSize({ width: 360, height: 640 });
  await noSidewaysScroll(page);
  await page.screenshot({ path: `${screens}/phone-welcome.png` });
  await page.click("summary");
  await noSidewaysScroll(page);
  const [top, bottom] = [await page.locator("h1").boundingBox(), await page.locator("#fresh").boundingBox()];
  assert.ok(bottom.y < top.y + top.height, "title and buttons share a row");
  const box = await page.locator("#settings").boundingBox();
  assert.ok(box.x >= 0 && box.x + box.width <= 360, "the settings fit");
  await page.screenshot({ path: `${screens}/phone-settings.png` });
  await page.keyboard.press("Escape");
  await set(page, { max_tokens: 50, seed: 7 });
  await say(page, STORY);
  await say(page, "x".repeat(200));
  await noSidewaysScroll(page);
  const send = await page.locator("#send").boundingBox();
  assert.ok(send.height >= 40 && send.x + send.width <= 360 && send.y + send.height <= 640, "the button is in reach");
  await page.screenshot({ path: `${screens}/phone.png` });
});

runAll([address, locked], executable, tests).then((good) => process.exit(good ? 0 : 1));
