// @ts-check
/* Scripts of libraries that not every page needs, loaded when one does. */

/** @type {Map<string, Promise<unknown>>} */
const asked = new Map();

/**
 * Settled once the script ran; a script that did not come is asked for again by the next call.
 * @param {string} src
 * @param {string} name what it is called where it did not come
 */
export function script(src, name) {
  const known = asked.get(src);
  if (known) return known;
  const coming = new Promise((done, fail) => {
    const node = Object.assign(document.createElement("script"), { src, onload: done });
    node.onerror = () => {
      asked.delete(src);
      node.remove();
      fail(new Error(`${name}'s script did not come: is the server still running?`));
    };
    document.head.append(node);
  });
  asked.set(src, coming);
  return coming;
}
