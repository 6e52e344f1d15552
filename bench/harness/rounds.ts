/**
 * Runs every variant once a round, each round beginning with the next one, so that none always follows the same. A round
 * before the first is thrown away: in it code is compiled and sockets are opened.
 */
export async function interleave<Name extends string, Result>(
  rounds: number,
  variants: Readonly<Record<Name, () => Promise<Result>>>,
): Promise<Record<Name, Result[]>> {
  const names = Object.keys(variants) as Name[];
  const results = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<Name, Result[]>;
  for (let round = -1; round < rounds; round++) {
    for (let turn = 0; turn < names.length; turn++) {
      const name = names[(round + 1 + turn) % names.length];
      if (name === undefined) throw new Error('no variant');
      const result = await variants[name]();
      if (round >= 0) results[name].push(result);
    }
  }
  return results;
}
