import assert from "node:assert/strict";
import { test } from "node:test";

import { bin, leading, ratio } from "../../assets/js/lib/heat.js";

test("nine steps, symmetric, the strongest at four fifths of the clamp's scale", () => {
  const values = [-1, -0.8, -0.5, -0.25, -0.05, -0.04, 0, 0.049, 0.05, 0.25, 0.5, 0.8, 9];
  const steps = ["n4", "n4", "n3", "n2", "n1", "", "", "", "p1", "p2", "p3", "p4", "p4"];
  assert.deepEqual(
    values.map((value) => bin(value, 0.8)),
    steps,
  );
});
test("another clamp stretches the scale", () => {
  assert.equal(bin(0.8, 1.6), "p2");
  assert.equal(bin(1.6, 1.6), "p4");
  assert.equal(bin(-0.1, 0.1), "n4");
});
test("a ratio is the policy's over the reference's", () => {
  assert.equal(ratio({ text: "a", policy_logp: -1, reference_logp: -3 }), 2);
});
test("leading blanks are apart", () => {
  assert.deepEqual([" \nword on", "word", "  "].map(leading), [
    [" \n", "word on"],
    ["", "word"],
    ["  ", ""],
  ]);
});
