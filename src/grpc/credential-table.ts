import { createHash } from 'node:crypto';
import { ConfigError } from '../config/config-error.js';
import type { CredentialsFile, PrincipalSettings } from '../config/credentials.js';
import { isMeant } from '../config/rpc-names.js';
import type { Principal, PrincipalLoad } from './principal.js';
import type { Rpc } from './rpc.js';

/** What a credential is known by: `sha256:…` of a token, or a name of a certificate. */
export type CredentialId = string;

/** What a credential opens. */
export interface Credential {
  readonly id: CredentialId;
  /** Of its principal, by namespace. */
  readonly principals: ReadonlyMap<string, Principal>;
  readonly defaultPrincipal: Principal;
  /** Unix ms. */
  readonly expiresAtMs: number;
}

export type AccessOf = Pick<Rpc, 'name' | 'access'>;

export function tokenId(token: string): CredentialId {
  return `sha256:${createHash('sha256').update(token).digest('hex')}`;
}

/** All credentials of a file, those that have expired among them. `loadOf`: of a principal, by its name. */
export function credentialsOf(
  file: CredentialsFile,
  rpcs: readonly AccessOf[],
  loadOf: (settings: PrincipalSettings) => PrincipalLoad,
): ReadonlyMap<CredentialId, Credential> {
  const problems = file.principals.flatMap((settings) => adminProblems(settings, rpcs));
  if (problems.length > 0) throw new ConfigError(problems);
  return new Map(
    file.principals.flatMap((settings) => {
      const principals = principalsOf(settings, rpcs, loadOf(settings));
      const [defaultPrincipal] = principals.values();
      if (defaultPrincipal === undefined) return [];
      const credential = (id: CredentialId, expiresAtMs: number): readonly [CredentialId, Credential] => [
        id,
        { id, principals, defaultPrincipal, expiresAtMs },
      ];
      return [
        ...settings.tokens.map(({ sha256, expires_at }) => credential(`sha256:${sha256}`, expires_at ?? Infinity)),
        ...settings.certificates.map((name) => credential(name, Infinity)),
      ];
    }),
  );
}

function principalsOf(
  settings: PrincipalSettings,
  rpcs: readonly AccessOf[],
  load: PrincipalLoad,
): ReadonlyMap<string, Principal> {
  const { name, admin, inline_policies, rpcs: patterns = ['*'] } = settings;
  const allowed = rpcs.filter(
    ({ name: rpc, access }) => (admin || access !== 'admin') && patterns.some((pattern) => isMeant(rpc, pattern)),
  );
  const rights = {
    ...{ name, load, isAdmin: admin, hasInlinePolicies: inline_policies },
    rpcs: new Set(allowed.map(({ name: rpc }) => rpc)),
  };
  return new Map(settings.namespaces.map((namespace) => [namespace, { ...rights, namespace }]));
}

/** A right that could never be used would go unseen. */
function adminProblems({ name, admin, rpcs = [] }: PrincipalSettings, served: readonly AccessOf[]): string[] {
  if (admin) return [];
  const adminRpcs = new Set(served.filter(({ access }) => access === 'admin').map((rpc) => rpc.name));
  return rpcs
    .filter((rpc) => adminRpcs.has(rpc))
    .map((rpc) => `CREDENTIALS_FILE: principal ${name}: ${rpc} needs admin: true`);
}
