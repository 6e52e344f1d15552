/** shardkeep in Socket.IO. */
export type { SessionCredential } from '../http/session-credential.js';
export type { SessionCookie } from './handshake-credential.js';
export type { RefusalCode, RefusalData } from './handshake-refusal.js';
export type { ShardkeepSessionsOptions, UserStatus } from './options.js';
export { shardkeepSessions, type InstalledSessions, type SocketSessionCounts } from './shardkeep-sessions.js';
export type {
  CharacterTakenNotice,
  SessionEndNotice,
  SessionEvents,
  SessionNamespace,
  SessionSocket,
  SessionSocketData,
  SessionWarning,
} from './socket-types.js';
