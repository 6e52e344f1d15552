const LONGEST_TOLD = 64;
const MOST_TOLD = 10;

/** Says which name of a request is none of those there are, and at most 10 of these; for people. */
export function unknownName(kind: string, name: string, known: readonly string[]): string {
  const told = known.slice(0, MOST_TOLD).map((each) => quoted(each));
  const others = known.length - told.length;
  const rest = others > 0 ? `, and ${String(others)} more` : '';
  const list = told.length === 0 ? 'there are none' : `there are ${told.join(', ')}${rest}`;
  return `no ${kind} is named ${quoted(name)}; ${list}`;
}

function quoted(name: string): string {
  return JSON.stringify(name.length > LONGEST_TOLD ? `${name.slice(0, LONGEST_TOLD - 1)}…` : name);
}
