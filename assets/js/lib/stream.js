// @ts-check
/* Server-sent events over POST: one reader for every page that follows work on the server. */
import { aborted, json, request } from "./http.js";

/** @typedef {Record<string, (data: any) => void>} Handlers what to do with an event's data, by its name */

/**
 * A reader of the text of a stream, in whatever pieces it comes: returns the events that a piece completes.
 * @returns {(piece: string) => { event: string, data: any }[]}
 */
export function eventParser() {
  let buffer = "";
  return (piece) => {
    buffer += piece;
    const found = [];
    for (let end; (end = buffer.indexOf("\n\n")) >= 0; buffer = buffer.slice(end + 2)) {
      /** @type {Record<string, string>} */
      const fields = {};
      for (const line of buffer.slice(0, end).split("\n")) {
        const colon = line.indexOf(": ");
        if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
      }
      if (fields.event) found.push({ event: fields.event, data: JSON.parse(fields.data) });
    }
    return found;
  };
}
/**
 * The browser's own words for it are "network error".
 * @param {unknown} error
 * @returns {never}
 */
function broken(error) {
  if (aborted(error)) throw error;
  throw new Error("The connection to the server broke off; what had come so far stays.");
}
/**
 * Ask, and call the handler of each event; rejects with the server's own words if it refuses.
 * @param {string} url
 * @param {unknown} body
 * @param {Handlers} handlers
 * @param {AbortSignal} [signal]
 */
export async function stream(url, body, handlers, signal) {
  const response = await request(url, { ...json(body), signal });
  const decoder = /** @type {ReadableWritablePair<string, Uint8Array<ArrayBuffer>>} */ (new TextDecoderStream());
  const reader = /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (response.body)
    .pipeThrough(decoder)
    .getReader();
  const parse = eventParser();
  for (;;) {
    const { done, value } = await reader.read().catch(broken);
    if (done) return;
    for (const { event, data } of parse(value)) handlers[event]?.(data);
  }
}
