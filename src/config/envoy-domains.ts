import { z } from 'zod';

/** What Envoy's rate limit service makes of descriptors, in the shape that its own configuration has. */

const MAX_NAME = 256;
/** More entries no descriptor has. */
const MAX_DEPTH = 16;

export interface DescriptorSettings {
  readonly key: string;
  /** Absent: any; one that ends in `*`: any that begins so. */
  readonly value?: string | undefined;
  /** The rate policy of descriptors that end here; absent: they are not limited. */
  readonly policy?: string | undefined;
  /** Who is limited, with the values of entries in braces: `ip:{remote_address}`. Absent: the descriptor itself. */
  readonly subject?: string | undefined;
  /** The role of the policy's `tiers` that the subject has; values of entries in braces too. */
  readonly role?: string | undefined;
  /** Units count even if they are more than is left: for what was used already. */
  readonly charge_denied?: boolean | undefined;
  /** Entries that may come behind it. */
  readonly descriptors?: readonly DescriptorSettings[] | undefined;
}

const descriptor: z.ZodType<DescriptorSettings> = z.lazy(() =>
  z.strictObject({
    key: z.string().min(1).max(MAX_NAME),
    value: z.string().max(4_096).optional(),
    policy: z
      .string()
      .regex(/^[a-z0-9_-]{1,32}$/)
      .optional(),
    subject: z.string().min(1).max(MAX_NAME).optional(),
    role: z.string().min(1).max(MAX_NAME).optional(),
    charge_denied: z.boolean().optional(),
    descriptors: z.array(descriptor).min(1).max(1_000).optional(),
  }),
);

export const envoyDomains = z.record(
  z.string().min(1).max(MAX_NAME),
  z.strictObject({
    /** Whether answers have headers for the response to the proxy's client. */
    headers: z.boolean().default(true),
    descriptors: z.array(descriptor).min(1).max(1_000),
  }),
);

export type EnvoyDomainSettings = z.output<typeof envoyDomains>;

/** Every field of a domain and of its descriptors. */
export const ENVOY_DOMAIN_FIELDS = [
  ...['headers', 'descriptors', 'key', 'value', 'policy', 'subject', 'role', 'charge_denied'],
] as const satisfies readonly (keyof DescriptorSettings | 'headers')[];

type Path = readonly (string | number)[];

/** The keys of entries whose values a subject has. */
export function placeholdersOf(subject: string): string[] {
  return [...subject.matchAll(PLACEHOLDER)].map(([, key = '']) => key);
}

export const PLACEHOLDER = /\{([^{}]*)\}/g;

/**
 * Tells of what could never act, or not as it is meant. `problemOf`: what is wrong with a rate policy for descriptors;
 * undefined: nothing.
 */
export function checkEnvoyDomains(
  domains: EnvoyDomainSettings,
  problemOf: (policy: string) => string | undefined,
  complain: (at: Path, message: string) => void,
): void {
  const checkRule = (rule: DescriptorSettings, at: Path, keys: readonly string[]): void => {
    const { policy } = rule;
    if (policy === undefined) {
      for (const field of ['subject', 'role', 'charge_denied'] as const) {
        if (rule[field] !== undefined) complain([...at, field], 'is of no use without a policy');
      }
      return;
    }
    const problem = problemOf(policy);
    if (problem !== undefined) complain([...at, 'policy'], problem);
    for (const field of ['subject', 'role'] as const) {
      const unknown = placeholdersOf(rule[field] ?? '').find((key) => !keys.includes(key));
      if (unknown !== undefined) complain([...at, field], `no entry up to here has the key ${unknown}`);
    }
  };
  const walk = (rules: readonly DescriptorSettings[], at: Path, above: readonly string[]): void => {
    const seen = new Set<string>();
    rules.forEach((rule, index) => {
      const place = [...at, index];
      const id = JSON.stringify([rule.key, rule.value]);
      if (seen.has(id)) complain([...place, 'key'], 'is there already, with this value');
      seen.add(id);
      const keys = [...above, rule.key];
      checkRule(rule, place, keys);
      if (rule.descriptors === undefined) return;
      if (keys.length < MAX_DEPTH) walk(rule.descriptors, [...place, 'descriptors'], keys);
      else complain([...place, 'descriptors'], `no descriptor has more than ${String(MAX_DEPTH)} entries`);
    });
  };
  for (const [domain, { descriptors }] of Object.entries(domains)) {
    walk(descriptors, ['envoy_domains', domain, 'descriptors'], []);
  }
}
