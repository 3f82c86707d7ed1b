// @ts-check
/**
 * Of ascending places the nearest to one: its index, how far away it is, and how far its neighbours are apart.
 * @param {number[]} places
 * @param {number} at
 */
export function nearest(places, at) {
  let low = 0;
  let high = places.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (places[middle] < at) low = middle + 1;
    else high = middle;
  }
  const index = low > 0 && at - places[low - 1] < Math.abs(places[low] - at) ? low - 1 : low;
  const right = Math.max(low, 1);
  const gap = places.length > 1 ? places[right] - places[right - 1] : 0;
  return { index, away: Math.abs(places[index] - at), gap: gap || Infinity };
}
