// Streams from Sterna that survive the server: what one server began, another one of the same
// model goes on with, and the caller sees one stream. Node 18 or later, Deno, Bun and browsers;
// nothing else.
//
//     import { stream } from "./resume.mjs";
//
//     const servers = ["http://10.0.0.1:8080", "http://10.0.0.2:8080"];
//     const body = { messages: [{ role: "user", content: "Tell me a story." }], stream: true };
//     for await (const event of stream(servers, "/v1/chat/completions", body)) {
//       const chunk = event.json();
//       if (chunk) process.stdout.write(chunk.choices[0].delta.content ?? "");
//     }
//
// One address is enough where it leads to several servers. docs/resume.md has the protocol.

// Statuses that another server, or the same one later, may not have.
const AGAIN = [408, 429, 500, 502, 503, 504];
// Characters of ids that are sent back; beyond them the last one alone, which is enough.
const MOST_IDS = 1 << 20;
const LAST = ["message_stop", "response.completed", "response.incomplete"];

/** No server answers, or one refuses the request: then `status` and `body` are its answer. */
export class Failed extends Error {
  constructor(message, status, body) {
    super(message);
    this.status = status;
    this.body = body;
  }
}

/** An event of a stream: `name` (undefined where it has none), `data` as text, `id`. */
class Event {
  constructor(name, data, id) {
    Object.assign(this, { name, data, id });
  }

  /** The data as an object; null for `[DONE]`. */
  json() {
    return this.data === "[DONE]" ? null : JSON.parse(this.data);
  }

  /** True if the answer is whole with it. */
  get isLast() {
    return this.data === "[DONE]" || LAST.includes(this.name);
  }
}

class Busy extends Error {
  constructor(message, wait) {
    super(message);
    this.wait = wait;
  }
}

/**
 * The events of a request that streams, each once and in order, wherever they come from.
 *
 * After `attempts` failures in a row without a new event it gives up. A server that says nothing
 * for `silence` milliseconds, not even a comment, counts as failed. `signal` ends it.
 */
export async function* stream(servers, path, body, options = {}) {
  const { headers = {}, attempts = 8, silence = 60000, signal } = options;
  const all = [servers].flat();
  let ids = [];
  let failures = 0;
  for (let at = 0; ; at += 1) {
    let reason = "the stream was cut";
    let wait;
    failures += 1;
    const server = all[at % all.length];
    try {
      for await (const event of open(server, path, body, headers, ids, silence, signal)) {
        const { error, token } = fault(event);
        if (error && token) {
          // It names the tokens of all events before it.
          ids = [token];
          break;
        }
        if (error) {
          yield event;
          return;
        }
        // Without an id it is no part of the answer: a sign of life.
        if (event.id) {
          ids.push(event.id);
          failures = 1;
          yield event;
        }
        if (event.isLast) return;
      }
    } catch (problem) {
      if (problem instanceof Failed) throw problem;
      reason = `${problem}`;
      wait = problem.wait;
    }
    signal?.throwIfAborted();
    if (failures >= attempts) {
      throw new Failed(`${reason}; no server went on after ${attempts} attempts`);
    }
    // At once elsewhere; a server that was asked before gets time.
    wait ??= failures < all.length ? 0 : Math.min(250 * 2 ** failures, 5000);
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

async function* open(server, path, body, headers, ids, silence, signal) {
  const abort = new AbortController();
  const end = () => abort.abort(signal.reason);
  signal?.addEventListener("abort", end);
  let timer;
  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(() => abort.abort(new Error(`nothing for ${silence} ms`)), silence);
  };
  try {
    signal?.throwIfAborted();
    alive();
    const length = ids.reduce((sum, id) => sum + id.length, 0);
    const resume = ids.length ? { resume: length <= MOST_IDS ? ids : ids.slice(-1) } : {};
    const response = await fetch(server.replace(/\/+$/, "") + path, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "text/event-stream", ...headers },
      body: JSON.stringify({ ...body, ...resume }),
      signal: abort.signal,
    });
    if (response.status !== 200) {
      const text = await response.text();
      if (AGAIN.includes(response.status)) {
        const seconds = Number.parseFloat(response.headers.get("retry-after") ?? "");
        const wait = Number.isNaN(seconds) ? undefined : 1000 * Math.min(seconds, 30);
        throw new Busy(`status ${response.status}: ${text}`, wait);
      }
      throw new Failed(`${server} answers ${response.status}: ${text}`, response.status, text);
    }
    yield* parse(response.body, alive);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", end);
    abort.abort();
  }
}

async function* parse(bytes, alive) {
  const decoder = new TextDecoder();
  const reader = bytes.getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    alive();
    text += decoder.decode(value, { stream: true });
    for (;;) {
      const end = text.indexOf("\n\n");
      if (end < 0) break;
      const event = read(text.slice(0, end));
      text = text.slice(end + 2);
      if (event) yield event;
    }
  }
}

function read(lines) {
  const fields = { data: [] };
  for (const line of lines.split("\n")) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
    if (name === "data") fields.data.push(value);
    else if (name === "event" || name === "id") fields[name] = value;
  }
  if (!fields.data.length) return undefined;
  return new Event(fields.event, fields.data.join("\n"), fields.id);
}

/** The error that an event tells, and the token with which the stream goes on elsewhere. */
function fault(event) {
  if (event.data === "[DONE]" || !event.data.includes('"error"')) return {};
  const data = JSON.parse(event.data);
  const failed = event.name === "response.failed" ? data.response : data;
  const { error } = failed;
  if (!error) return {};
  const resume = failed === data && event.name !== "error" ? error.resume : failed.resume;
  // A request that is at fault fails elsewhere too.
  const isAtFault = error.type === "invalid_request_error" || error.code === "invalid_prompt";
  return { error, token: isAtFault ? undefined : resume?.token };
}
