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

/** The first source that has something decides; undefined: none has. */
export async function credentialOf(
  headers: RequestHeaders,
  sources: readonly CredentialSource[],
): Promise<SessionCredential | undefined> {
  for (const source of sources) {
    const credential = await fromSource(headers, source);
    if (credential !== undefined) return credential;
  }
  return undefined;
}

async function fromSource(headers: RequestHeaders, source: CredentialSource): Promise<SessionCredential | undefined> {
  if (source === 'header') return tokenOf(bearerOf(headers));
  if ('header' in source) return tokenOf(headers.get(source.header));
  if ('cookie' in source) return tokenOf(cookieOf(headers, source.cookie));
  const { verify, claim = 'sid', from = 'header' } = source.jwt;
  const jwt = from === 'header' ? bearerOf(headers) : cookieOf(headers, from.cookie);
  if (jwt === undefined) return undefined;
  return fromClaims(await claimsOf(jwt, verify), claim);
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

function tokenOf(text: string | undefined): SessionCredential | undefined {
  return text === undefined || text === '' ? undefined : { sessionToken: text };
}

function bearerOf(headers: RequestHeaders): string | undefined {
  return /^Bearer +(\S+)$/i.exec(headers.get('authorization') ?? '')?.[1];
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
