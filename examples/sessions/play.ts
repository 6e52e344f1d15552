import { randomUUID } from 'node:crypto';
import { connect } from 'shardkeep/client';

const shardkeep = connect(process.argv[2] ?? '127.0.0.1:50051', { timeoutMs: 3_000 });
const { sessions } = shardkeep;

// A login: the password was right. A retry after a lost answer, which happens by itself, gets the same session.
const login = await sessions.createSession({
  userId: `ada-${randomUUID()}`,
  roles: ['player'],
  client: { ip: '203.0.113.9' },
  metadata: { platform: 'ios' },
  profile: 'game',
});
if (login.status !== 'created') throw new Error(`not let in: ${login.status}`);
const { session } = login;
let token = login.sessionToken;

// Every action of the player: the token is shown, the session is touched.
const seen = await sessions.validateSession(token, { client: { ip: '203.0.113.77' } });
console.log('plays:', seen.status === 'valid' ? seen.session.roles : seen.status);

// Before something sensitive the proof must be fresh; a new proof comes with a new token.
const stepUp = await sessions.validateSession(token, { maxAuthAgeMs: 0 });
const rotated = await sessions.rotateSession(token, { reauthenticated: true });
if (rotated.status !== 'rotated') throw new Error(`the session has ended: ${rotated.status}`);
token = rotated.sessionToken;
console.log(
  'asked again:',
  stepUp.status,
  '· new proof:',
  rotated.session.authenticatedAtMs > session.authenticatedAtMs,
);

// A kick: the player's server is told at once, the session ends in a moment, and the token tells why.
const ending = { reason: 'maintenance', message: 'Back at six', effectiveInMs: 200 };
await sessions.destroySession(session.sessionId, ending);
let state = await sessions.validateSession(token);
console.log('still plays:', state.status === 'valid' ? state.session.announcedEnd?.message : state.status);
while (state.status === 'valid') state = await sessions.validateSession(token);
console.log('out:', state.status, 'end' in state ? `${state.end.reason}, ${state.end.message}` : '');
await shardkeep.close();
