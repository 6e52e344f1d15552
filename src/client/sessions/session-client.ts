import * as proto from '../../gen/shardkeep/session/v1/session.js';
import { optionsIn, type OptionNames } from '../arguments.js';

/**
 * Who presents a token, to be compared with whom the session was created for. What is absent here, or was absent there, is
 * not compared.
 */
export interface SessionClient {
  /** An IPv4 or IPv6 address without a port; compared by its first 24 or 48 bits. */
  readonly ip?: string | undefined;
  /** Up to 512 bytes; compared without its version numbers. */
  readonly userAgent?: string | undefined;
  /** Up to 512 bytes; compared as it is. */
  readonly deviceId?: string | undefined;
}

const CLIENT: OptionNames<SessionClient> = { ip: true, userAgent: true, deviceId: true };

/** A field of SessionClient; `unknown` is one that only a newer service knows. */
export type SessionClientField = 'ip' | 'user_agent' | 'device_id' | 'unknown';

const FIELDS: ReadonlyMap<proto.SessionClientField, SessionClientField> = new Map([
  [proto.SessionClientField.IP, 'ip'],
  [proto.SessionClientField.USER_AGENT, 'user_agent'],
  [proto.SessionClientField.DEVICE_ID, 'device_id'],
]);

export function toClientFields(fields: readonly proto.SessionClientField[]): readonly SessionClientField[] {
  return fields.map((field) => FIELDS.get(field) ?? 'unknown');
}

/** The metadata that a session is bound by, of what is there. */
export function toMetadata(client: SessionClient): Readonly<Record<string, string>> {
  const { ip, userAgent, deviceId } = optionsIn(client, CLIENT, 'client');
  return {
    ...(ip === undefined ? {} : { ip }),
    ...(userAgent === undefined ? {} : { user_agent: userAgent }),
    ...(deviceId === undefined ? {} : { device_id: deviceId }),
  };
}

export function toClientMessage(client: SessionClient | undefined): proto.SessionClient | undefined {
  if (client === undefined) return undefined;
  const { ip = '', userAgent = '', deviceId = '' } = optionsIn(client, CLIENT, 'client');
  return { ip, userAgent, deviceId };
}
