import type { Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { experimental, ServerCredentials, type Server, type ServerInterceptor } from '@grpc/grpc-js';
import type { ConnectionLimits } from '../config/transport-plan.js';
import { DeadlineWheel } from '../wire/deadline-wheel.js';
import type { Authority } from './authority.js';
import { onCertificateEnd } from './certificate-end.js';
import { ConnectionCall } from './connection-call.js';
import { Connection, type ConnectionFault, type ConnectionSurroundings } from './connection.js';
import { memoryBound } from './memory-bound.js';
import type { Rejections } from './rejections.js';

export interface ConnectionsOptions {
  readonly server: Server;
  readonly limits: ConnectionLimits;
  readonly maxDeadlineMs: number;
  readonly maxRequestBytes: number;
  /** Undefined: everything here is open to everybody. */
  readonly authority: Authority | undefined;
  readonly rejections: Rejections;
}

/** By how much ages differ, of the age: connections that came together do not go together. */
const AGE_JITTER = 0.1;
/** What calls and streams have left to end, on a connection whose certificate has run out. */
const CERTIFICATE_GRACE_MS = 1_000;
/** How often it is looked what has become of connections. */
const LOOK_MS = 2_000;
/** How often it is looked how much of that there is: as much as comes in this time may come above it. */
const PENDING_LOOK_MS = 250;

/**
 * The connections of a server. Each is handed to grpc-js by an injector of its own: that is how one connection can be told
 * to go, and how a call knows which it came on.
 */
export class Connections {
  private readonly open = new Set<Connection>();
  private readonly surroundings: ConnectionSurroundings;
  private readonly lookTimer: NodeJS.Timeout;
  private readonly pendingTimer: NodeJS.Timeout;
  /**
   * Of requests that are not complete, on all connections: with more of them the connection that may hold most is closed. Two of
   * the largest have to fit, whatever the memory is.
   */
  private readonly maxPendingBytes: number;

  constructor(private readonly options: ConnectionsOptions) {
    const { limits, maxDeadlineMs, maxRequestBytes, authority, rejections } = options;
    this.maxPendingBytes = Math.max(memoryBound(process.constrainedMemory()), 2 * maxRequestBytes);
    this.surroundings = {
      maxMetadataBytes: limits.maxMetadataBytes,
      maxRequestBytes,
      authority,
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
        this.look();
      },
      Math.min(LOOK_MS, maxDeadlineMs),
    ).unref();
    this.pendingTimer = setInterval(() => {
      this.lookAtPending();
    }, PENDING_LOOK_MS).unref();
  }

  /** Serves on a socket that speaks HTTP/2 from its next byte on. */
  add(socket: Socket): void {
    const { server, limits, maxDeadlineMs } = this.options;
    let ageTimer: NodeJS.Timeout | undefined;
    let graceTimer: NodeJS.Timeout | undefined;
    const connection = new Connection(socket, this.surroundings, () => {
      // says GOAWAY, and nothing more: the session ends with its last stream
      injector.destroy();
      graceTimer = setInterval(() => {
        if (!connection.isKept) connection.close();
      }, maxDeadlineMs).unref();
    });
    const interceptor: ServerInterceptor = (method, call) => new ConnectionCall(method, call, connection);
    const credentials = experimental.createServerCredentialsWithInterceptors(ServerCredentials.createInsecure(), [
      interceptor,
    ]);
    const injector = server.createConnectionInjector(credentials);
    this.open.add(connection);
    if (limits.maxConnectionAgeMs > 0) {
      const jitter = 1 + AGE_JITTER * (2 * Math.random() - 1);
      ageTimer = setTimeout(() => {
        connection.retire();
      }, limits.maxConnectionAgeMs * jitter).unref();
    }
    let endTimer: NodeJS.Timeout | undefined;
    const forgetCertificate = onCertificateEnd(socket, () => {
      this.options.rejections.count('tls');
      connection.retire();
      endTimer = setTimeout(() => {
        connection.close();
      }, CERTIFICATE_GRACE_MS).unref();
    });
    socket.once('close', () => {
      forgetCertificate();
      clearTimeout(endTimer);
      clearTimeout(ageTimer);
      clearInterval(graceTimer);
      this.open.delete(connection);
      if (graceTimer === undefined) injector.destroy();
    });
    injector.injectConnection(socket);
  }

  close(): void {
    clearInterval(this.lookTimer);
    clearInterval(this.pendingTimer);
  }

  private look(): void {
    const now = performance.now();
    for (const connection of this.open) {
      const fault = connection.faultOf(now);
      if (fault !== undefined) this.end(connection, fault);
    }
  }

  private lookAtPending(): void {
    let inAll = 0;
    const pending: { readonly connection: Connection; readonly bytes: number }[] = [];
    for (const connection of this.open) {
      const bytes = connection.lookAtPending();
      inAll += bytes;
      if (bytes > 0) pending.push({ connection, bytes });
    }
    if (inAll <= this.maxPendingBytes) return;
    pending.sort((one, other) => other.bytes - one.bytes);
    for (const { connection, bytes } of pending) {
      this.end(connection, 'slow_request');
      inAll -= bytes;
      if (inAll <= this.maxPendingBytes) return;
    }
  }

  private closeFullest(): void {
    let fullest: Connection | undefined;
    for (const each of this.open) if (fullest === undefined || each.unsent > fullest.unsent) fullest = each;
    if (fullest !== undefined) this.end(fullest, 'slow_reader');
  }

  private end(connection: Connection, fault: ConnectionFault): void {
    if (fault !== 'ended') this.options.rejections.count(fault);
    connection.close();
  }
}
