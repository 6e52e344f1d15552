import type { Call } from './call.js';
import { FORMAT_VERSION, keys, PARTITION_COUNT } from './keys.js';
import { luaScript } from './lua-script.js';
import type { Redis } from './redis.js';
import { ReplyReader } from './reply.js';

export const checkFormatScript = luaScript({
  file: './lua/check-format.lua',
  from: import.meta.url,
  keys: ['meta'],
  args: ['format', 'partitions'],
  parse: (reply) => {
    const reader = new ReplyReader(reply);
    const stored = { format: reader.number(), partitions: reader.number() };
    reader.end();
    return stored;
  },
});

/** The namespace holds data that this service cannot read or would place elsewhere. */
export class FormatMismatchError extends Error {
  override readonly name = 'FormatMismatchError';
}

/** Throws FormatMismatchError when the data in this Redis was written in another format or by another partition rule. */
export async function checkFormat(redis: Redis, call: Call): Promise<void> {
  const stored = await redis.run(
    checkFormatScript.bind(
      { meta: keys.meta(call.namespace) },
      { format: String(FORMAT_VERSION), partitions: String(PARTITION_COUNT) },
    ),
    call,
  );
  if (stored.format !== FORMAT_VERSION || stored.partitions !== PARTITION_COUNT) {
    throw new FormatMismatchError(
      `namespace ${call.namespace} holds data of format ${String(stored.format)} in ${String(stored.partitions)} ` +
        `partitions; this service needs format ${String(FORMAT_VERSION)} in ${String(PARTITION_COUNT)}`,
    );
  }
}
