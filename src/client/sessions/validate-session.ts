import * as proto from '../../gen/shardkeep/session/v1/session.js';
import { InvalidArgumentError } from '../errors.js';
import { optionsIn, type OptionNames } from '../arguments.js';
import { CALL_OPTIONS, type CallOptions } from '../transport/method.js';
import { foreignAnswer } from './foreign-answer.js';
import { toOptionalInt64 } from '../int64.js';
import { toSession, toSessionEnd, type Session, type SessionEnd } from './session.js';
import { toClientFields, toClientMessage, type SessionClient, type SessionClientField } from './session-client.js';

export interface ValidateSessionOptions extends CallOptions {
  /** Who presents the token; nothing is compared where it is absent. */
  readonly client?: SessionClient | undefined;
  /** How long ago the user may have proved who they are, 0 to 31,536,000,000; older is `step_up`. Absent: any time. */
  readonly maxAuthAgeMs?: number | undefined;
}

const VALIDATE_SESSION_OPTIONS: OptionNames<ValidateSessionOptions> = {
  ...CALL_OPTIONS,
  client: true,
  maxAuthAgeMs: true,
};

/** What a token that does not open its session is answered. */
export type SessionRefusal =
  /** No session has this token, or it ended more than an hour ago; or it has not the shape of a token. */
  | { readonly status: 'unknown' }
  /** The session ran out. */
  | { readonly status: 'expired'; readonly end: SessionEnd }
  /** The session was ended: destroyed, evicted, or by a token that must have been stolen. */
  | { readonly status: 'revoked'; readonly end: SessionEnd }
  /** The session is live, but not this client's, in a field that the profile says to reject by. Nothing changed. */
  | { readonly status: 'binding'; readonly changedClientFields: readonly SessionClientField[] };

export type ValidateSessionResult =
  | {
      /** `step_up`: it opens the session too, but the user proved who they are longer than `maxAuthAgeMs` ago. */
      readonly status: 'valid' | 'step_up';
      /** After the touch. */
      readonly session: Session;
      /** What is not as at creation, without what the profile says to ignore. */
      readonly changedClientFields: readonly SessionClientField[];
    }
  | SessionRefusal;

export function toValidateSessionRequest(
  sessionToken: string,
  options: ValidateSessionOptions,
): Partial<proto.ValidateSessionRequest> {
  const { client, maxAuthAgeMs } = optionsIn(options, VALIDATE_SESSION_OPTIONS);
  return {
    sessionToken,
    client: toClientMessage(client),
    maxAuthAgeMs: toOptionalInt64(maxAuthAgeMs, 'maxAuthAgeMs'),
  };
}

export function toValidateSessionResult(response: proto.ValidateSessionResponse): ValidateSessionResult {
  const rpc = 'ValidateSession';
  const { status, end } = response;
  switch (status) {
    case proto.ValidateSessionStatus.VALID:
    case proto.ValidateSessionStatus.STEP_UP:
      return {
        status: status === proto.ValidateSessionStatus.VALID ? 'valid' : 'step_up',
        session: toSession(response.session, rpc),
        changedClientFields: toClientFields(response.changedClientFields),
      };
    case proto.ValidateSessionStatus.UNKNOWN:
      return { status: 'unknown' };
    case proto.ValidateSessionStatus.EXPIRED:
      return refusedByEnd('expired', end, rpc);
    case proto.ValidateSessionStatus.REVOKED:
      return refusedByEnd('revoked', end, rpc);
    case proto.ValidateSessionStatus.BINDING:
      return { status: 'binding', changedClientFields: toClientFields(response.changedClientFields) };
    default:
      throw foreignAnswer(rpc);
  }
}

export function refusedByEnd(
  status: 'expired' | 'revoked',
  end: proto.SessionEnd | undefined,
  rpc: string,
): SessionRefusal {
  if (end === undefined) throw foreignAnswer(rpc);
  return { status, end: toSessionEnd(end) };
}

/**
 * Who presents a text that is no token is as unknown as who presents one that nobody has, which for a caller is one case and
 * not two. Throws every other error, also where more than the token is wrong, and where it is not even a text.
 */
export function unknownWhereMalformed(sessionToken: unknown, error: unknown): { readonly status: 'unknown' } {
  const isMalformed =
    typeof sessionToken === 'string' &&
    error instanceof InvalidArgumentError &&
    error.fields.length > 0 &&
    error.fields.every((field) => field === 'sessionToken');
  if (isMalformed) return { status: 'unknown' };
  throw error;
}
