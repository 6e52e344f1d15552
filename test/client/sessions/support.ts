import { afterEach } from '@jest/globals';
import { connect, type ConnectOptions, type SessionLogin, type ShardkeepClient } from '../../../src/client/index.js';
import type { CreateSessionResult, Session, Sessions } from '../../../src/client/index.js';
import { policiesFile, randomNamespace } from '../../support/service.js';

const profile = {
  idle_ttl_ms: 3_600_000,
  absolute_ttl_ms: 0,
  touch_granularity_ms: 0,
  max_sessions: 0,
  at_limit: 'evict_oldest',
};
const reject = { ip: 'reject', user_agent: 'reject', device_id: 'reject' };

/** Of every service of these tests. */
export const POLICIES_FILE = policiesFile({
  rpc_limits: [],
  session_profiles: {
    default: profile,
    evicting: { ...profile, max_sessions: 1 },
    refusing: { ...profile, max_sessions: 2, at_limit: 'refuse' },
    brief: { ...profile, idle_ttl_ms: 1 },
    renewed: { ...profile, absolute_ttl_ms: 86_400_000, renewal_ttl_ms: 600_000 },
    graceless: { ...profile, rotation_grace_ms: 0 },
    bound: { ...profile, binding: reject },
  },
});

const open: ShardkeepClient[] = [];

afterEach(async () => {
  await Promise.all(open.splice(0).map((connected) => connected.close()));
});

/** Closed after the test. */
export function client(address: string, options: ConnectOptions = {}): ShardkeepClient {
  // no deadline of these tests is about how fast this machine is
  const connected = connect(address, { timeoutMs: 30_000, logger: false, ...options });
  open.push(connected);
  return connected;
}

export type Created = Extract<CreateSessionResult, { status: 'created' }>;

/** Logs somebody in, who must get in. */
export async function login(sessions: Sessions, request: Partial<SessionLogin> = {}): Promise<Created> {
  const result = await sessions.createSession({ userId: randomNamespace(), ...request });
  if (result.status !== 'created') throw new Error(`not created: ${result.status}`);
  return result;
}

/** With what a touch changes set to 0. */
export function untouched(session: Session): Session {
  return { ...session, lastActiveMs: 0, expiresAtMs: 0 };
}
