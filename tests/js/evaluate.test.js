import assert from "node:assert/strict";
import { test } from "node:test";

import { filters, select, strip } from "../../assets/js/evaluate/rows.js";
import { linkOf, readLink } from "../../assets/js/evaluate/state.js";

const JUDGES = [
  { name: "e", label: "Endpoint", kind: "endpoint", orders: 2 },
  { name: "r", label: "Reward", kind: "reward", orders: 1 },
  { name: "longer", label: "Rule: longer wins", kind: "rule", orders: 1 },
  { name: "votes", label: "People", kind: "people", orders: 1 },
];
const by = { judge: 0, judges: JUDGES };
const unit = (strips, worths, longer) => ({ strips, worths, longer });
const row = (at, prompt, slice, ...units) => ({ at, prompt, answers: [`answer ${at}`, null], slices: [slice], units });
const ROWS = [
  row(0, "Tea?", "short", unit(["aa", "a", "a", "a"], [1, 1, 1, 1], 5), unit(["aa", "a", "b", ""], [1, 1, 0, null], 2)),
  row(
    1,
    "Milk?",
    "short",
    unit(["bb", "a", "a", ""], [0, 1, 1, null], 40),
    unit(["bb", "b", "b", ""], [0, 0, 0, null], -3),
  ),
  row(
    2,
    "Sun?",
    "long",
    unit(["ab", "b", "a", "b"], [0.5, 0, 1, 0], -60),
    unit(["bb", "a", "a", ""], [0, 1, 1, null], 1),
  ),
  row(
    3,
    "Rain?",
    "long",
    unit(["", "", "", ""], [null, null, null, null], null),
    unit(["-", "", "", ""], [null, null, null, null], null),
  ),
];
const places = (wanted) => select(ROWS, by, { filter: "all", slice: "", text: "", ...wanted }).map(({ at }) => at);

test("what was lost comes first, and what nobody judged last", () => {
  assert.deepEqual(places({}), [1, 2, 0, 3]);
  assert.deepEqual(places({ slice: "long" }), [2, 3]);
  assert.deepEqual(places({ text: "milk" }), [1]);
  assert.deepEqual(places({ text: "Answer 2" }), [2]); // answers are searched, too
  assert.deepEqual(places({ text: "nowhere" }), []);
});
test("each filter lists what its chip counts", () => {
  const counted = Object.fromEntries(filters(ROWS, by).map(({ key, count }) => [key, count]));
  assert.deepEqual(counted, {
    all: 4, lost: 2, "lost-all": 1, won: 1, flipped: 1, disagree: 2, people: 0, longest: 3,
  }); // prettier-ignore
  for (const [filter, count] of Object.entries(counted)) assert.equal(places({ filter }).length, count, filter);
  assert.deepEqual(places({ filter: "disagree" }), [1, 2]);
  assert.deepEqual(places({ filter: "longest" }), [2, 1, 0]); // the longest change first
});
test("what cannot be told of these judges has no chip", () => {
  const keys = (judge, judges) => filters(ROWS, { judge, judges }).map(({ key }) => key);
  assert.ok(!keys(1, JUDGES).includes("flipped")); // a reward has no order
  assert.ok(!keys(0, JUDGES.slice(0, 1)).includes("disagree"));
  const alone = ROWS.map(({ units, ...rest }) => ({ ...rest, units: units.slice(0, 1) }));
  assert.deepEqual(
    filters(alone, by)
      .map(({ label }) => label)
      .slice(0, 3),
    ["Regressions first", "Lost", "Won"],
  );
});
test("a strip has the judge's orders, then the others that are no rules", () => {
  assert.deepEqual(
    strip(ROWS[2].units[0], by).map(({ says, letter, first }) => [says, letter, first]),
    [["order 1", "a", true], ["order 2", "b", false], ["Reward", "b", true], ["People", "b", true]],
  ); // prettier-ignore
  assert.deepEqual(
    strip(ROWS[3].units[1], by).map(({ letter }) => letter),
    ["-", "", "", ""],
  );
});
test("the address says all that differs from a fresh page, and is read back", () => {
  const asked = {
    ...readLink(""),
    evaluation: "runs/a/evaluations/b",
    judge: "",
    filter: "lost",
    slice: "a b",
    page: 3,
    open: 0,
  };
  assert.deepEqual(readLink(new URL(linkOf(asked), "http://h").search), asked);
  assert.equal(linkOf(readLink("")), "/evaluate");
  assert.deepEqual([readLink("?page=-1").page, readLink("?open=x").open], [1, null]);
});
