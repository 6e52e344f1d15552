/**
 * The enums in the messages of `client.rpc`, as the proto names them without their prefix: `RpcEnums.GetOrLeaseStatus.HIT`. The
 * rest of the client says the same in words.
 */
export {
  Consistency,
  FillStatus,
  GetOrLeaseStatus,
  InvalidationMode,
  ListSide,
} from '../../gen/shardkeep/cache/v1/cache.js';
export { AcquireLockStatus, LockLostReason, LockOwnershipStatus } from '../../gen/shardkeep/lock/v1/lock.js';
export {
  Algorithm,
  CalendarUnit,
  Enforcement,
  LimitStatus,
  OnRedisLoss,
} from '../../gen/shardkeep/ratelimit/v1/ratelimit.js';
export {
  CharacterClaimPolicy,
  ClaimCharacterStatus,
  CreateSessionStatus,
  DeviceClass,
  RotateSessionStatus,
  SessionClientField,
  SessionEndCause,
  SessionEventType,
  ValidateSessionStatus,
} from '../../gen/shardkeep/session/v1/session.js';
