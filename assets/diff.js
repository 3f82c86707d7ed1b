/* Words that one of two texts has and the other has not (longest common subsequence of words). */
(() => {
  "use strict";
  const split = (text) => text.match(/\s*\S+/g) || [];
  function lcs(a, b) {
    const width = b.length + 1;
    const table = new Uint16Array((a.length + 1) * width);
    for (let i = a.length - 1; i >= 0; i--)
      for (let j = b.length - 1; j >= 0; j--)
        table[i * width + j] = a[i] === b[j] ? table[(i + 1) * width + j + 1] + 1 : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
    const shared = [new Set(), new Set()];
    for (let i = 0, j = 0; i < a.length && j < b.length; ) {
      if (a[i] === b[j]) { shared[0].add(i++); shared[1].add(j++); }
      else if (table[(i + 1) * width + j] >= table[i * width + j + 1]) i++;
      else j++;
    }
    return shared;
  }
  /* Two lists of [word with its leading blank, whether only this side has it]. */
  function words(left, right) {
    const sides = [split(left), split(right)];
    const shared = lcs(sides[0].map((w) => w.trim()), sides[1].map((w) => w.trim()));
    return sides.map((list, side) => list.map((word, i) => [word, !shared[side].has(i)]));
  }
  window.dpo = Object.assign(window.dpo || {}, { diff: { words } });
})();
