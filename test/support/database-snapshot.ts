import { createClient, RESP_TYPES } from 'redis';
import { sharedRedisUrl } from './service.js';
import { asOurselves } from './redis-user.js';

/**
 * A database that one test file has for itself, so that all of it can be compared: of the shared standalone Redis, unless
 * it is given one.
 */

const DATABASE = 9;

const BYTES = { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } };

function createBufferClient(url: string) {
  return createClient({ url, commandOptions: BYTES });
}

export class DatabaseSnapshot {
  private constructor(
    readonly url: string,
    private readonly client: ReturnType<typeof createBufferClient>,
  ) {}

  static async open(url = `${sharedRedisUrl('standalone')}/${String(DATABASE)}`): Promise<DatabaseSnapshot> {
    const client = createBufferClient(asOurselves(url));
    await client.connect();
    return new DatabaseSnapshot(url, client);
  }

  /**
   * All keys with their values and expiry, as text to compare; but those that are not to be compared, and the lease of the
   * process that sweeps, which is renewed each second.
   */
  async take({ without }: { readonly without?: RegExp } = {}): Promise<string> {
    const all: Buffer[] = [];
    for await (const page of this.client.scanIterator({ COUNT: 1_000 })) all.push(...page);
    const compared = (key: string): boolean => !key.endsWith(':sweeper') && without?.test(key) !== true;
    const keys = all.filter((key) => compared(String(key)));
    const lines = await Promise.all(
      keys.map(async (key) => {
        const [dump, expiry] = await Promise.all([this.client.dump(key), this.client.pExpireTime(key)]);
        return `${String(key)} ${Buffer.isBuffer(dump) ? dump.toString('hex') : String(dump)} ${String(expiry)}`;
      }),
    );
    return lines.sort().join('\n');
  }

  command(command: readonly string[]): Promise<unknown> {
    return this.client.sendCommand([...command], BYTES);
  }

  async close(): Promise<void> {
    if (this.client.isOpen) await this.client.close();
  }
}
