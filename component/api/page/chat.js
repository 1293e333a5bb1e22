// The chat page: sends what is typed to /v1/chat/completions or /v1/completions and shows the
// answer as it comes.
//
// Addresses are relative, so that the page also works below a prefix. Text from outside reaches the
// document only as text nodes, never as HTML.

const $ = (id) => document.getElementById(id);
const input = $("input");
const settings = $("settings");
const scroll = $("scroll");

/** One transcript per mode: the element that shows it, and what of it the next request sends. */
const chat = { log: $("chat"), messages: [] };
const text = { log: $("text"), soFar: "" };

/** The AbortController of the request that runs, if one does, and a promise of its end. */
let running = null;
let ended = Promise.resolve();
let models = [];

/** A failure to show: the server's own words where it sent some. */
class Failure extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

// ---- settings
// -------------------------------------------------------------------------------------------------

const STORE = "sterna.settings";

function loadSettings() {
  let saved = {};
  try {
    saved = JSON.parse(localStorage.getItem(STORE)) ?? {};
  } catch {
    // No storage, or something else wrote there: begin with none.
  }
  for (const field of settings.elements) if (field.name) field.value = saved[field.name] ?? "";
  if (saved.mode) setMode(saved.mode);
  return saved;
}

function saveSettings() {
  const saved = { mode: mode(), model: $("model").value };
  for (const field of settings.elements) if (field.name && field.value) saved[field.name] = field.value;
  try {
    localStorage.setItem(STORE, JSON.stringify(saved));
  } catch {
    // Without storage they last as long as the page.
  }
}

const KEY_STORE = "sterna.key";

/** The API key lives as long as the tab, and apart from the settings, which stay in the browser. */
function loadKey() {
  try {
    $("key").value = sessionStorage.getItem(KEY_STORE) ?? "";
  } catch {
    // Without storage it has to be typed again after a reload.
  }
}

function saveKey() {
  try {
    sessionStorage.setItem(KEY_STORE, $("key").value);
  } catch {
    // As above.
  }
}

function authorization() {
  const key = $("key").value.trim();
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** The server wants a key, or another one: show where it goes. */
function askForKey() {
  $("panel").open = true;
  $("key").focus();
}

/** What the settings add to a request; empty fields are the server's business. */
function sampling() {
  const chosen = {};
  for (const field of settings.elements) {
    if (field.type === "number" && field.value !== "") chosen[field.name] = field.valueAsNumber;
  }
  if ($("model").value) chosen.model = $("model").value;
  return chosen;
}

function mode() {
  return document.querySelector("[name=mode]:checked").value;
}

function setMode(name) {
  for (const radio of document.getElementsByName("mode")) radio.checked = radio.value === name;
  showMode();
}

function showMode() {
  const isText = mode() === "text";
  chat.log.hidden = isText;
  text.log.hidden = !isText;
  input.placeholder = isText ? "A text to continue" : "Message";
  $("fresh").textContent = isText ? "New text" : "New chat";
  showWelcome();
  showButton();
}

function showWelcome() {
  $("welcome").hidden = (mode() === "text" ? text : chat).log.hasChildNodes();
}

function showButton() {
  const idle = mode() === "text" ? "Continue" : "Send";
  $("send").textContent = running ? "Stop" : idle;
  $("send").classList.toggle("stop", Boolean(running));
}

function show(id, message = "") {
  $(id).textContent = message;
  $(id).hidden = !message;
}

async function loadModels(preferred) {
  const select = $("model");
  try {
    const response = await fetch("v1/models", { headers: authorization() });
    if (!response.ok) throw await failure(response);
    models = (await response.json()).data;
    select.replaceChildren(...models.map(({ id }) => new Option(id, id)));
    if (models.some(({ id }) => id === preferred)) select.value = preferred;
    select.disabled = models.length < 2;
    showModel();
    show("error");
  } catch (error) {
    show("error", `The models could not be listed. ${describe(error)}`);
    if (error.status === 401) askForKey();
  }
}

function showModel() {
  const model = models.find(({ id }) => id === $("model").value);
  const facts = [];
  if (model?.parameters) facts.push(`${short(model.parameters)} parameters`);
  if (model?.context_length) facts.push(`context ${model.context_length}`);
  if (model?.isa) facts.push(model.isa);
  $("facts").textContent = facts.join(" · ");
  document.title = model ? `${model.id} · Sterna` : "Sterna";
}

function short(count) {
  const [divisor, unit] = count >= 1e9 ? [1e9, "B"] : [1e6, "M"];
  return `${(count / divisor).toFixed(1)} ${unit}`;
}

// ---- the request
// ----------------------------------------------------------------------------------------------

/** A failed response as a Failure. */
async function failure(response) {
  const said = await response.text();
  let message = `The server answered ${response.status} ${response.statusText}`.trim() + ".";
  try {
    message = JSON.parse(said).error.message;
  } catch {
    // A proxy's page, most likely: the status says more than its HTML would.
  }
  return new Failure(message, response.status);
}

/** The data of a response's server-sent events. This API's events have one line of data each. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line.startsWith("data:")) yield line.slice(5).trim();
  }
}

/** Ask, and hand every event to `onEvent`. Throws a Failure, or an AbortError when stopped. */
async function request(path, body, signal, onEvent) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...authorization() },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  if (!response.ok) throw await failure(response);
  for await (const data of events(response)) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new Failure(event.error.message);
    onEvent(event);
  }
  throw new Failure("The connection broke off before the answer's end.");
}

/** Counts and times of one answer. */
class Tally {
  constructor() {
    this.sent = performance.now();
    this.tokens = 0;
    this.why = "";
  }

  /** A piece of text has come; until the server says how many tokens there were, each piece counts as one. */
  piece() {
    this.last = performance.now();
    this.first ??= this.last;
    this.tokens += 1;
    if (this.last - this.first < 5) this.from = { ms: this.last, tokens: this.tokens };
  }

  toString() {
    if (this.first === undefined) return this.why;
    const parts = [this.tokens === 1 ? "1 token" : `${this.tokens} tokens`];
    // The rate counts from the first token on, whose own time is the prompt's, and leaves out those
    // that came bundled with it. In less than 50 ms, bundling says more than the model's speed.
    const ms = this.last - this.from.ms;
    if (ms >= 50) parts.push(`${(((this.tokens - this.from.tokens) / ms) * 1000).toFixed(1)} tokens/s`);
    parts.push(`first token after ${Math.round(this.first - this.sent)} ms`);
    if (this.why) parts.push(this.why);
    return parts.join(" · ");
  }
}

const REASONS = { stop: "", length: "length limit reached" };

// ---- the transcript
// -------------------------------------------------------------------------------------------

function element(tag, className, content = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = content;
  return made;
}

/** Shows one answer while it grows, at most once per frame. */
class Turn {
  /** `added`: the elements of this turn; `answer` and `facts`: those that change. */
  constructor(log, added, answer, facts) {
    Object.assign(this, { log, added, answer, facts, waiting: "", frame: 0 });
    this.tally = new Tally();
    log.setAttribute("aria-busy", "true");
    answer.classList.add("live");
    scroll.scrollTop = scroll.scrollHeight;
  }

  push(piece) {
    this.tally.piece();
    this.waiting += piece;
    this.frame ||= requestAnimationFrame(() => this.paint());
  }

  paint() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    // Follow the text, but do not pull a reader down who has scrolled up.
    const atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 60;
    if (this.waiting) this.answer.append(this.waiting);
    this.waiting = "";
    this.facts.textContent = this.tally;
    if (atEnd) scroll.scrollTop = scroll.scrollHeight;
  }

  end() {
    this.answer.classList.remove("live");
    this.log.removeAttribute("aria-busy");
    this.paint();
  }

  /** The turn came to nothing. */
  remove() {
    for (const node of this.added) node.remove();
  }
}

function chatTurn(prompt) {
  const facts = element("p", "facts");
  const added = [element("div", "question", prompt), element("div", "answer"), facts];
  chat.log.append(...added);
  return new Turn(chat.log, added, added[1], facts);
}

function textTurn(prompt) {
  const story = text.log.querySelector(".story") ?? element("div", "story");
  const facts = text.log.querySelector(".facts") ?? element("p", "facts");
  const added = [element("span", "given", prompt), element("span", "answer")];
  story.append(...added);
  if (!story.isConnected) {
    text.log.append(story, facts);
    added.push(story, facts);
  }
  return new Turn(text.log, added, added[1], facts);
}

/** Send `prompt`; the result tells whether an answer came, in part at least. */
async function converse(prompt, signal) {
  const system = settings.elements.system.value;
  const messages = [...chat.messages, { role: "user", content: prompt }];
  const opening = system ? [{ role: "system", content: system }] : [];
  // What the model thinks is shown and sent back between its own tags, as it was written.
  const body = { ...sampling(), separate_reasoning: false, messages: [...opening, ...messages] };
  const answer = await follow(chatTurn(prompt), "v1/chat/completions", body, signal, (choice) => choice.delta.content);
  if (answer === null) return false;
  chat.messages = [...messages, { role: "assistant", content: answer }];
  return true;
}

/** Let the model go on where the text so far and `prompt` end. */
async function carryOn(prompt, signal) {
  const body = { ...sampling(), prompt: text.soFar + prompt };
  const answer = await follow(textTurn(prompt), "v1/completions", body, signal, (choice) => choice.text);
  if (answer === null) return false;
  text.soFar += prompt + answer;
  return true;
}

/** Show an answer until it ends, however it ends; null if nothing of it came. Throws only before the first piece. */
async function follow(turn, path, body, signal, pieceOf) {
  let answer = "";
  try {
    await request(path, body, signal, ({ choices, usage }) => {
      const piece = choices[0] && pieceOf(choices[0]);
      if (piece) {
        answer += piece;
        turn.push(piece);
      }
      if (choices[0]?.finish_reason) turn.tally.why = REASONS[choices[0].finish_reason] ?? choices[0].finish_reason;
      if (usage) turn.tally.tokens = usage.completion_tokens;
    });
    if (!answer) turn.tally.why ||= "an empty answer";
  } catch (error) {
    if (error.name === "AbortError") turn.tally.why = "stopped";
    if (!answer) turn.remove();
    if (error.name !== "AbortError") {
      if (!answer) throw error;
      turn.tally.why = "broken off";
      show("error", describe(error));
    }
    if (!answer) return null;
  } finally {
    turn.end();
  }
  $("said").textContent = `Answer: ${turn.tally}`;
  return answer;
}

const NO_TEMPLATE = "This model has no chat template, so your text is continued instead of answered.";

function send() {
  const isText = mode() === "text";
  if (running || (!input.value.trim() && !(isText && text.soFar))) return;
  running = new AbortController();
  ended = answer(isText, input.value, running.signal);
}

async function answer(isText, prompt, signal) {
  show("error");
  show("notice");
  $("said").textContent = "Answering";
  input.value = "";
  fit();
  showButton();
  let came = false;
  try {
    const coming = isText ? carryOn(prompt, signal) : converse(prompt, signal);
    showWelcome();
    came = await coming.catch((error) => {
      if (isText || error.status !== 400 || !/no chat template/.test(error.message)) throw error;
      setMode("text");
      show("notice", NO_TEMPLATE);
      return carryOn(prompt, signal);
    });
  } catch (error) {
    show("error", describe(error));
    if (error.status === 401) askForKey();
  }
  // Nothing came: what was typed is given back, unless something new stands there.
  if (!came) input.value ||= prompt;
  running = null;
  fit();
  showWelcome();
  showButton();
}

/** fetch() reports every network trouble as a TypeError, in the browser's own words. */
function describe(error) {
  return error instanceof TypeError ? `The server cannot be reached (${error.message}).` : error.message;
}

function stop() {
  running?.abort();
}

async function fresh() {
  stop();
  await ended;
  if (mode() === "text") text.soFar = "";
  else chat.messages = [];
  (mode() === "text" ? text : chat).log.replaceChildren();
  show("error");
  show("notice");
  showWelcome();
  input.focus();
}

/** The input grows with its text; CSS sets the limit. */
function fit() {
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight}px`;
}

// ---- events
// ---------------------------------------------------------------------------------------------------

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) stop();
  else send();
});
input.addEventListener("input", fit);
input.addEventListener("keydown", (event) => {
  // While an input method composes, Enter takes its suggestion.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing) return;
  if (running) stop();
  else if ($("panel").open) {
    $("panel").open = false;
    $("panel").firstElementChild.focus();
  }
});
document.addEventListener("click", (event) => {
  if (!$("panel").contains(event.target)) $("panel").open = false;
});
for (const example of document.querySelectorAll(".example")) {
  example.addEventListener("click", () => {
    input.value = example.textContent;
    fit();
    input.focus();
  });
}
for (const radio of document.getElementsByName("mode")) {
  radio.addEventListener("change", () => {
    stop();
    showMode();
    saveSettings();
  });
}
$("fresh").addEventListener("click", fresh);
$("model").addEventListener("change", () => {
  showModel();
  saveSettings();
});
settings.addEventListener("input", saveSettings);
settings.addEventListener("submit", (event) => event.preventDefault());
// Saved before anything else happens: a page that is loaded again at once finds them empty.
settings.querySelector("[type=reset]").addEventListener("click", (event) => {
  event.preventDefault();
  settings.reset();
  saveSettings();
  saveKey();
});
$("key").addEventListener("change", () => {
  saveKey();
  loadModels($("model").value);
});

loadKey();
loadModels(loadSettings().model);
