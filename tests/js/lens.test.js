import assert from "node:assert/strict";
import { test } from "node:test";

import { readLink } from "../../assets/js/lens/link.js";

test("a link names a pair, or texts of one's own", () => {
  const pair = readLink(
    "?policy=p&prompt=Q&chosen=good&rejected=bad&messages=" + encodeURIComponent('[{"role":"user"}]'),
  );
  assert.deepEqual(pair.pair, { prompt: "Q", messages: [{ role: "user" }], chosen: "good", rejected: "bad" });
  assert.equal(pair.texts, null);
  const own = readLink("?prompt=Q&a=one&unit=word&clamp=1.2&beside=other");
  assert.deepEqual(own.texts, { prompt: "Q", a: "one", b: "" });
  assert.deepEqual([own.unit, own.clamp, own.beside, own.policy, own.pair], ["word", 1.2, "other", null, null]);
});
test("what makes no sense is as if it were not there", () => {
  const link = readLink("?unit=letter&clamp=99&prompt=Q&chosen=only&messages=%7B");
  assert.deepEqual([link.unit, link.clamp, link.pair, link.texts], ["token", 0.8, null, null]);
  assert.equal(readLink("?prompt=Q&chosen=a&rejected=b&messages=%7B").pair.messages, null);
});
