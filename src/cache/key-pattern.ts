/** `*`: any characters, also none; `?`: one; else that character. */
type Token = { readonly kind: 'many' } | { readonly kind: 'one' } | { readonly kind: 'literal'; readonly char: string };

const MANY: Token = { kind: 'many' };
const ONE: Token = { kind: 'one' };

/** The tokens of a pattern, or what is wrong with it. */
function tokensOf(pattern: string): readonly Token[] | string {
  const tokens: Token[] = [];
  let escaped = false;
  for (const char of pattern) {
    if (escaped) {
      tokens.push({ kind: 'literal', char });
      escaped = false;
    } else if (char === '\\') escaped = true;
    else if (char === '[' || char === ']') return 'must have [ and ] escaped: there are no character classes';
    else if (char === '?') tokens.push(ONE);
    // one that follows another adds nothing
    else if (char !== '*') tokens.push({ kind: 'literal', char });
    else if (tokens.at(-1) !== MANY) tokens.push(MANY);
  }
  return escaped ? 'must not end with a single \\' : tokens;
}

/** What is wrong with a pattern; undefined where nothing is. */
export function patternProblem(pattern: string): string | undefined {
  const tokens = tokensOf(pattern);
  return typeof tokens === 'string' ? tokens : undefined;
}

/**
 * A glob over whole keys: `*`, `?` and `\`, by characters (code points) and not by bytes as Redis has it. Only the last
 * `*` is ever tried again, so that the time is at most the product of the two lengths; Redis before 7.0.9 needs time
 * exponential in the number of `*`.
 */
export class KeyPattern {
  /** What every match begins with. */
  readonly literalPrefix: string;
  private readonly tokens: readonly Token[];

  /** Throws RangeError where `patternProblem` finds something. */
  constructor(pattern: string) {
    const tokens = tokensOf(pattern);
    if (typeof tokens === 'string') throw new RangeError(tokens);
    const wildcardAt = tokens.findIndex(({ kind }) => kind !== 'literal');
    const literals = wildcardAt < 0 ? tokens : tokens.slice(0, wildcardAt);
    this.literalPrefix = literals.map((token) => (token.kind === 'literal' ? token.char : '')).join('');
    this.tokens = tokens.slice(literals.length);
  }

  matches(key: string): boolean {
    if (!key.startsWith(this.literalPrefix)) return false;
    const { tokens } = this;
    let at = this.literalPrefix.length;
    let token = 0;
    /** The token behind the last `*`, and where in the key to try it next; -1: there was none. */
    let retryToken = -1;
    let retryAt = 0;
    while (at < key.length) {
      const current = tokens[token];
      if (current === MANY) {
        retryToken = ++token;
        retryAt = at;
      } else if (current !== undefined && (current.kind !== 'literal' || key.startsWith(current.char, at))) {
        at += charLength(key, at);
        token++;
      } else if (retryToken < 0) return false;
      else {
        retryAt += charLength(key, retryAt);
        at = retryAt;
        token = retryToken;
      }
    }
    return token === tokens.length || (token === tokens.length - 1 && tokens[token] === MANY);
  }
}

/** 2 for a character outside the basic plane. */
function charLength(text: string, at: number): number {
  const code = text.charCodeAt(at);
  return code >= 0xd800 && code < 0xdc00 ? 2 : 1;
}
