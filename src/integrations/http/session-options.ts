import type { SessionClient, ShardkeepClient } from '../../client/index.js';
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
  refuseOptions,
  shape,
  wholeNumber,
  type OptionCheck,
  type OptionChecks,
  type OptionProblem,
} from '../../client/option-checks.js';
import { placeOf, type CredentialSource } from './session-credential.js';

/** What HTTP middleware of every framework takes that asks for the session of a request. */
export interface SessionOptions<Request> {
  readonly client: Pick<ShardkeepClient, 'sessions'>;
  /**
   * Where the session token or id is; `['header']` by default. The first place that has something decides: a credential
   * that opens nothing is denied, never replaced by another one that the request carries elsewhere. A JWT goes in front of a
   * session token of the same place.
   */
  readonly tokenFrom?: readonly CredentialSource[] | undefined;
  /** How long ago the user may have proved who they are, 0 to 31,536,000,000; older is denied as `step_up`. */
  readonly maxAuthAgeMs?: number | undefined;
  /** How long the service is waited for, above 0; the client's by default. */
  readonly timeoutMs?: number | undefined;
  /** The device that makes the request, where the session is bound to one. */
  readonly deviceIdOf?: ((request: Request) => string | undefined) | undefined;
  /**
   * What each request has to tell of its client, or is denied as `binding`; nothing by default. A session is compared only by
   * what both sides tell: where its profile rejects other devices, a request that names none has to be denied here. `ip` is
   * told where `request.ip` is an address; `deviceId` only with `deviceIdOf`.
   */
  readonly requiredClientFields?: readonly ClientField[] | undefined;
}

/** What a session can be bound to. */
export type ClientField = keyof SessionClient;

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

/** What takes every text of a place leaves nothing to a JWT of the same place behind it. */
const sources: OptionCheck = (value) => {
  const problems = listOf(source)(value);
  return problems.length > 0 ? problems : shadowedJwts(value as readonly CredentialSource[]);
};

function shadowedJwts(given: readonly CredentialSource[]): readonly OptionProblem[] {
  const taken = new Set<string>();
  return given.flatMap((each, index) => {
    const place = placeOf(each);
    if (typeof each === 'string' || !('jwt' in each)) taken.add(place);
    else if (taken.has(place))
      return [
        { at: `[${String(index)}].jwt`, mustBe: 'in front of what takes any text of the same place for a token' },
      ];
    return [];
  });
}

export const clientFields = listOf(oneOf('ip', 'userAgent', 'deviceId'));

export const SESSION_OPTION_CHECKS: OptionChecks<SessionOptions<never>> = {
  client: clientWithSessions,
  tokenFrom: optional(sources),
  maxAuthAgeMs: optional(wholeNumber(0, MAX_AUTH_AGE_MS)),
  timeoutMs: optional(duration),
  deviceIdOf: optional(callable),
  requiredClientFields: optional(clientFields),
};

/** Throws InvalidArgumentError for options that are right by themselves and would deny everybody together. */
export function refuseUnmeetable(
  of: string,
  { requiredClientFields = [], deviceIdOf }: Pick<SessionOptions<never>, 'requiredClientFields' | 'deviceIdOf'>,
): void {
  const index = requiredClientFields.indexOf('deviceId');
  if (index === -1 || deviceIdOf !== undefined) return;
  refuseOptions(of, {
    at: `requiredClientFields[${String(index)}]`,
    mustBe: 'left out without deviceIdOf, which says where the device id is',
  });
}
