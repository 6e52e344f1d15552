import type { ShardkeepClient } from '../../client/index.js';
import {
  callable,
  clientWithSessions,
  duration,
  either,
  fieldName,
  listOf,
  nonEmptyText,
  oneOf,
  optional,
  shape,
  wholeNumber,
  type OptionCheck,
  type OptionChecks,
} from '../../client/option-checks.js';
import type { CredentialSource } from './session-credential.js';

/** What HTTP middleware of every framework takes that asks for the session of a request. */
export interface SessionOptions<Request> {
  readonly client: Pick<ShardkeepClient, 'sessions'>;
  /**
   * Where the session token or id is; `['header']` by default. The first place that has something decides: a credential
   * that opens nothing is denied, never replaced by another one that the request carries elsewhere.
   */
  readonly tokenFrom?: readonly CredentialSource[] | undefined;
  /** How long ago the user may have proved who they are, 0 to 31,536,000,000; older is denied as `step_up`. */
  readonly maxAuthAgeMs?: number | undefined;
  /** How long the service is waited for, above 0; the client's by default. */
  readonly timeoutMs?: number | undefined;
  /** The device that makes the request, where the session is bound to one. */
  readonly deviceIdOf?: ((request: Request) => string | undefined) | undefined;
}

export const MAX_AUTH_AGE_MS = 31_536_000_000;

const IN_HEADER = oneOf('header');
const IN_COOKIE = shape<{ cookie: string }>({ cookie: fieldName });
const JWT = shape<{ verify: unknown; claim: string; from: unknown }>({
  verify: callable,
  claim: optional(nonEmptyText),
  from: optional(either(IN_HEADER, IN_COOKIE)),
});
const SOURCES: readonly (readonly [string, OptionCheck])[] = [
  ['header', shape<{ header: string }>({ header: fieldName })],
  ['cookie', IN_COOKIE],
  ['jwt', shape<{ jwt: unknown }>({ jwt: JWT })],
];

/** By the member that tells them apart, so that what is said is said of what was meant. */
const source: OptionCheck = (value) => {
  if (value === 'header') return [];
  const found = SOURCES.find(([kind]) => typeof value === 'object' && value !== null && kind in value);
  return found?.[1](value) ?? [{ at: '', mustBe: '"header", { header }, { cookie } or { jwt }' }];
};

export const SESSION_OPTION_CHECKS: OptionChecks<SessionOptions<never>> = {
  client: clientWithSessions,
  tokenFrom: optional(listOf(source)),
  maxAuthAgeMs: optional(wholeNumber(0, MAX_AUTH_AGE_MS)),
  timeoutMs: optional(duration),
  deviceIdOf: optional(callable),
};
