// @ts-check
/* Requests to our own server. */

/** Nothing answered; what the server refuses is a plain Error with its words. */
export class Unreachable extends Error {
  constructor() {
    super("The server cannot be reached: is it still running?");
  }
}

/** Tells by an event `change` whether requests are answered; the frame shows when they are not (connection.js). */
export const server = new EventTarget();
let reached = true;
/** @param {boolean} now */
function heard(now) {
  if (now === reached) return;
  reached = now;
  server.dispatchEvent(new CustomEvent("change", { detail: { reached } }));
}
/**
 * The answer to a request.
 * @param {string} path
 * @param {RequestInit} [options]
 * @throws {Unreachable} where nothing answers
 */
export async function request(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    heard(false);
    throw new Unreachable();
  }
  heard(true);
  if (answer.ok) return answer;
  const refused = await answer.json().catch(() => ({}));
  throw new Error(refused.error || `The server answered ${answer.status}.`);
}
/**
 * The options of a POST of JSON.
 * @param {unknown} body
 * @returns {RequestInit}
 */
export const json = (body) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
});
/**
 * What an address gives, from JSON.
 * @param {string} path
 * @returns {Promise<any>}
 */
export const getJson = async (path) => (await request(path)).json();
/**
 * What is answered to a POST of JSON, from JSON.
 * @param {string} path
 * @param {unknown} body
 * @returns {Promise<any>}
 */
export const postJson = async (path, body) => (await request(path, json(body))).json();
/**
 * The words of an error.
 * @param {unknown} error
 */
export const messageOf = (error) => (error instanceof Error ? error.message : String(error));
/**
 * Whether a request was given up by us.
 * @param {unknown} error
 */
export const aborted = (error) => error instanceof DOMException && error.name === "AbortError";
