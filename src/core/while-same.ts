/** The last result for each owner, as long as all that it is made of is the same. */

interface Last<Arguments, Result> {
  readonly args: Arguments;
  readonly result: Result;
}

function isSame(left: readonly unknown[], right: readonly unknown[]): boolean {
  for (let at = 0; at < left.length; at++) if (!Object.is(left[at], right[at])) return false;
  return true;
}

/** `make`, asked again for an owner only with other arguments; they count by identity, and none of their contents may ever change. */
export function whileSame<Arguments extends readonly unknown[], Result>(
  make: (owner: object, ...args: Arguments) => Result,
): (owner: object, ...args: Arguments) => Result {
  const known = new WeakMap<object, Last<Arguments, Result>>();
  return (owner, ...args) => {
    const last = known.get(owner);
    if (last !== undefined && isSame(last.args, args)) return last.result;
    const result = make(owner, ...args);
    known.set(owner, { args, result });
    return result;
  };
}
