import type { MetricDefinition } from '../admin/metrics.js';
import type { CredentialsFile } from '../config/credentials.js';
import { OpenAuthority, type Authority } from './authority.js';
import type { AccessOf } from './credential-table.js';
import { CredentialsAuthority, FAILURES } from './credentials-authority.js';
import { everybody } from './principal.js';

export interface ServedAuthority {
  readonly authority: Authority;
  readonly metrics: readonly MetricDefinition[];
  /** Other credentials, from now on; throws ConfigError, having changed nothing. */
  replace(file: CredentialsFile): void;
  close(): void;
}

/** Goes by a credentials file where there is one. `namespace`: that of everybody where there is none. */
export function authorityOf(
  file: CredentialsFile | undefined,
  namespace: string,
  rpcs: readonly AccessOf[],
): ServedAuthority {
  if (file === undefined) {
    const authority = new OpenAuthority(everybody(namespace));
    return { authority, metrics: [failuresMetric(() => [])], replace: () => undefined, close: () => undefined };
  }
  const authority = new CredentialsAuthority(file, rpcs);
  return {
    authority,
    metrics: [
      failuresMetric(() => FAILURES.map((reason) => ({ labels: { reason }, value: authority.failures[reason] }))),
    ],
    replace: (other) => {
      authority.replace(other);
    },
    close: () => {
      authority.close();
    },
  };
}

/** Without a credentials file it has no values. */
function failuresMetric(values: MetricDefinition['values']): MetricDefinition {
  return {
    name: 'shardkeep_authentication_failures_total',
    type: 'counter',
    help: 'Calls and streams without a credential that is valid, by what was wrong with it.',
    values,
  };
}
