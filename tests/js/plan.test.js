import assert from "node:assert/strict";
import { test } from "node:test";

import { dimension, planText, values } from "../../assets/js/sweep/plan.js";

test("values are parted at commas, but not within brackets and quotes", () => {
  assert.deepEqual(values("0.1, 0.3,"), ["0.1", "0.3"]);
  assert.deepEqual(values("[sigmoid], [sigmoid, sft]"), ["[sigmoid]", "[sigmoid, sft]"]);
  assert.deepEqual(values('"a, b", c'), ['"a, b"', "c"]);
});
test("a range has ends, steps or a logarithm; anything else is a list", () => {
  assert.equal(dimension("1e-5 to 1e-3 log"), "{low: 1e-5, high: 1e-3, log: true}");
  assert.equal(dimension(" 0 to 0.2 by 0.05"), "{low: 0, high: 0.2, step: 0.05}");
  assert.equal(dimension("demo/gpt2, demo/t5"), '["demo/gpt2", "demo/t5"]');
  assert.equal(dimension("[sigmoid], true"), "[[sigmoid], true]");
  assert.equal(dimension("1 to"), '["1 to"]');
});
test("a form is the text that dpo sweep reads, and text cannot leave its line", () => {
  const form = {
    name: "x: y\nz",
    method: "grid",
    trials: "12",
    measure: "accuracy",
    pruning: "none",
    seed: "",
    search: [
      { name: "beta", value: "0.1, 0.3" },
      { name: " ", value: "1" },
    ],
    settings: [{ name: "model", value: "demo/gpt2" }],
  };
  assert.equal(
    planText(form),
    [
      'name: "x: y\\nz"',
      "method: grid",
      "measure: accuracy",
      "pruning: none",
      "seed: 0",
      "settings:",
      '  model: "demo/gpt2"',
      "search:",
      "  beta: [0.1, 0.3]",
      "",
    ].join("\n"),
  );
  assert.match(planText({ ...form, method: "tpe" }), /^trials: 12$/m);
});
