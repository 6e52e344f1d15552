import type { Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { experimental, ServerCredentials, type Server, type ServerInterceptor } from '@grpc/grpc-js';
import type { ConnectionLimits } from '../config/transport-plan.js';
import { DeadlineWheel } from '../wire/deadline-wheel.js';
import { ConnectionCall } from './connection-call.js';
import { Connection, type ConnectionSurroundings } from './connection.js';
import type { Rejections } from './rejections.js';

export interface ConnectionsOptions {
  readonly server: Server;
  readonly limits: ConnectionLimits;
  readonly maxDeadlineMs: number;
  readonly rejections: Rejections;
}

/** By how much ages differ, of the age: connections that came together do not go together. */
const AGE_JITTER = 0.1;
/** How often it is looked whether answers are taken. */
const LOOK_MS = 5_000;

/**
 * The connections of a server. Each is handed to grpc-js by an injector of its own: that is how one connection can be told
 * to go, and how a call knows which it came on.
 */
export class Connections {
  private readonly open = new Set<Connection>();
  private readonly surroundings: ConnectionSurroundings;
  private readonly lookTimer: NodeJS.Timeout;

  constructor(private readonly options: ConnectionsOptions) {
    const { limits, maxDeadlineMs, rejections } = options;
    this.surroundings = {
      maxMetadataBytes: limits.maxMetadataBytes,
      maxDeadlineMs,
      rejections,
      requestDeadlines: new DeadlineWheel(),
      unsent: { bytes: 0 },
      onTooMuchUnsent: () => {
        this.closeFullest();
      },
    };
    this.lookTimer = setInterval(
      () => {
        this.closeStalled();
      },
      Math.min(LOOK_MS, maxDeadlineMs),
    ).unref();
  }

  /** Serves on a socket that speaks HTTP/2 from its next byte on. */
  add(socket: Socket): void {
    const { server, limits, maxDeadlineMs } = this.options;
    const connection = new Connection(socket, this.surroundings);
    const interceptor: ServerInterceptor = (method, call) => new ConnectionCall(method, call, connection);
    const credentials = experimental.createServerCredentialsWithInterceptors(ServerCredentials.createInsecure(), [
      interceptor,
    ]);
    const injector = server.createConnectionInjector(credentials);
    this.open.add(connection);
    let ageTimer: NodeJS.Timeout | undefined;
    if (limits.maxConnectionAgeMs > 0) {
      const jitter = 1 + AGE_JITTER * (2 * Math.random() - 1);
      ageTimer = setTimeout(() => {
        // says GOAWAY first: what moves must not open its next stream here
        injector.drain(maxDeadlineMs);
        connection.retire();
      }, limits.maxConnectionAgeMs * jitter).unref();
    }
    socket.once('close', () => {
      clearTimeout(ageTimer);
      this.open.delete(connection);
      injector.destroy();
    });
    injector.injectConnection(socket);
  }

  close(): void {
    clearInterval(this.lookTimer);
  }

  private closeStalled(): void {
    const now = performance.now();
    for (const connection of this.open) if (connection.isStalled(now)) this.closeUnread(connection);
  }

  private closeFullest(): void {
    let fullest: Connection | undefined;
    for (const each of this.open) if (fullest === undefined || each.unsent > fullest.unsent) fullest = each;
    if (fullest !== undefined) this.closeUnread(fullest);
  }

  private closeUnread(connection: Connection): void {
    this.options.rejections.count('slow_reader');
    connection.close();
  }
}
