import * as proto from '../../gen/shardkeep/session/v1/session.js';
import { optionsIn, type OptionNames } from '../arguments.js';
import { CALL_OPTIONS, type CallOptions } from '../transport/method.js';
import { foreignAnswer } from './foreign-answer.js';
import { toSession, type Session } from './session.js';
import { toClientFields, toClientMessage, type SessionClient, type SessionClientField } from './session-client.js';
import { refusedByEnd, type SessionRefusal } from './validate-session.js';

export interface RotateSessionOptions extends CallOptions {
  /** The user has just proved who they are: `authenticatedAtMs` becomes now. */
  readonly reauthenticated?: boolean | undefined;
  /**
   * Who presents the token. With `reauthenticated` nothing is compared: the session is bound to this client from now on,
   * and stays bound as it was in what is absent. Absent: nothing is compared, and the binding stays.
   */
  readonly client?: SessionClient | undefined;
}

const ROTATE_SESSION_OPTIONS: OptionNames<RotateSessionOptions> = {
  ...CALL_OPTIONS,
  reauthenticated: true,
  client: true,
};

export type RotateSessionResult =
  | {
      readonly status: 'rotated';
      readonly session: Session;
      /** The credential from now on. */
      readonly sessionToken: string;
      readonly changedClientFields: readonly SessionClientField[];
    }
  | SessionRefusal;

export function toRotateSessionRequest(
  sessionToken: string,
  options: RotateSessionOptions,
): proto.RotateSessionRequest {
  const { reauthenticated, client } = optionsIn(options, ROTATE_SESSION_OPTIONS);
  return proto.RotateSessionRequest.fromPartial({
    sessionToken,
    reauthenticated: reauthenticated ?? false,
    client: toClientMessage(client),
  });
}

export function toRotateSessionResult(response: proto.RotateSessionResponse): RotateSessionResult {
  const rpc = 'RotateSession';
  switch (response.status) {
    case proto.RotateSessionStatus.ROTATED:
      return {
        status: 'rotated',
        session: toSession(response.session, rpc),
        sessionToken: response.sessionToken,
        changedClientFields: toClientFields(response.changedClientFields),
      };
    case proto.RotateSessionStatus.UNKNOWN:
      return { status: 'unknown' };
    case proto.RotateSessionStatus.EXPIRED:
      return refusedByEnd('expired', response.end, rpc);
    case proto.RotateSessionStatus.REVOKED:
      return refusedByEnd('revoked', response.end, rpc);
    case proto.RotateSessionStatus.BINDING:
      return { status: 'binding', changedClientFields: toClientFields(response.changedClientFields) };
    default:
      throw foreignAnswer(rpc);
  }
}
