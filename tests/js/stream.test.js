import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { Unreachable } from "../../assets/js/lib/http.js";
import { eventParser, stream } from "../../assets/js/lib/stream.js";

const TEXT = 'event: token\ndata: {"text": "Grüße: \\n\\n 🍵"}\n\n: a comment\n\nevent: done\ndata: {"end": "eos"}\n\n';
const EVENTS = [
  { event: "token", data: { text: "Grüße: \n\n 🍵" } },
  { event: "done", data: { end: "eos" } },
];

test("events are the same however the text is cut into pieces", () => {
  for (let size = 1; size <= TEXT.length; size += 1) {
    const parse = eventParser();
    const found = [];
    for (let at = 0; at < TEXT.length; at += size) found.push(...parse(TEXT.slice(at, at + size)));
    assert.deepEqual(found, EVENTS, `pieces of ${size}`);
  }
});
test("an event that is not complete is not told", () => {
  const parse = eventParser();
  assert.deepEqual(parse('event: token\ndata: {"text": "a"}\n'), []);
  assert.deepEqual(parse("\n"), [{ event: "token", data: { text: "a" } }]);
});

/** Serve one answer; `ask(url)` is called with its address. */
async function served(answer, ask) {
  const server = createServer(answer).listen(0, "127.0.0.1");
  await new Promise((done) => server.once("listening", done));
  try {
    return await ask(`http://127.0.0.1:${server.address().port}/`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}
test("handlers are called in order, characters of several bytes whole, unknown events passed over", async () => {
  const bytes = new TextEncoder().encode(`event: unknown\ndata: 1\n\n${TEXT}`);
  const heard = [];
  const handlers = { token: (data) => heard.push(data.text), done: (data) => heard.push(data.end) };
  await served(
    (_request, response) => {
      for (const byte of bytes) response.write(Uint8Array.of(byte));
      response.end();
    },
    (url) => stream(url, { prompt: "Tea?" }, handlers),
  );
  assert.deepEqual(heard, ["Grüße: \n\n 🍵", "eos"]);
});
test("a refusal has the server's words, silence has ours, and what we give up is told as such", async () => {
  const refuse = (_request, response) => response.writeHead(403).end('{"error": "start it with --allow-training"}');
  await served(refuse, (url) => assert.rejects(stream(url, {}, {}), { message: "start it with --allow-training" }));
  const broken = (_request, response) => response.writeHead(500).end("<html>");
  await served(broken, (url) => assert.rejects(stream(url, {}, {}), { message: "The server answered 500." }));
  const gone = await served(refuse, (url) => url);
  await assert.rejects(stream(gone, {}, {}), Unreachable);
  const signal = AbortSignal.abort();
  await served(refuse, (url) => assert.rejects(stream(url, {}, {}, signal), { name: "AbortError" }));
});
