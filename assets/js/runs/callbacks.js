// @ts-check
/* Runs: what its callbacks ask for. */

export const callbacks = {
  polls: /** @param {boolean} hidden */ (hidden) => hidden,
  close: () => false,
  clear: () => null,
  /**
   * Open the dialog of a new sweep, with the settings of the first chosen run; its form is fetched now.
   * @param {number} _
   * @param {{path: string}[] | null} chosen
   */
  sweep(_, chosen) {
    import("../sweep/form.js").then((form) => form.open(chosen?.[0]?.path));
    return true;
  },
};
