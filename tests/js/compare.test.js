import assert from "node:assert/strict";
import { test } from "node:test";

import { agreement } from "../../assets/js/compare/ask.js";
import { command, json, python, text } from "../../assets/js/compare/export.js";
import { queryOf, readLink } from "../../assets/js/compare/link.js";
import { recordOf, revived, summaryOf, timeOf } from "../../assets/js/compare/record.js";
import { state } from "../../assets/js/compare/state.js";

const REQUEST = { prompt: "Tea?", temperature: 0.7, top_p: 0.9, top_k: 50, max_new_tokens: 64, seed: 7 };
const STANDARD = ["demo/t5", "demo/t5-dpo", "demo/gpt2", "demo/gpt2-dpo", null, null];
const FIELDS = ["temperature", "top_p", "top_k", "max_new_tokens", "seed"];
state.fields = FIELDS;
const VIEW = {
  fields: FIELDS,
  picked: STANDARD,
  samples: 1,
  noise: true,
  strength: { seq2seq: 1, causal: 1 },
  mode: "Text",
};
const generation = (changes = {}) => ({
  ...{ first: "Tea?", request: REQUEST, same_noise: true, turns: [], panes: [0, 1], lambdas: [1, 1] },
  policies: ["demo/t5", "demo/t5-dpo"],
  samples: [[{ text: "Yes.", tokens: 2, seed: 7 }], [{ text: "Please!", tokens: 2, seed: 7 }]],
  ...changes,
});

test("a link says all that differs from a page that was just opened, and is read back", () => {
  const plain = queryOf(REQUEST, VIEW);
  assert.deepEqual([...plain.keys()], ["prompt", "temperature", "top_p", "top_k", "max_new_tokens", "seed"]);
  const picked = ["runs/a & b", null, "demo/gpt2", null, null, "x|y"];
  const view = {
    fields: FIELDS,
    picked,
    samples: 3,
    noise: false,
    strength: { seq2seq: 1, causal: 0.5 },
    mode: "Word diff",
  };
  assert.deepEqual(readLink(`?${queryOf(REQUEST, view)}&answers=1-2`, FIELDS), {
    answers: "1-2",
    prompt: "Tea?",
    numbers: [0.7, 0.9, 50, 64, 7],
    picked,
    samples: 3,
    noise: false,
    strength: [["causal", 0.5]],
    mode: "Word diff",
  });
});
test("an address that asks for nothing changes nothing", () => {
  assert.equal(readLink("", FIELDS), null);
  assert.equal(readLink("?utm=1&show=Text", FIELDS), null);
});
test("what a link does not name is left as it is; what is no number too", () => {
  const link = readLink("?prompt=Hi&seed=x&show=Nonsense", FIELDS);
  assert.deepEqual(link.numbers, [null, null, null, null, null]);
  assert.deepEqual([link.picked, link.samples, link.noise, link.strength, link.mode], [[], null, null, [], null]);
});
test("links of earlier versions name pairs and families by other names", () => {
  const link = readLink("?gpt2=a|b&lambda_gpt2=0.25", FIELDS);
  assert.deepEqual(link.picked, [undefined, undefined, "a", "b"]);
  assert.deepEqual(link.strength, [["causal", 0.25]]);
  assert.deepEqual(readLink("?arm=a&arm=", FIELDS).picked, ["a", null, null, null, null, null]);
});
test("the share of equal tokens belongs to the row of two answers, whatever their order", () => {
  const run = generation();
  agreement(
    run,
    [3, 0, 1, 2],
    [
      { arms: [2, 1], share: 0.5 },
      { arms: [0, 3], share: 0.25 },
      { arms: [1, 3], share: 0.9 }, // of two rows
    ],
  );
  assert.deepEqual(run.same, { 0: 0.5, 1: 0.25 });
  const none = generation();
  agreement(none, [0, 1]);
  assert.equal(none.same, undefined);
});
test("a command asks the same; panes with another seed or λ have their own", () => {
  const asked = "--temperature 0.7 --top-p 0.9 --top-k 50 --max-new-tokens 64 --seed 7";
  assert.equal(command(generation()), `dpo compare --prompt 'Tea?' --policies demo/t5 demo/t5-dpo ${asked}`);
  const again = generation({ lambdas: [1, 0.5], same_noise: false, first: "It's?" });
  again.samples[1][0] = { text: "", tokens: 0, seed: 9 };
  assert.deepEqual(command(again).split("\n"), [
    `dpo compare --prompt 'It'\\''s?' --policies demo/t5 ${asked} --no-same-noise`,
    `dpo compare --prompt 'It'\\''s?' --policies demo/t5-dpo ${asked.replace("seed 7", "seed 9")}` +
      " --no-same-noise --lambda 0.5",
  ]);
});
test("Python is short where it can be, and asks the engine where λ or turns need it", () => {
  state.known = {};
  assert.match(python(generation()), /dpo\.load_policy\(name\)/);
  assert.doesNotMatch(python(generation()), /engine/i);
  const turned = python(generation({ lambdas: [1, 0.5] }));
  assert.match(turned, /\{"policy": "demo\/t5-dpo", "lambda": 0\.5\}/);
  const going = generation({ turns: [[["Hi", "Ho"]], [["Hi", "He"]]] });
  assert.match(python(going), /"turns": \[\["Hi","Ho"\]\]/);
});
test("text and JSON have every answer with its policy and seed", () => {
  const run = generation({ turns: [[["Hi", "Ho"]]], first: "Hi" });
  const name = (pane) => ["T5", "T5 DPO"][pane];
  assert.equal(
    text(run, name),
    "Hi\n\nT5 (demo/t5, seed 7)\n> Hi\nHo\n> Tea?\nYes.\n\nT5 DPO (demo/t5-dpo, seed 7)\nPlease!",
  );
  const { answers, prompt } = JSON.parse(json(run));
  assert.equal(prompt, "Tea?");
  assert.deepEqual(
    answers.map((answer) => [answer.policy, answer.seed, answer.text]),
    [
      ["demo/t5", 7, "Yes."],
      ["demo/t5-dpo", 7, "Please!"],
    ],
  );
});

test("a setting acts in an address also where it stands alone", () => {
  assert.equal(readLink("?noise=own", FIELDS).noise, false);
  assert.equal(readLink("?samples=3", FIELDS).samples, 3);
  assert.equal(readLink("?show=Word+diff", FIELDS).mode, "Word diff");
  assert.deepEqual(readLink("?lambda_causal=0.5", FIELDS).strength, [["causal", 0.5]]);
  assert.deepEqual(readLink("?lambda_gpt2=0.5", FIELDS).strength, [["causal", 0.5]]);
  assert.deepEqual(readLink("?noise=own", FIELDS).picked, []);
  assert.equal(readLink("?utm=1", FIELDS), null);
});

test("a comparison comes back from the history as it was, live parts aside", () => {
  const run = {
    ...generation({ id: "7-1", key: "1-2", shown: [0, 0], count: 1, seen: {}, strength: { causal: 1.5 } }),
    ...{ lambdas: [1, 1.5], turns: [[], [["Hi", "Hello"]]], stream: { seconds: "0.3", controller: {} } },
  };
  run.samples[1] = [{ ...run.samples[1][0], live: true, look: { reward: 1, tokens: [] }, end: "eos" }];
  const back = revived(JSON.parse(JSON.stringify({ ...recordOf(run), created: "2026-11-28T07:12:00Z" })));
  assert.deepEqual(back.samples[1], [
    { text: "Please!", tokens: 2, seed: 7, look: { reward: 1, tokens: [] }, end: "eos" },
  ]);
  assert.deepEqual(back.samples[5], []);
  assert.equal(back.policies[5], undefined);
  assert.deepEqual([back.id, back.key, back.first, back.stream.over], ["7-1", "1-2", "Tea?", true]);
  assert.deepEqual(back.turns[1], [["Hi", "Hello"]]);
  assert.equal(command(back), command(run));
  run.samples[1][0].look.tokens = Array.from({ length: 14000 }, () => ({ text: "a long answer, token by token" }));
  assert.equal(recordOf(run).samples[1][0].look, undefined);
  assert.equal(summaryOf(run), "turn 2: Tea? · demo/t5, demo/t5-dpo · λ 1.5 · seed 7 · temperature 0.7 · 64 tokens");
});

test("a time is the hour today and the day before", () => {
  const now = new Date(2026, 10, 28, 12, 0);
  assert.equal(timeOf(new Date(2026, 10, 28, 7, 5).toISOString(), now), "07:05");
  assert.equal(timeOf(new Date(2026, 10, 27, 23, 5).toISOString(), now), "27 Nov, 23:05");
});
