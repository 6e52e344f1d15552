import type { Buffer } from 'node:buffer';
import type { Codec } from './codec.js';

/** What @msgpack/msgpack exports, and msgpackr and others with it. */
export interface MessagePackLibrary {
  readonly encode: (value: unknown) => Uint8Array;
  readonly decode: (bytes: Uint8Array) => unknown;
}

export const MESSAGE_PACK_ID = 1;

/** MessagePack by the library of your choice: `messagePack(await import('@msgpack/msgpack'))`. Values of JSON are read too. */
export function messagePack({ encode, decode }: MessagePackLibrary): Codec {
  return {
    id: MESSAGE_PACK_ID,
    encode: (value) => {
      if (value === undefined) throw new TypeError('undefined is nothing that can be kept');
      return encode(value);
    },
    decode: (bytes: Buffer) => decode(bytes),
  };
}
