// @ts-check
/* Who votes in this browser: a number of its own, which says nothing else. */

export const voter = (() => {
  const STORED = "dpo-voter";
  const fresh = crypto.getRandomValues(new Uint32Array(2)).join("-");
  try {
    const known = localStorage.getItem(STORED);
    if (known) return known;
    localStorage.setItem(STORED, fresh);
  } catch {
    // storage may be off
  }
  return fresh;
})();
