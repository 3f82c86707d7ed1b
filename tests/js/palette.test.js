// What a few letters find in the command palette.
import assert from "node:assert/strict";
import test from "node:test";
import { ranked, score } from "../../assets/js/palette/fuzzy.js";

const items = ["Compare", "Training", "Lens", "Data", "Runs", "t5-dpo-high-rate", "gpt2-dpo"].map((text) => ({
  text,
  kind: text.includes("-") ? "Run" : "Page",
}));
const found = (typed) => ranked(typed, items, 3).map(({ text }) => text);

test("letters in their order are found, whole words and starts of words first", () => {
  assert.equal(found("tr")[0], "Training");
  assert.equal(found("thr")[0], "t5-dpo-high-rate");
  assert.deepEqual(found("dpo gpt"), ["gpt2-dpo"]);
  assert.equal(found("RUNS")[0], "Runs");
  assert.deepEqual(found("xyz"), []);
});
test("without letters all stand in their order, with kinds found too", () => {
  assert.deepEqual(found("  "), ["Compare", "Training", "Lens"]);
  assert.ok(found("run").includes("gpt2-dpo"));
  assert.ok(score("lens", "Lens") > score("lens", "A lens of another name"));
});
