import assert from "node:assert/strict";
import { test } from "node:test";

import {
  compact,
  counted,
  csvCell,
  duration,
  percent,
  plain,
  quote,
  repetition,
  signed,
  visible,
} from "../../assets/js/lib/format.js";

test("numbers have their sign, and a true minus", () => {
  assert.equal(signed(0.125), "+0.13");
  assert.equal(signed(-0.1, 3), "−0.100");
  assert.equal(signed(-0.0002, 3), "0.000");
  assert.equal(plain(-2), "−2.00");
  assert.equal(plain(2, 1), "2.0");
  assert.equal(percent(0.123, 1), "12.3%");
});
test("small numbers are written by their power of ten", () => {
  assert.equal(compact(5e-6, 4), "5e-6");
  assert.equal(compact(0.123456, 4), "0.1235");
  assert.equal(compact(0, 4), "0");
  assert.equal(compact(1.23456e-5, 4, 3), "1.23e-5");
  assert.equal(compact(1500, 4), "1500");
});
test("a time has the unit that suits it", () => {
  assert.deepEqual([89, 90, 5400].map(duration), ["89 s", "2 min", "1.5 h"]);
});
test("one of a thing is not many", () => {
  assert.deepEqual(
    [counted(1, "pair"), counted(0, "pair"), counted(2, "box", "boxes")],
    ["1 pair", "0 pairs", "2 boxes"],
  );
});
test("blanks can be seen", () => {
  assert.deepEqual([" a", "\n", "", "a\tb"].map(visible), ["␣a", "⏎", "␣", "a⇥b"]);
});
test("a shell reads back what was quoted", () => {
  assert.equal(quote("demo/gpt2-dpo"), "demo/gpt2-dpo");
  assert.equal(quote("it's $HOME"), "'it'\\''s $HOME'");
  assert.equal(quote(""), "''");
});
test("a spreadsheet runs nothing of a CSV file", () => {
  assert.deepEqual(["=1+1", "-x", "@a", "plain", 'say "hi", now', "a\nb"].map(csvCell), [
    "'=1+1",
    "'-x",
    "'@a",
    "plain",
    '"say ""hi"", now"',
    '"a\nb"',
  ]);
  assert.deepEqual([-1.5, null, undefined, 0].map(csvCell), ["-1.5", "", "", "0"]);
});
test("repetition counts groups of four words", () => {
  assert.equal(repetition("one two three"), 0);
  assert.equal(repetition("a b c d e f g"), 0);
  assert.equal(repetition("a b c d a b c d"), 1 - 4 / 5);
});
