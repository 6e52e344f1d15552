import type * as proto from '../../gen/shardkeep/session/v1/session.js';
import { listIn, mapIn, type OptionNames } from '../arguments.js';

/** What a caller says of a session. */
export interface SessionFields {
  /** Up to 128 bytes. */
  readonly username?: string | undefined;
  /** Up to 64 strings of 1 to 128 bytes. */
  readonly roles?: readonly string[] | undefined;
  /** Up to 256 strings of 1 to 128 bytes. */
  readonly permissions?: readonly string[] | undefined;
  /** Up to 128 bytes. */
  readonly organizationId?: string | undefined;
  /** Up to 128 bytes. */
  readonly characterId?: string | undefined;
  /**
   * Up to 32 entries; keys 1 to 64 bytes of `[a-z0-9_.-]`, values up to 512 bytes. Well known: `ip`, `user_agent`,
   * `device_id`, `platform` (ios, android, web, …), `game_version`.
   */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
}

export const SESSION_FIELDS: OptionNames<SessionFields> = {
  username: true,
  roles: true,
  permissions: true,
  organizationId: true,
  characterId: true,
  metadata: true,
};

/** Empty where they are absent. */
export function toFieldsMessage(fields: SessionFields): proto.SessionFields {
  return {
    username: fields.username ?? '',
    roles: listIn(fields.roles ?? [], 'roles'),
    permissions: listIn(fields.permissions ?? [], 'permissions'),
    organizationId: fields.organizationId ?? '',
    characterId: fields.characterId ?? '',
    metadata: mapIn(fields.metadata, 'metadata'),
  };
}
