/** shardkeep in Socket.IO. */
export type { SessionCredential } from '../http/session-credential.js';
export type { ClientField } from '../http/session-options.js';
export type { SessionCookie } from './handshake-credential.js';
export type {
  CharacterTakenNotice,
  RefusalCode,
  RefusalData,
  SessionEndNotice,
  SessionEvents,
  SessionWarning,
} from './notices.js';
export type { ShardkeepSessionsOptions, UserStatus } from './options.js';
export { shardkeepSessions, type InstalledSessions, type SocketSessionCounts } from './shardkeep-sessions.js';
export type { SessionNamespace, SessionSocket, SessionSocketData } from './socket-types.js';
