import assert from "node:assert/strict";
import { test } from "node:test";

import { nearest } from "../../assets/js/training/nearest.js";

test("the nearest of ascending places, as a search of all finds it", () => {
  const places = [0, 1, 2, 5, 8, 8.5, 20];
  for (let at = -2; at <= 25; at += 0.37) {
    const away = Math.min(...places.map((place) => Math.abs(place - at)));
    const found = nearest(places, at);
    assert.equal(found.away, away);
    assert.equal(Math.abs(places[found.index] - at), away);
    assert.ok(found.gap > 0);
  }
});
test("a single place has no neighbour, and one that is there twice no gap", () => {
  assert.deepEqual(nearest([3], 4), { index: 0, away: 1, gap: Infinity });
  assert.equal(nearest([3, 3], 3).gap, Infinity);
});
