import { DomainError } from '../errors.js';

/** Who calls, and what the caller may do, in one of its namespaces. */
export interface Principal {
  readonly name: string;
  /** The namespace that the call works in. */
  readonly namespace: string;
  readonly isAdmin: boolean;
  /** Whether it may give rate policies of its own with a request. */
  readonly hasInlinePolicies: boolean;
  /** `package.Service/Method` of all that it may call; undefined: everything. */
  readonly rpcs: ReadonlySet<string> | undefined;
  /** What it has open in all its namespaces; undefined: nobody counts. */
  readonly load: PrincipalLoad | undefined;
}

/** What a principal has open in this process, by whatever credential and in whatever namespace. */
export interface PrincipalLoad {
  /** Also those that wait. */
  callsInFlight: number;
  streams: number;
  maxCallsInFlight: number;
  maxStreams: number;
}

/** Whoever has yet to say who it is, in a call that is about to be refused. */
export const NOBODY: Principal = {
  name: '',
  namespace: '',
  isAdmin: false,
  hasInlinePolicies: false,
  rpcs: new Set(),
  load: undefined,
};

/** Whoever reaches a service that has no credentials file. */
export function everybody(namespace: string): Principal {
  return { name: 'default', namespace, isAdmin: true, hasInlinePolicies: true, rpcs: undefined, load: undefined };
}

/** What a principal was refused. */
export type Refused = 'rpc' | 'namespace' | 'inline_policy' | 'allow_all';

const REFUSALS: Readonly<Record<Refused, string>> = {
  rpc: 'the credential does not allow this RPC',
  namespace: 'the credential does not allow this namespace',
  inline_policy: 'the credential does not allow rate policies in requests',
  allow_all: 'the credential does not allow allow_all, which needs an admin',
};

export function notAllowed(what: Refused): DomainError {
  return new DomainError('NOT_ALLOWED', REFUSALS[what], { metadata: { refused: what } });
}

/** Says nothing of why: that would help whoever guesses. */
export function badCredential(): DomainError {
  return new DomainError('BAD_CREDENTIAL', 'no valid credential');
}
