import type { PeerCertificate } from 'node:tls';
import type { CredentialsFile, PrincipalSettings } from '../config/credentials.js';
import type { DomainError } from '../errors.js';
import { NAMESPACE_METADATA, type Authority, type Followed } from './authority.js';
import { credentialsOf, tokenId, type AccessOf, type Credential, type CredentialId } from './credential-table.js';
import { bearerToken, certificateNames, type PresentingCall } from './presented.js';
import { badCredential, notAllowed, type Principal, type PrincipalLoad } from './principal.js';

/** Tokens whose hash is remembered. */
const MAX_KNOWN = 1_024;
/** The wall clock may be set meanwhile, and a timer does not see that. */
const MAX_SLEEP_MS = 60_000;

/** Why nobody was let in, for the metric; callers are not told. */
export const FAILURES = ['missing', 'malformed', 'unknown', 'expired'] as const;
export type Failure = (typeof FAILURES)[number];

interface Follower {
  readonly id: CredentialId;
  readonly rpc: string | undefined;
  readonly onEnd: (error: DomainError) => void;
  principal: Principal;
}

/** Goes by a credentials file: bearer tokens, and certificates of callers that show none. The file may change. */
export class CredentialsAuthority implements Authority {
  readonly failures: Record<Failure, number> = { missing: 0, malformed: 0, unknown: 0, expired: 0 };
  private all: ReadonlyMap<CredentialId, Credential> = new Map();
  /** Of these, what has not expired, so that no call looks at a clock. */
  private valid: ReadonlyMap<CredentialId, Credential> = new Map();
  /** By the whole header, so that a token is hashed once and not for each call. */
  private readonly known = new Map<string, Credential>();
  /** Of the certificates of connections: a call does not read them again. */
  private readonly names = new WeakMap<PeerCertificate, readonly string[]>();
  private readonly loads = new Map<string, PrincipalLoad>();
  private readonly followers = new Set<Follower>();
  private timer: NodeJS.Timeout | undefined;

  /** `rpcs`: all that are served. Throws ConfigError, as `replace` does. */
  constructor(
    file: CredentialsFile,
    private readonly rpcs: readonly AccessOf[],
  ) {
    this.replace(file);
  }

  /** From now on these: ends streams that may not go on. Throws ConfigError, having changed nothing. */
  replace(file: CredentialsFile): void {
    this.all = credentialsOf(file, this.rpcs, (settings) => this.loadOf(settings));
    this.refresh();
  }

  close(): void {
    clearTimeout(this.timer);
  }

  principalOf(call: PresentingCall): Principal {
    return inNamespace(this.credentialOf(call), call);
  }

  follow(call: PresentingCall, rpc: string | undefined, onEnd: (error: DomainError) => void): Followed {
    const credential = this.credentialOf(call);
    const follower: Follower = { id: credential.id, rpc, onEnd, principal: inNamespace(credential, call) };
    this.followers.add(follower);
    return {
      get principal() {
        return follower.principal;
      },
      release: () => {
        this.followers.delete(follower);
      },
    };
  }

  knows(call: PresentingCall): boolean {
    return typeof this.look(call) !== 'string';
  }

  private credentialOf(call: PresentingCall): Credential {
    const found = this.look(call);
    if (typeof found !== 'string') return found;
    this.failures[found]++;
    throw badCredential();
  }

  private look(call: PresentingCall): Credential | Failure {
    const headers = call.metadata.get('authorization');
    const [header] = headers;
    if (header === undefined) return this.certifiedBy(call);
    if (headers.length > 1 || typeof header !== 'string') return 'malformed';
    return this.known.get(header) ?? this.learn(header);
  }

  /** Only valid ones are remembered: nobody else is to fill the memory, nor to find by the time it takes what is in it. */
  private learn(header: string): Credential | Failure {
    const token = bearerToken(header);
    if (token === undefined) return 'malformed';
    const credential = this.find(tokenId(token));
    if (typeof credential === 'string') return credential;
    if (this.known.size >= MAX_KNOWN) {
      const [oldest = ''] = this.known.keys();
      this.known.delete(oldest);
    }
    this.known.set(header, credential);
    return credential;
  }

  private certifiedBy(call: PresentingCall): Credential | Failure {
    // grpc-js tells none that was not verified
    const { sslPeerCertificate } = call.getAuthContext();
    if (sslPeerCertificate === undefined) return 'missing';
    let names = this.names.get(sslPeerCertificate);
    if (names === undefined) {
      names = certificateNames(sslPeerCertificate);
      this.names.set(sslPeerCertificate, names);
    }
    return this.find(names.find((name) => this.valid.has(name)) ?? '');
  }

  private find(id: CredentialId): Credential | Failure {
    return this.valid.get(id) ?? (this.all.has(id) ? 'expired' : 'unknown');
  }

  /** Looks at the clock, and at every stream that is open. */
  private refresh(): void {
    const nowMs = Date.now();
    this.valid = new Map([...this.all].filter(([, { expiresAtMs }]) => expiresAtMs > nowMs));
    this.known.clear();
    for (const follower of [...this.followers]) this.review(follower);
    clearTimeout(this.timer);
    const nextMs = Math.min(...[...this.valid.values()].map(({ expiresAtMs }) => expiresAtMs));
    if (!Number.isFinite(nextMs)) return;
    this.timer = setTimeout(
      () => {
        this.refresh();
      },
      Math.min(nextMs - nowMs, MAX_SLEEP_MS),
    ).unref();
  }

  private review(follower: Follower): void {
    const principals = this.valid.get(follower.id)?.principals;
    const principal = principals?.get(follower.principal.namespace);
    if (principals === undefined) this.end(follower, badCredential());
    else if (principal === undefined) this.end(follower, notAllowed('namespace'));
    else if (follower.rpc !== undefined && principal.rpcs?.has(follower.rpc) === false) {
      this.end(follower, notAllowed('rpc'));
    } else follower.principal = principal;
  }

  private end(follower: Follower, error: DomainError): void {
    this.followers.delete(follower);
    follower.onEnd(error);
  }

  /** The counts of a principal outlive a reload, its bounds do not. */
  private loadOf({ name, max_in_flight, max_streams }: PrincipalSettings): PrincipalLoad {
    const load = this.loads.get(name) ?? { callsInFlight: 0, streams: 0, maxCallsInFlight: 0, maxStreams: 0 };
    load.maxCallsInFlight = max_in_flight ?? Infinity;
    load.maxStreams = max_streams ?? Infinity;
    this.loads.set(name, load);
    return load;
  }
}

function inNamespace({ principals, defaultPrincipal }: Credential, { metadata }: PresentingCall): Principal {
  const asked = metadata.get(NAMESPACE_METADATA);
  const [namespace] = asked;
  if (namespace === undefined) return defaultPrincipal;
  const principal = asked.length > 1 ? undefined : principals.get(String(namespace));
  if (principal === undefined) throw notAllowed('namespace');
  return principal;
}
