/** What a request shows of a session: its token, which proves it, or its id from something that is proved otherwise. */
export type SessionCredential =
  | { readonly sessionToken: string }
  /** Of a JWT whose signature was verified: an id alone opens nothing. */
  | { readonly sessionId: string; readonly userId?: string };

/** The claims of a JWT that was verified. */
export type Claims = Readonly<Record<string, unknown>>;

/**
 * Where the credential is: `header` is `Authorization: Bearer <session token>`; another header or a cookie by name; a JWT, whose
 * claim (`sid` by default) has the session id, and `sub` the user id. `verify` checks the JWT's signature and expiry with the
 * library of your choice and answers its claims, or throws.
 */
export type CredentialSource =
  | 'header'
  | { readonly header: string }
  | { readonly cookie: string }
  | {
      readonly jwt: {
        readonly verify: (token: string) => Claims | Promise<Claims>;
        readonly claim?: string;
        /** Where the JWT is; `header` by default. */
        readonly from?: 'header' | { readonly cookie: string };
      };
    };

/** What of a request is looked at. */
export interface RequestHeaders {
  get(name: string): string | undefined;
}

/** Something is shown that can be no credential, such as a JWT with a wrong signature. */
export const INVALID = 'invalid';

/** A text that may be a credential, and where it is. */
interface Presented {
  readonly place: string;
  readonly text: string | undefined;
}

/**
 * What the first place has that has something; undefined: none has. Where that is no credential there is none: a request that
 * shows a bad one is not taken for whoever another one of it names. Sources of one place are tried in turn, as its text may be of
 * either kind.
 */
export async function credentialOf(
  headers: RequestHeaders,
  sources: readonly CredentialSource[],
): Promise<SessionCredential | typeof INVALID | undefined> {
  let decisive: string | undefined;
  for (const source of sources) {
    const { place, text } = presentedAt(headers, source);
    if (text === undefined || text === '' || (decisive ?? place) !== place) continue;
    decisive = place;
    // neither a token nor a JWT has any
    if (/\s/.test(text)) continue;
    if (typeof source === 'string' || !('jwt' in source)) return { sessionToken: text };
    const { verify, claim = 'sid' } = source.jwt;
    const credential = fromClaims(await claimsOf(text, verify), claim);
    if (credential !== undefined) return credential;
  }
  return decisive === undefined ? undefined : INVALID;
}

function presentedAt(headers: RequestHeaders, source: CredentialSource): Presented {
  const place = placeOf(source);
  if (source === 'header') return { place, text: bearerOf(headers.get('authorization')) };
  if ('header' in source) return { place, text: headers.get(source.header) };
  if ('cookie' in source) return { place, text: cookieOf(headers, source.cookie) };
  return presentedAt(headers, source.jwt.from ?? 'header');
}

/** Two sources of one place look at the same text. */
export function placeOf(source: CredentialSource): string {
  if (source === 'header') return 'bearer';
  if ('header' in source) return `header ${source.header.toLowerCase()}`;
  if ('cookie' in source) return `cookie ${source.cookie}`;
  return placeOf(source.jwt.from ?? 'header');
}

/** A JWT that is not right is no credential, whatever is wrong with it. */
async function claimsOf(jwt: string, verify: (token: string) => Claims | Promise<Claims>): Promise<Claims> {
  try {
    const claims: unknown = await verify(jwt);
    return typeof claims === 'object' && claims !== null ? { ...claims } : {};
  } catch {
    return {};
  }
}

function fromClaims(claims: Claims, claim: string): SessionCredential | undefined {
  const sessionId = claims[claim];
  const { sub } = claims;
  if (typeof sessionId !== 'string' || sessionId === '') return undefined;
  if (sub === undefined) return { sessionId };
  // a subject that is there is to be compared, whatever it is
  return { sessionId, userId: typeof sub === 'string' ? sub : JSON.stringify(sub) };
}

/** Whatever an `Authorization` header shows as a bearer's token, also what can be none. */
export function bearerOf(authorization: string | undefined): string | undefined {
  return /^Bearer\s+(\S.*)$/i.exec(authorization ?? '')?.[1];
}

/** RFC 6265: pairs separated by `; `, a value perhaps in quotes. */
export function cookieOf(headers: RequestHeaders, name: string): string | undefined {
  for (const pair of (headers.get('cookie') ?? '').split(';')) {
    const at = pair.indexOf('=');
    if (at === -1 || pair.slice(0, at).trim() !== name) continue;
    const value = pair.slice(at + 1).trim();
    return decoded(value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value);
  }
  return undefined;
}

function decoded(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}
