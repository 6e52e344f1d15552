import { GetRequest, IncrementRequest, SetRequest } from '../../src/gen/shardkeep/cache/v1/cache.js';

/** Encoded requests, and the table of methods they are for. */

export const METHODS = [
  'shardkeep.cache.v1.CacheService/Get',
  'shardkeep.cache.v1.CacheService/Set',
  'shardkeep.cache.v1.CacheService/Increment',
  'shardkeep.cache.v1.CacheService/GetMany',
  'shardkeep.session.v1.SessionService/CreateSession',
  'shardkeep.ratelimit.v1.RateLimitService/ListPolicies',
];
export const [GET, SET, INCREMENT, GET_MANY, CREATE_SESSION, LIST_POLICIES] = [0, 1, 2, 3, 4, 5];

interface Codec<Message> {
  fromPartial(message: Partial<Message>): Message;
  encode(message: Message): { finish(): Uint8Array };
}

export function encode<Message>(codec: Codec<Message>, message: Partial<Message>): Buffer {
  return Buffer.from(codec.encode(codec.fromPartial(message)).finish());
}

export function get(key: string): Buffer {
  return encode(GetRequest, { key });
}

export function set(key: string, value: Buffer): Buffer {
  return encode(SetRequest, { key, value });
}

export function increment(key: string, delta = 1n): Buffer {
  return encode(IncrementRequest, { key, delta });
}
