import assert from "node:assert/strict";
import { test } from "node:test";

import { line, sentence, setPatterns } from "../../assets/js/compare/summary.js";

setPatterns({
  emoji: ["[\u{1f600}-\u{1f64f}]", "gu"],
  first_person: ["\\b(?:I|me|my)\\b", "gu"],
  speaks_of_ai: ["\\bAI\\b", "giu"],
});
const FORMAL = "As an AI this program has no taste.";
const CASUAL = "I love tea! My gran taught me, and I still make my own each day 😀";

test("what differs is counted, and equal answers say nothing", () => {
  assert.deepEqual(line(FORMAL, CASUAL), [
    "8 words longer",
    "no longer speaks of being an AI",
    "1 emoji more",
    "4 more first-person words",
  ]);
  assert.deepEqual(line(CASUAL, CASUAL), []);
  assert.deepEqual(line("I like AI 😀", ""), ["4 words shorter", "no longer speaks of being an AI", "1 emoji fewer"]);
});
test("the sentence says what all models have in common, else what each has, else that nothing counted changes", () => {
  const row = (name, base, tuned) => ({ name, base, tuned });
  assert.equal(
    sentence([row("T5", FORMAL, CASUAL), row("GPT-2", FORMAL, "As for me, tea! 😀 And I drink my fill")]),
    "Same question, same noise: after DPO both models stop speaking of being an AI, add emoji and say “I” more often.",
  );
  assert.equal(
    sentence([
      row("T5", FORMAL, "Tea. 😀 It has no AI, no bits"),
      row("GPT-2", FORMAL, "Tea with no program in it at all."),
    ]),
    "Same question, same noise: after DPO T5 adds emoji; GPT-2 stops speaking of being an AI.",
  );
  assert.match(
    sentence([row("T5", "a b", "b c")]),
    /T5 choose other words, and nothing that is counted here changes[.]$/,
  );
});
