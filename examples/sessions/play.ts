import { randomBytes } from 'node:crypto';
import { connect } from '../../src/client/index.js';
import {
  CreateSessionStatus,
  RotateSessionStatus,
  ValidateSessionStatus as Status,
} from '../../src/gen/shardkeep/session/v1/session.js';

const shardkeep = connect(process.argv[2] ?? '127.0.0.1:50051', { timeoutMs: 3_000 });
const { sessions } = shardkeep.rpc;

// A login: the password was right. With a request_id a retry after a lost answer gets the same session.
const requestId = randomBytes(16).toString('hex');
const userId = `ada-${requestId.slice(0, 8)}`;
const metadata = new Map([
  ['ip', '203.0.113.9'],
  ['platform', 'ios'],
]);
const login = await sessions.createSession({ userId, roles: ['player'], metadata, requestId, profile: 'game' });
if (login.status !== CreateSessionStatus.CREATED || login.session === undefined) throw new Error('not let in');
let token = login.sessionToken;
const { sessionId } = login.session;

// Every action of the player: the token is shown, the session is touched.
const seen = await sessions.validateSession({
  sessionToken: token,
  client: { ip: '203.0.113.77', userAgent: '', deviceId: '' },
});
console.log('plays:', seen.status === Status.VALID, seen.session?.roles);

// Before something sensitive the proof must be fresh; a new proof comes with a new token.
const stepUp = await sessions.validateSession({ sessionToken: token, maxAuthAgeMs: 0n });
const rotated = await sessions.rotateSession({ sessionToken: token, reauthenticated: true });
if (rotated.status !== RotateSessionStatus.ROTATED) throw new Error('the session has ended');
token = rotated.sessionToken;
const provedAtMs = rotated.session?.authenticatedAtMs ?? 0n;
console.log(
  'asked again:',
  stepUp.status === Status.STEP_UP,
  'new proof:',
  provedAtMs > login.session.authenticatedAtMs,
);

// A kick: the player's server is told at once, the session ends in a moment, and the token tells why.
await sessions.destroySession({ sessionId, reason: 'maintenance', message: 'Back at six', effectiveInMs: 200n });
const warned = await sessions.validateSession({ sessionToken: token });
console.log('still plays:', warned.status === Status.VALID, warned.session?.announcedEnd?.message);
let ended = warned;
while (ended.status === Status.VALID) ended = await sessions.validateSession({ sessionToken: token });
console.log('out:', ended.status === Status.REVOKED, ended.end?.reason, ended.end?.message);
await shardkeep.close();
