/**
 * Fails with the error in the next turn of the event loop. What fails without asking anybody would otherwise fail in the same
 * turn, and a loop that awaits it (`while (…) await cache.get(key)`) would let no timer and no socket have its turn.
 */
export function failNextTurn(error: Error): Promise<never> {
  return new Promise((_, reject) => {
    setImmediate(reject, error);
  });
}
