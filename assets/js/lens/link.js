// @ts-check
/* Lens: what an address asks for. */

/** @param {string} text */
function turns(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
/**
 * Read an address.
 * @param {string} search
 */
export function readLink(search) {
  const query = new URLSearchParams(search);
  /** @param {string} name */
  const text = (name) => query.get(name) || "";
  const [prompt, chosen, rejected, a] = ["prompt", "chosen", "rejected", "a"].map(text);
  const clamp = parseFloat(text("clamp"));
  return {
    policy: text("policy") || null,
    reference: text("reference") || null,
    beside: text("beside") || null,
    unit: ["word", "sentence"].find((unit) => unit === text("unit")) || "token",
    clamp: clamp >= 0.1 && clamp <= 3 ? clamp : 0.8,
    /* A pair, or texts of one's own. */
    pair: prompt && chosen && rejected ? { prompt, messages: turns(text("messages")), chosen, rejected } : null,
    texts: prompt && a ? { prompt, a, b: text("b") } : null,
  };
}
