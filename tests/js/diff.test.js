import assert from "node:assert/strict";
import { test } from "node:test";

import { rememberedWords, words } from "../../assets/js/lib/diff.js";

const own = (list) => list.filter(([, only]) => only).map(([word]) => word.trim());
const textOf = (list) => list.map(([word]) => word).join("");

test("each side has its words with their blanks, and knows which are its own", () => {
  const [left, right] = words("The cat  sat.\n\nIt purred.", "The dog sat. It purred loudly.");
  assert.equal(textOf(left), "The cat  sat.\n\nIt purred.");
  assert.equal(textOf(right), "The dog sat. It purred loudly.");
  assert.deepEqual(own(left), ["cat", "purred."]);
  assert.deepEqual(own(right), ["dog", "purred", "loudly."]);
});
test("empty texts, equal texts, other texts", () => {
  assert.deepEqual(words("", ""), [[], []]);
  assert.deepEqual(own(words("", "a b")[1]), ["a", "b"]);
  assert.deepEqual(words("a b", "a b").flatMap(own), []);
  assert.deepEqual(words("a b", "c d").map(own), [
    ["a", "b"],
    ["c", "d"],
  ]);
});
/** The length of the longest common subsequence, by its definition. */
function shared(a, b) {
  let row = Array(b.length + 1).fill(0);
  for (const word of a) {
    const next = [0];
    b.forEach((other, j) => next.push(word === other ? row[j] + 1 : Math.max(row[j + 1], next[j])));
    row = next;
  }
  return row[b.length];
}
test("as many words are shared as can be", () => {
  let seed = 1;
  const random = (below) => {
    seed = (seed * 48271) % 2147483647;
    return seed % below;
  };
  const text = () => Array.from({ length: random(40) }, () => "abcde"[random(5)]);
  for (let trial = 0; trial < 300; trial += 1) {
    const [a, b] = [text(), text()];
    const found = words(a.join(" "), b.join(" "));
    assert.deepEqual(
      found.map((side) => side.length - own(side).length),
      [shared(a, b), shared(a, b)],
      `${a} | ${b}`,
    );
  }
});
test("long texts that hardly differ are no quadratic work", () => {
  const long = Array.from({ length: 50_000 }, (_, i) => `word${i}`);
  const other = long.with(25_000, "another");
  assert.deepEqual(words(long.join(" "), other.join(" ")).map(own), [["word25000"], ["another"]]);
});
test("nothing is worked out again while the texts of a place stay", () => {
  const find = rememberedWords();
  const first = find(0, "a b", "a c");
  assert.equal(find(0, "a b", "a c"), first);
  assert.notEqual(find(1, "a b", "a c"), first);
  assert.notEqual(find(0, "a b", "a d"), first);
});
