import { randomBytes } from 'node:crypto';
import type { Session } from '../../../src/client/index.js';
import { Actor } from './actor.js';

interface Kept {
  readonly id: string;
  readonly userId: string;
  readonly token: string;
  n: number;
}

const METADATA_KEY = 'n';
/** More than these are left alone until the end, when all are looked for. */
const PLAYED_WITH = 8;
const RETRY_CHANCE = 0.15;

/** Logs players in, acts as them, and logs some of them out. It alone writes to its sessions. */
export class SessionActor extends Actor {
  private readonly sessions: Kept[] = [];
  /** Logins whose fate is unknown: the same request asks again. */
  private readonly undecided: { readonly userId: string; readonly requestId: string }[] = [];
  private logins = 0;

  protected async step(): Promise<void> {
    const retry = this.undecided.shift();
    if (retry !== undefined) {
      await this.login(retry.userId, retry.requestId);
      return;
    }
    const dice = this.random.next();
    const session = this.sessions.slice(-PLAYED_WITH)[this.random.below(PLAYED_WITH)];
    if (session === undefined || dice < 0.15) await this.loginAnew();
    else if (dice < 0.5) await this.validate(session);
    else if (dice < 0.75) await this.update(session);
    else if (dice < 0.95) await this.read(session);
    else await this.logout(session);
  }

  override async verify(): Promise<void> {
    for (const { userId, requestId } of this.undecided.splice(0)) await this.login(userId, requestId);
    for (const session of this.sessions) {
      await this.verified('session.verify', {
        details: { key: session.id },
        perform: (client) => client.sessions.getSession(session.id),
        read: reader(session.id),
      });
    }
  }

  private async loginAnew(): Promise<void> {
    const userId = `${this.name}-${String(this.logins++ >> 1)}`;
    const requestId = randomBytes(24).toString('base64url');
    await this.login(userId, requestId);
    if (this.random.chance(RETRY_CHANCE)) await this.login(userId, requestId);
  }

  private async login(userId: string, requestId: string): Promise<void> {
    const { answer, record } = await this.call('session.create', {
      details: { request: requestId, n: 0 },
      perform: (client) => client.sessions.createSession({ userId, requestId, metadata: { [METADATA_KEY]: '0' } }),
      read: (login) =>
        login.status === 'created' ? { status: 'created', key: login.session.sessionId } : { status: login.status },
    });
    if (record.unknown) this.undecided.push({ userId, requestId });
    if (answer?.status !== 'created') return;
    const { session, sessionToken } = answer;
    if (this.sessions.some(({ id }) => id === session.sessionId)) return;
    this.sessions.push({ id: session.sessionId, userId, token: sessionToken, n: 0 });
  }

  private async validate(session: Kept): Promise<void> {
    await this.call('session.validate', {
      details: { key: session.id },
      perform: (client) => client.sessions.validateSession(session.token),
      read: (answer) => (answer.status === 'valid' ? reader(session.id)(answer.session) : { status: 'missing' }),
    });
  }

  private async update(session: Kept): Promise<void> {
    const n = ++session.n;
    await this.call('session.update', {
      details: { key: session.id, n },
      perform: (client) => client.sessions.updateSession(session.id, { metadata: { [METADATA_KEY]: String(n) } }),
      read: () => ({ status: 'done' }),
    });
  }

  private async read(session: Kept): Promise<void> {
    await this.call('session.read', {
      details: { key: session.id },
      perform: (client) => client.sessions.getSession(session.id),
      read: reader(session.id),
    });
  }

  private async logout(session: Kept): Promise<void> {
    await this.call('session.destroy', {
      details: { key: session.id },
      perform: (client) => client.sessions.destroySession(session.id),
      read: (destroyed) => ({ status: destroyed ? 'destroyed' : 'missing' }),
    });
  }
}

function reader(id: string): (session: Session | undefined) => { status: string; n?: number } {
  return (session) => {
    if (session === undefined) return { status: 'missing' };
    return {
      status: session.sessionId === id ? 'found' : 'foreign',
      n: Number(session.metadata[METADATA_KEY] ?? -1),
    };
  };
}
