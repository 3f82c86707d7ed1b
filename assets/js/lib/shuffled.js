// @ts-check
/**
 * A list in an order that nobody can foresee.
 * @template T
 * @param {T[]} list
 * @returns {T[]}
 */
export function shuffled(list) {
  const random = crypto.getRandomValues(new Uint32Array(list.length));
  return list
    .map((item, i) => /** @type {[number, T]} */ ([random[i], item]))
    .sort((a, b) => a[0] - b[0])
    .map(([, item]) => item);
}
