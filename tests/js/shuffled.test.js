import assert from "node:assert/strict";
import { test } from "node:test";

import { shuffled } from "../../assets/js/lib/shuffled.js";

test("the same things in another order, and the list itself as it was", () => {
  const list = Array.from({ length: 100 }, (_, i) => i);
  const found = shuffled(list);
  assert.deepEqual(
    found.toSorted((a, b) => a - b),
    list,
  );
  assert.notDeepEqual(found, list);
  assert.deepEqual(shuffled([]), []);
});
test("every order of three comes, none more than twice as often as another", () => {
  const counts = {};
  for (let i = 0; i < 6000; i += 1) {
    const order = shuffled(["a", "b", "c"]).join("");
    counts[order] = (counts[order] ?? 0) + 1;
  }
  assert.equal(Object.keys(counts).length, 6);
  assert.ok(Math.max(...Object.values(counts)) < 2 * Math.min(...Object.values(counts)), JSON.stringify(counts));
});
