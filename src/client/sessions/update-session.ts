import * as proto from '../../gen/shardkeep/session/v1/session.js';
import { CALL_OPTIONS, type CallOptions } from '../transport/method.js';
import { invalidArgument } from '../errors.js';
import type { LockGrant } from '../locks/lock-state.js';
import { listIn, mapIn, objectIn, optionsIn, type OptionNames } from '../arguments.js';
import { toInt64, toOptionalInt64 } from '../int64.js';
import { toFieldsMessage, type SessionFields } from './session-fields.js';

/**
 * What updateSession is to change; what is absent stays, and '' clears a text. Lists take the place of those that are there,
 * metadata is merged key by key.
 */
export interface SessionChanges extends SessionFields {
  /** Up to 32 keys, removed after the merge. */
  readonly removeMetadataKeys?: readonly string[] | undefined;
  /**
   * Up to 32 additions to metadata that are decimal 64-bit integers, after merge and removals; a key that is not there
   * counts as 0. Another value, or an overflow, is FailedPreconditionError (`NOT_AN_INTEGER`), and nothing changes.
   */
  readonly incrementMetadata?: Readonly<Record<string, number | bigint>> | undefined;
}

/** Makes a write count only while its caller holds a lock or a character. */
export interface SessionGuard {
  /** The resource of the lock, or a name of the caller's for the character, 1 to 512 bytes. */
  readonly resource: string;
  /** The fencing token of the grant, or the epoch of the claim. */
  readonly fencingToken: number;
}

export interface UpdateSessionOptions extends CallOptions {
  /** Write only when the session has this version. */
  readonly expectedVersion?: number | undefined;
  /** The call does not count as activity. */
  readonly noTouch?: boolean | undefined;
  readonly guard?: SessionGuard | undefined;
}

const UPDATE_SESSION_OPTIONS: OptionNames<UpdateSessionOptions> = {
  ...CALL_OPTIONS,
  expectedVersion: true,
  noTouch: true,
  guard: true,
};
/** A grant of a lock is one. */
const GUARD: OptionNames<SessionGuard & LockGrant> = { resource: true, fencingToken: true, holdCount: true };

/** The fields of a mask, with their names in the proto. */
const MASKED = [
  ['username', 'username'],
  ['roles', 'roles'],
  ['permissions', 'permissions'],
  ['organizationId', 'organization_id'],
  ['characterId', 'character_id'],
  ['metadata', 'metadata'],
] as const satisfies readonly (readonly [keyof SessionFields, string])[];

const CHANGES: ReadonlySet<string> = new Set<keyof SessionChanges>([
  ...MASKED.map(([field]) => field),
  'removeMetadataKeys',
  'incrementMetadata',
]);

export function toUpdateSessionRequest(
  sessionId: string,
  changes: SessionChanges,
  options: UpdateSessionOptions,
): Partial<proto.UpdateSessionRequest> {
  const { expectedVersion, noTouch, guard } = optionsIn(options, UPDATE_SESSION_OPTIONS);
  throwIfUnknown(objectIn(changes, 'changes'));
  const increments = mapIn(changes.incrementMetadata, 'incrementMetadata');
  return {
    sessionId,
    fields: toFieldsMessage(changes),
    updateMask: maskOf(changes),
    removeMetadataKeys: listIn(changes.removeMetadataKeys ?? [], 'removeMetadataKeys'),
    incrementMetadata: new Map(Array.from(increments, ([key, delta]) => [key, toDelta(delta)])),
    expectedVersion: toOptionalInt64(expectedVersion, 'expectedVersion'),
    noTouch: noTouch ?? false,
    guard: guard === undefined ? undefined : toGuard(guard),
  };
}

/**
 * Whether the same request may be made twice. An increment would count twice, and the second of two with an
 * `expectedVersion` is refused for what the first has done.
 */
export function isRepeatable(
  { incrementMetadata }: SessionChanges,
  { expectedVersion }: UpdateSessionOptions,
): boolean {
  return expectedVersion === undefined && Object.keys(incrementMetadata ?? {}).length === 0;
}

/** A name that nobody reads would leave undone what was asked for, and null could mean to clear or to leave. */
function throwIfUnknown(changes: SessionChanges): void {
  const wrong = Object.entries(changes).flatMap(([name, value]: [string, unknown]) =>
    CHANGES.has(name) && value !== null ? [] : [name],
  );
  if (wrong.length > 0) throw invalidArgument(`no changes of a session: ${wrong.join(', ')}`, wrong);
}

function maskOf(changes: SessionChanges): string[] {
  return MASKED.flatMap(([field, path]) => (changes[field] === undefined ? [] : [path]));
}

function toDelta(delta: number | bigint): bigint {
  return typeof delta === 'bigint' ? delta : toInt64(delta, 'incrementMetadata');
}

function toGuard(guard: SessionGuard): proto.SessionGuard {
  const { resource, fencingToken } = optionsIn<SessionGuard>(guard, GUARD, 'guard');
  return { resource, fencingToken: toInt64(fencingToken, 'guard.fencingToken') };
}
