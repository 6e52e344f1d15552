import type { Logger } from 'pino';
import type { MetricDefinition } from '../admin/metrics.js';
import type { ProfileSettings } from '../config/policies.js';
import type { Rpc } from '../grpc/rpc.js';
import type { AnyLuaScript } from '../redis/lua-script.js';
import type { Redis } from '../redis/redis.js';
import type { ShardChannels } from '../redis/shard-channels.js';
import { SessionAudit } from './audit.js';
import { claimScripts } from './claim-scripts.js';
import { ClaimStore } from './claim-store.js';
import { NamespacedForeignTokens } from './namespaced-foreign-tokens.js';
import { sessionRpcs } from './handlers.js';
import { LoginStore } from './login-store.js';
import { Profiles } from './profiles.js';
import { sessionScripts } from './scripts.js';
import { sessionMetrics } from './session-metrics.js';
import { SessionSampler } from './session-sampler.js';
import { SessionStatsStore } from './stats-store.js';
import { SessionStore } from './store.js';
import { SweepLease } from './sweep-lease.js';
import { sweepScripts } from './sweep-scripts.js';
import { SweepStore } from './sweep-store.js';
import { Sweeper } from './sweeper.js';
import { Sweepers } from './sweepers.js';
import { tokenScripts, validateSessionScript } from './token-scripts.js';
import { TokenStore } from './token-store.js';
import { TouchGuesses } from './touch-guesses.js';
import { watchScripts } from './watch-scripts.js';
import { SessionEventStore } from './watch/event-store.js';
import { SessionFeed } from './watch/session-feed.js';
import { SessionWatcher } from './watch/session-watcher.js';
import { watchMetrics } from './watch/watch-metrics.js';

export interface SessionServiceOptions {
  readonly redis: Redis;
  readonly channels: ShardChannels;
  readonly profiles: Readonly<Record<string, ProfileSettings>>;
  readonly auditLog: boolean;
  /** Called again and again with a namespace for as long as this process is the one that sweeps it. */
  readonly onSweeping: (namespace: string) => void;
  readonly logger: Logger;
}

/** The parts of SessionService, put together. */
export interface SessionService {
  readonly rpcs: readonly Rpc[];
  readonly metrics: readonly MetricDefinition[];
  /** Serves a namespace, from now on or already. */
  serve(namespace: string): void;
  /** Looks after no other namespaces any more. */
  keepOnly(namespaces: ReadonlySet<string>): void;
  /** Begins to end what runs out. */
  start(): void;
  close(): Promise<void>;
  /** For sessions that are created from now on. */
  replaceProfiles(profiles: SessionServiceOptions['profiles']): void;
}

export const allSessionScripts: readonly AnyLuaScript[] = [
  ...sessionScripts,
  ...tokenScripts,
  ...claimScripts,
  ...sweepScripts,
  ...watchScripts,
];

/**
 * What a caller relies on once it is answered. A validation is not among it: what it writes is when a session was last seen,
 * and to lose that costs some idle time.
 */
export const heldSessionScripts: readonly AnyLuaScript[] = [...sessionScripts, ...claimScripts, ...tokenScripts].filter(
  (script) => script !== validateSessionScript,
);

export function createSessionService(options: SessionServiceOptions): SessionService {
  const { redis, channels, logger } = options;
  const profiles = new Profiles(options.profiles);
  const touches = new TouchGuesses();
  const store = new SessionStore(redis, logger);
  const tokens = new TokenStore(redis, touches);
  const audit = new SessionAudit(options.auditLog ? logger : undefined);
  const foreignTokens = new NamespacedForeignTokens(logger);
  const sweeps = new SweepStore(redis);
  const stats = new SessionStatsStore(redis);
  const sampler = new SessionSampler(stats);
  const sweepers = new Sweepers((namespace) => {
    const lease = new SweepLease(sweeps, namespace);
    const onTurn = (): void => {
      void sampler.sweeping(namespace);
      options.onSweeping(namespace);
    };
    return new Sweeper({ store: sweeps, redis, namespace, lease, audit, onTurn, logger });
  });
  const events = new SessionEventStore(redis);
  const feed = new SessionFeed({ store: events, channels });
  return {
    rpcs: sessionRpcs({
      store,
      logins: new LoginStore({ redis, sessions: store, tokens, touches, logger }),
      tokens,
      claims: new ClaimStore(redis, logger),
      profiles,
      sweeps,
      sweepers,
      stats,
      foreignTokens,
      audit,
      openSessionWatcher: (selection, cursor) => new SessionWatcher(selection, feed, events, cursor),
    }),
    metrics: [...sessionMetrics({ audit, foreignTokens, sweepers }), ...sampler.metrics, ...watchMetrics(feed)],
    serve: (namespace) => {
      sweepers.add(namespace);
    },
    keepOnly: (namespaces) => {
      sweepers.keepOnly(namespaces);
    },
    start: () => {
      sweepers.start();
    },
    close: () => sweepers.close(),
    replaceProfiles: (others) => {
      profiles.replace(others);
    },
  };
}
