import type { TestService } from '../support/service.js';

export interface SetPage {
  readonly members: Buffer[];
  readonly nextPageToken: string;
  readonly size: bigint;
}

/** Reads a set to the end and answers its pages; `between` runs before each but the first. */
export async function readPages(
  cache: TestService['cache'],
  key: string,
  pageSize: number,
  between: (page: number) => Promise<unknown> = () => Promise.resolve(),
): Promise<SetPage[]> {
  const pages: SetPage[] = [];
  for (let pageToken = ''; ;) {
    if (pages.length > 0) await between(pages.length);
    const page = await cache.getSetMembers({ key, pageSize, pageToken });
    pages.push(page);
    pageToken = page.nextPageToken;
    if (pageToken === '') return pages;
  }
}

/** As Latin-1, in which every byte is a character; Jest takes a second to compare the buffers of a megabyte. */
export function textsOf(items: readonly Buffer[]): string[] {
  return items.map((item) => item.toString('latin1'));
}

/** The members of all pages, sorted; one that came twice is in it twice. */
export function membersOf(pages: readonly SetPage[]): string[] {
  return pages.flatMap(({ members }) => textsOf(members)).sort();
}

export function bytesIn(items: readonly Buffer[]): number {
  return items.reduce((sum, { length }) => sum + length, 0);
}

/** Adds any number of members, as many calls as it takes. */
export async function addAll(cache: TestService['cache'], key: string, members: readonly Buffer[]): Promise<void> {
  const perCall = Math.max(
    1,
    Math.min(256, Math.floor(3_000_000 / Math.max(1, ...members.map(({ length }) => length)))),
  );
  for (let at = 0; at < members.length; at += perCall) {
    await cache.addToSet({ key, members: members.slice(at, at + perCall) });
  }
}
