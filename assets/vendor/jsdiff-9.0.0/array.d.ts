/* What we use of jsdiff, for the type check. */
export function diffArrays<T>(
  before: T[],
  after: T[],
): { value: T[]; count: number; added: boolean; removed: boolean }[];
