import type { FastifyPluginAsync, RegisterOptions } from 'fastify';
import fastifyPlugin from 'fastify-plugin';
import { connect, type ConnectOptions, type ShardkeepClient } from '../../client/index.js';
import {
  anyObject,
  checkOptions,
  clientWithRateLimits,
  nonEmptyText,
  optional,
  refuseOptions,
  type OptionCheck,
  type OptionChecks,
} from '../../client/option-checks.js';
import type { RateLimitInfo } from '../http/options.js';
import { limitRoutes, type RateLimitDefaults, type RouteRateLimitOptions } from './route-rate-limits.js';

declare module 'fastify' {
  interface FastifyInstance {
    /** The client of shardkeep. */
    shardkeep: ShardkeepClient;
  }
  interface FastifyRequest {
    /** What the last limiter decided; undefined where none did. */
    rateLimit?: RateLimitInfo;
  }
  interface FastifyContextConfig {
    rateLimit?: RouteRateLimitOptions | false;
  }
}

export interface ShardkeepPluginOptions {
  /** A client of yours, which you close; or `address`. */
  readonly client?: ShardkeepClient;
  /** Of the service: the plugin connects, and closes with Fastify. */
  readonly address?: string;
  /** Goes with `address`. */
  readonly connect?: ConnectOptions;
  /** Limits of every route, and defaults of their `config.rateLimit`. */
  readonly rateLimit?: RateLimitDefaults;
}

const asFastifyHasIt: OptionCheck = () => [];
const CHECKS: OptionChecks<ShardkeepPluginOptions & RegisterOptions> = {
  client: optional(clientWithRateLimits),
  address: optional(nonEmptyText),
  connect: optional(anyObject),
  // checked by its own names where routes are limited
  rateLimit: optional(anyObject),
  prefix: asFastifyHasIt,
  logLevel: asFastifyHasIt,
  logSerializers: asFastifyHasIt,
};

const register: FastifyPluginAsync<ShardkeepPluginOptions> = async (fastify, options) => {
  checkOptions('shardkeep', options, CHECKS);
  // the name before the connection: where the name is taken nobody would close it
  fastify.decorate('shardkeep', { getter: () => client });
  const client = clientOf(options);
  // requests of one shape are faster, as Fastify has it
  if (!fastify.hasRequestDecorator('rateLimit')) fastify.decorateRequest('rateLimit', undefined);
  if (options.client === undefined) fastify.addHook('onClose', () => client.close());
  limitRoutes(fastify, client, options.rateLimit ?? {});
  return Promise.resolve();
};

function clientOf(options: ShardkeepPluginOptions): ShardkeepClient {
  const { client, address, connect: connectOptions } = options;
  if (client === undefined) {
    if (address === undefined)
      refuseOptions('shardkeep', { at: 'client', mustBe: 'there, or the address of the service' });
    return connect(address, connectOptions);
  }
  const others = (['address', 'connect'] as const).filter((each) => options[each] !== undefined);
  if (others.length > 0)
    refuseOptions('shardkeep', ...others.map((at) => ({ at, mustBe: 'left out beside a client' })));
  return client;
}

/**
 * shardkeep in Fastify 5: `fastify.shardkeep` is the client, and routes are limited by `rateLimit` and their
 * `config.rateLimit`. Register it before the routes, and await that: those registered earlier are not limited. Limiters run
 * behind the `onRequest` hooks of the instance, so that a plugin that tells who asks comes first where it is registered.
 */
export const shardkeep = fastifyPlugin(register, { fastify: '5.x', name: 'shardkeep' });
