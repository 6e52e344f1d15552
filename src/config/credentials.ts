import { z } from 'zod';
import { name } from './common-fields.js';

/** The schema of the credentials file: who may call. It holds hashes of tokens, never a token. */

/** More namespaces than that are no tenants but keys; each costs the sweeper its looks. */
export const MAX_NAMESPACES = 64;
const MAX_PRINCIPALS = 1_024;
const MAX_CREDENTIALS = 64;
const MAX_COUNT = 1_000_000;

const certificate = z.string().regex(/^(?:uri|dns|cn):.{1,512}$/, 'must be uri:, dns: or cn: and a name');
const rpc = z
  .string()
  .regex(/^(?:\*|[A-Za-z0-9_.]+\/(?:\*|[A-Za-z0-9_]+))$/, 'must be package.Service/Method, package.Service/* or *');

const token = z.strictObject({
  /** Of the token's bytes. */
  sha256: z
    .string()
    .regex(/^[0-9a-fA-F]{64}$/, 'must be 64 hexadecimal digits: the SHA-256 of the token, never the token')
    .toLowerCase(),
  /** Unix milliseconds. */
  expires_at: z.iso
    .datetime({ offset: true, error: 'must be a time as in RFC 3339, such as 2027-01-31T00:00:00Z' })
    .transform((text) => Date.parse(text))
    .optional(),
});

const principal = z.strictObject({
  name,
  /** The first is the default. */
  namespaces: z
    .array(name)
    .min(1, 'must name one namespace at least')
    .refine((names) => new Set(names).size === names.length, 'must not name one twice'),
  tokens: z.array(token).max(MAX_CREDENTIALS).default([]),
  certificates: z.array(certificate).max(MAX_CREDENTIALS).default([]),
  /** Undefined: whatever `admin` allows. */
  rpcs: z.array(rpc).max(256).optional(),
  inline_policies: z.boolean().default(false),
  admin: z.boolean().default(false),
  /** Of each process; undefined: as many as the service takes. */
  max_in_flight: z.int().min(1).max(MAX_COUNT).optional(),
  max_streams: z.int().min(1).max(MAX_COUNT).optional(),
});

export const credentialsFileSchema = z.strictObject({
  principals: z.array(principal).min(1, 'must hold one principal at least').max(MAX_PRINCIPALS),
});

export type CredentialsFile = z.output<typeof credentialsFileSchema>;
export type PrincipalSettings = CredentialsFile['principals'][number];
