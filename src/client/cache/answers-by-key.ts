/** Answers that are there or on their way, by key, and for each key by kind. */
export class AnswersByKey {
  private readonly answers = new Map<string, Map<string, Promise<unknown>>>();

  get(kind: string, key: string): Promise<unknown> | undefined {
    return this.answers.get(key)?.get(kind);
  }

  set(kind: string, key: string, answer: Promise<unknown>): void {
    const ofKey = this.answers.get(key);
    if (ofKey === undefined) this.answers.set(key, new Map([[kind, answer]]));
    else ofKey.set(kind, answer);
  }

  /** Unless another answer has taken its place. */
  remove(kind: string, key: string, answer: Promise<unknown>): void {
    const ofKey = this.answers.get(key);
    if (ofKey?.get(kind) !== answer) return;
    ofKey.delete(kind);
    if (ofKey.size === 0) this.answers.delete(key);
  }

  /** All of this key but those of this kind. */
  forgetOthers(kind: string, key: string): void {
    const ofKey = this.answers.get(key);
    if (ofKey === undefined) return;
    for (const other of ofKey.keys()) if (other !== kind) ofKey.delete(other);
    if (ofKey.size === 0) this.answers.delete(key);
  }

  /** Undefined: of all keys. */
  forget(keys: readonly string[] | undefined): void {
    if (keys === undefined) this.answers.clear();
    else for (const key of keys) this.answers.delete(key);
  }
}
