import { WatchRequest } from '../../../gen/shardkeep/cache/v1/cache.js';

/** What a stream of Watch watches: names of these kinds. */
export type WatchedKind = 'key' | 'tag';

/** As the service bounds them. */
const MAX_NAMES_A_REQUEST = 1_024;

interface Names {
  readonly key: Set<string>;
  readonly tag: Set<string>;
}

/** What is to be said to the service in one go: what to watch, and what no more. */
export class WatchRequests {
  private readonly toAdd: Names = { key: new Set(), tag: new Set() };
  private readonly toRemove: Names = { key: new Set(), tag: new Set() };

  add(kind: WatchedKind, name: string): void {
    this.toAdd[kind].add(name);
  }

  remove(kind: WatchedKind, name: string): void {
    // one that the service was never told to watch needs no word
    if (!this.toAdd[kind].delete(name)) this.toRemove[kind].add(name);
  }

  /**
   * All that was said since the last time, as few requests. What is removed goes before what is added: so a name that is
   * removed and added again is watched anew, and a stream that watches as much as it may never watches more in between.
   */
  take(): WatchRequest[] {
    const { toAdd, toRemove } = this;
    const removals = requestsOf(toRemove, (removeKeys, removeTags) => ({ removeKeys, removeTags }));
    const additions = requestsOf(toAdd, (addKeys, addTags) => ({ addKeys, addTags }));
    this.clear();
    const [first, ...others] = additions;
    const last = first === undefined ? undefined : removals.pop();
    return [...removals, ...(first === undefined ? [] : [{ ...last, ...first }]), ...others].map((request) =>
      WatchRequest.fromPartial(request),
    );
  }

  clear(): void {
    for (const { key, tag } of [this.toAdd, this.toRemove]) {
      key.clear();
      tag.clear();
    }
  }
}

function requestsOf<Request>(names: Names, toRequest: (keys: string[], tags: string[]) => Request): Request[] {
  const [keys, tags] = [[...names.key], [...names.tag]];
  const requests: Request[] = [];
  for (let from = 0; from < Math.max(keys.length, tags.length); from += MAX_NAMES_A_REQUEST) {
    const to = from + MAX_NAMES_A_REQUEST;
    requests.push(toRequest(keys.slice(from, to), tags.slice(from, to)));
  }
  return requests;
}
